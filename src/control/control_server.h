// The coordinator on the network: a thread with epoll. Owned by rank 0 or by node 0's launcher.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "control/coordinator.h"
#include "control/socket.h"

namespace sft::control {

class ControlServer {
 public:
  // Listens on the first of `ports` that is free (0: any). N023 when none is.
  ControlServer(CoordinatorSettings settings, const std::vector<int>& ports, bool loopback_only);
  // Waits up to `linger` for the members to leave.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  int port() const { return port_; }
  void set_linger(Time linger) { linger_ = linger; }

 private:
  void run(CoordinatorSettings settings);

  Fd listener_, wake_;
  int port_ = 0;
  std::atomic<Time> linger_ = 5 * kSecond;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace sft::control
