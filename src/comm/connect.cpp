#include "comm/connect.h"

#include <fmt/format.h>

#include <utility>

#include "control/address.h"

namespace sft {

std::unique_ptr<Communicator> connect_ranks(const LaunchEnvironment& launch, Device& device,
                                            Store* store, double timeout, bool copy_engines,
                                            const Say& say) {
  if (launch.world == 1) {
    return local_communicator();
  }
  ProcessGroup group;
  group.rank = launch.rank;
  group.world = launch.world;
  group.store = store;
  group.address = address_towards(launch.master_addr);
  // The control plane ends what lasts longer than the timeout, and knows who is behind; this is for
  // when it cannot.
  constexpr double kLater = 15;
  group.timeout = std::chrono::milliseconds(static_cast<int64_t>((timeout + kLater) * 1000));
  const bool cpu = device.kind() == DeviceKind::cpu;
  const Notice notice(
      fmt::format(
          "the ranks to connect to each other from {} through {} ({} names another network)",
          group.address, cpu ? "Gloo" : "NCCL", cpu ? "GLOO_SOCKET_IFNAME" : "NCCL_SOCKET_IFNAME"),
      say);
  if (cpu) {
    return gloo_communicator(group);
  }
  auto nccl = nccl_communicator(device, group);
  return copy_engines ? copying_communicator(device, std::move(nccl)) : std::move(nccl);
}

}  // namespace sft
