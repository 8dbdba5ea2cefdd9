// Which rank this process is, and where the others are, read from what its launcher left in the
// environment: torchrun or `sft launch`, mpirun, srun, or Kubeflow's variables for a node, on
// which this process then starts the ranks itself. Used by cli. Reads nothing but what it is given.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/error_code.h"

namespace sft {

struct LaunchEnvironment {
  enum class Source { alone, torchrun, sft_launch, mpi, slurm, node };
  enum class Role {
    rank,      // trains
    launcher,  // starts the ranks of this node: rank and local_rank mean nothing
  };

  Source source = Source::alone;
  Role role = Role::rank;
  int rank = 0, world = 1;
  int local_rank = 0, local_world = 1;  // launcher: local_world ranks to start
  int node_rank = 0, nodes = 1;
  std::string master_addr = "127.0.0.1";
  int master_port = 29500;
  bool agent_owns_port = false;   // torchrun's own store listens on master_port: leave it alone
  int attempt = 0;                // how often a launcher has restarted this run
  std::string id;                 // of this start of `sft launch`, the same at each attempt
  int max_restarts = 0;           // launcher only
  std::string job;                // tells runs apart that share a machine; may be empty
  std::string token;              // the secret that the ranks share; may be empty
  std::optional<int> store_port;  // SFT_STORE_PORT: the store's only place
  std::string found;              // "torchrun: rank 3 of 8 (…)", the line that is shown
  std::string note;               // why this process trains alone where that may surprise

  // What tells this run from others on the same machines, the same on all ranks. It proves nothing.
  std::string run_id() const;
  // Where the run's own store may listen, in the order to try: never the agent's port. All ranks
  // compute the same list.
  std::vector<int> store_ports() const;
};

struct Machine {
  int gpus = 0;
  int processors = 1;
};

// What is asked of the surroundings, so that tests can make them up.
struct LaunchInputs {
  std::function<const char*(const char* name)> variable;  // nullptr: not set
  std::function<std::optional<std::string>(const std::string& path)> file;
  std::string hostname;
  Machine machine = {};
};

// Throws C130 (a variable's value is no such number or out of range), C131 (a set is incomplete or
// contradicts itself), C132 (nothing says where rank 0 is), C133 (an elastic range of nodes), C136
// (the secret cannot be read).
LaunchEnvironment resolve_launch(const LaunchInputs& inputs);

// What `name`, a variable or a flag, says as "auto" (the GPUs there are, else one rank whose
// threads use the processors), "gpu", "cpu" (a rank for each processor, as torchrun has it) or a
// number. Throws an error of this code.
constexpr int kMaxRanksPerNode = 1024;
int ranks_per_node(const std::string& name, const std::string& text, Code code,
                   const Machine& machine);
// "2" or "2:2"; C133 for "1:4".
int launch_nodes(const std::string& name, const std::string& text, Code code);

// "gpu-[01-03,7],login" -> its hosts in order; at most 65,536 of them. C130 when it is malformed.
std::vector<std::string> expand_hosts(const std::string& list);

}  // namespace sft
