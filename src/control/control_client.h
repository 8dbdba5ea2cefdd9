// A rank's control plane over TCP. Used by cli, which joins the run before anything that all ranks
// must do together.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/rank_control.h"

namespace sft {

struct JoinSettings {
  int rank = 0, world = 1;
  std::string host;        // this machine's name, for messages
  std::string master;      // where the store is
  std::vector<int> ports;  // where it may listen, tried in turn
  bool serve = false;      // this rank is the one that keeps the store, on the first free port
  bool loopback = false;   // and listens on this machine only
  std::string job, token;  // what tells runs apart; the secret, or ""
  int64_t attempt = 0;
  double join_timeout = 600;        // seconds until all ranks must be here
  double silence = 10;              // seconds without a word until a rank counts as lost
  double operation_timeout = 1800;  // --ddp_timeout
  // Told what is waited for, soon and then now and then, by the connection's own thread.
  std::function<void(const std::string&)> waits = [](const std::string&) {};
};

// Returns when all ranks are here. Throws N014 (some did not come in time; it names them), N010 to
// N013, C151 and C138 (this process does not belong to the run that was found), N023 (no port is
// free).
std::unique_ptr<RankControl> join_run(const JoinSettings& settings);

}  // namespace sft
