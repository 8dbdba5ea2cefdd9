#include "comm/nccl_library.h"

#include <array>

#include "device/cuda_library.h"

namespace sft {

std::unique_ptr<Communicator> nccl_communicator(Device& device, const ProcessGroup& group) {
  auto* const make_id = reinterpret_cast<NcclMakeId>(cuda_symbol(kNcclMakeId));
  auto* const open = reinterpret_cast<NcclOpen>(cuda_symbol(kNcclOpen));
  if (make_id == nullptr || open == nullptr) {
    throw Error("G020", "no GPU can be used: " + why_no_cuda());
  }
  std::array<char, kNcclIdBytes> id{};
  const std::string key = group.name + "/nccl";
  if (group.rank == 0) {
    make_id(id.data());
    if (group.world > 1) {
      group.store->set(key, {id.data(), id.size()});
    }
  } else {
    const std::string value = group.store->get(key, group.timeout);
    if (value.size() != id.size()) {
      throw Error("C152",
                  "rank 0 runs another version of this program: its NCCL id has "
                  "another size");
    }
    value.copy(id.data(), id.size());
  }
  return std::unique_ptr<Communicator>(
      open(&device, group.rank, group.world, id.data(), group.timeout.count()));
}

std::unique_ptr<Communicator> copying_communicator(Device& device,
                                                   std::unique_ptr<Communicator> rest) {
  auto* const open = reinterpret_cast<CopyingOpen>(cuda_symbol(kCopyingOpen));
  if (open == nullptr) {
    throw Error("G020", "no GPU can be used: " + why_no_cuda());
  }
  return std::unique_ptr<Communicator>(open(&device, rest.release()));
}

}  // namespace sft
