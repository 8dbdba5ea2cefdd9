// A rank's control plane over TCP. Used by cli, which joins the run before anything that all ranks
// must do together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/rank_control.h"

namespace sft {

struct JoinSettings {
  int rank = 0, world = 1;
  std::string host;        // this machine's name, for messages
  std::string master;      // where the store is
  std::vector<int> ports;  // where it may listen, tried in turn
  bool serve = false;      // this rank is the one that keeps the store, on the first free port
  std::string job, token;  // tell runs apart; the token may be a secret
  int64_t attempt = 0;
  double join_timeout = 600;        // seconds until all ranks must be here
  double silence = 10;              // seconds without a word until a rank counts as lost
  double operation_timeout = 1800;  // --ddp_timeout
};

// Returns when all ranks are here. Throws N014 (some did not come in time; it names them), N010 to
// N013 and C121 (this process does not belong to the run that was found), N023 (no port is free).
std::unique_ptr<RankControl> join_run(const JoinSettings& settings);

}  // namespace sft
