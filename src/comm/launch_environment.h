// Which rank this process is, and where the others are, read from what its launcher left in the
// environment: torchrun or `sft launch`, mpirun, srun, or Kubeflow's variables for a node, on
// which this process then starts the ranks itself. Used by cli. Reads nothing but what it is given.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

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
  int local_rank = 0, local_world = 1;  // launcher: local_world ranks to start; 0 = "auto"
  int node_rank = 0, nodes = 1;
  std::string master_addr = "127.0.0.1";
  int master_port = 29500;
  bool agent_owns_port = false;   // torchrun's own store listens on master_port: leave it alone
  int attempt = 0;                // how often a launcher has restarted this run
  int max_restarts = 0;           // launcher only
  std::string job;                // tells runs apart that share a machine; may be empty
  std::string token;              // a secret that the ranks share; may be empty
  std::optional<int> store_port;  // SFT_STORE_PORT: the store's only place
  std::string found;              // "torchrun: rank 3 of 8 (…)", the line that is shown

  // Where the run's own store may listen, in the order to try: never the agent's port. All ranks
  // compute the same list.
  std::vector<int> store_ports() const;
};

// What is asked of the surroundings, so that tests can make them up.
struct LaunchInputs {
  std::function<const char*(const char* name)> variable;  // nullptr: not set
  std::function<std::optional<std::string>(const std::string& path)> file;
  std::string hostname;
};

// Throws C130 (a variable's value is no such number or out of range), C131 (a set is incomplete or
// contradicts itself), C132 (nothing says where rank 0 is), C133 (an elastic range of nodes).
LaunchEnvironment resolve_launch(const LaunchInputs& inputs);

// "gpu-[01-03,7],login" -> its hosts in order; at most 65,536 of them. C130 when it is malformed.
std::vector<std::string> expand_hosts(const std::string& list);

}  // namespace sft
