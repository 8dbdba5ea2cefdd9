#include "control/launch_environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "control/launch_variables.h"
#include "core/error.h"
#include "core/strings.h"

namespace sft {

namespace {

using Source = LaunchEnvironment::Source;
using Role = LaunchEnvironment::Role;

void check(const LaunchEnvironment& e, const char* source) {
  if (e.world < 1 || e.rank < 0 || e.rank >= e.world || e.local_world < 1 || e.local_rank < 0 ||
      e.local_rank >= e.local_world || e.local_world > e.world) {
    throw Error("C131",
                fmt::format("{} says rank {} of {}, and {} of {} on this machine, which cannot be",
                            source, e.rank, e.world, e.local_rank, e.local_world));
  }
}

// The environment of torchrun's children, which `sft launch` makes too.
LaunchEnvironment torchrun(const LaunchVariables& env) {
  env.require("torchrun", {"RANK", "WORLD_SIZE", "LOCAL_RANK"});
  LaunchEnvironment e;
  e.source =
      env.has("SFT_STORE_PORT") && env.has("SFT_LAUNCHED") ? Source::sft_launch : Source::torchrun;
  e.rank = env.count("RANK");
  e.world = env.number("WORLD_SIZE", 1, kMaxWorld).value_or(1);
  e.local_rank = env.count("LOCAL_RANK");
  const char* local = env.has("LOCAL_WORLD_SIZE") ? "LOCAL_WORLD_SIZE" : "LOCAL_SIZE";  // DeepSpeed
  e.local_world = env.number(local, 1, kMaxWorld).value_or(e.local_rank + 1);
  if (e.world > 1) {
    env.require("torchrun", {"MASTER_ADDR", "MASTER_PORT"});
    e.master_addr = env.host("MASTER_ADDR");
    e.master_port = *env.port("MASTER_PORT");
  }
  e.attempt = env.count("TORCHELASTIC_RESTART_COUNT");
  // Whether or not it says so, torchrun's agent may keep a store of its own on MASTER_PORT.
  e.agent_owns_port = e.source == Source::torchrun;
  e.job = env.text("TORCHELASTIC_RUN_ID");
  if (e.job == "none") {
    e.job.clear();  // torchrun's default, which all runs share
  }
  check(e, "torchrun");
  e.node_rank = env.number("GROUP_RANK", 0, kMaxWorld).value_or(e.rank / e.local_world);
  e.nodes = (e.world + e.local_world - 1) / e.local_world;
  return e;
}

// The first host of mpirun's host file, which Kubernetes' MPI operator mounts.
std::optional<std::string> first_host(const std::optional<std::string>& file) {
  if (!file) {
    return std::nullopt;
  }
  size_t at = 0;
  while (at < file->size()) {
    const size_t end = std::min(file->find('\n', at), file->size());
    std::string line = file->substr(at, end - at);
    at = end + 1;
    line = line.substr(0, line.find('#'));
    const size_t begin = line.find_first_not_of(" \t\r");
    if (begin != std::string::npos) {
      line = line.substr(begin);
      return line.substr(0, line.find_first_of(" \t\r:"));
    }
  }
  return std::nullopt;
}

void find_master(const LaunchVariables& env, LaunchEnvironment& e, std::optional<std::string> host,
                 int port) {
  e.master_port = env.port("MASTER_PORT").value_or(port);
  if (env.has("MASTER_ADDR")) {
    e.master_addr = env.host("MASTER_ADDR");
  } else if (e.world == e.local_world) {
    e.master_addr = "127.0.0.1";
  } else if (host) {
    e.master_addr = *host;
  } else {
    throw Error("C132", "nothing in the environment says on which machine rank 0 runs")
        .hint("mpirun -x MASTER_ADDR=<host of rank 0> …");
  }
}

struct MpiNames {
  const char *source, *rank, *size, *local_rank, *local_size;
};
constexpr MpiNames kMpi[] = {
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"MPICH or Intel MPI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
};

LaunchEnvironment mpi(const LaunchVariables& env, const MpiNames& names) {
  env.require(names.source, {names.rank, names.size, names.local_rank, names.local_size});
  LaunchEnvironment e;
  e.source = Source::mpi;
  e.rank = env.count(names.rank);
  e.world = env.count(names.size);
  e.local_rank = env.count(names.local_rank);
  e.local_world = env.count(names.local_size);
  check(e, names.source);
  e.node_rank = e.rank / e.local_world;
  e.nodes = (e.world + e.local_world - 1) / e.local_world;
  find_master(env, e, first_host(env.inputs().file("/etc/mpi/hostfile")), 29500);
  return e;
}

// Only a step is a launch: a batch script and an allocation's shell have SLURM_PROCID and the job's
// SLURM_NTASKS too. Their own "steps" are names or the largest numbers there are.
bool in_slurm_step(const LaunchVariables& env) {
  constexpr long kFirstReserved = 0xFFFFFFF0L;
  const bool numbered = env.hint("SLURM_STEP_ID") > 0 || env.text("SLURM_STEP_ID") == "0";
  return numbered && env.hint("SLURM_STEP_ID") < kFirstReserved && env.has("SLURM_PROCID");
}

int slurm_world(const LaunchVariables& env) {
  const char* tasks = env.has("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
  return env.number(tasks, 1, kMaxWorld).value_or(1);
}

LaunchEnvironment slurm(const LaunchVariables& env) {
  env.require("srun", {"SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"});
  LaunchEnvironment e;
  e.source = Source::slurm;
  e.rank = env.count("SLURM_PROCID");
  e.world = slurm_world(env);
  e.local_rank = env.count("SLURM_LOCALID");
  e.node_rank = env.count("SLURM_NODEID");
  const char* nodes = env.has("SLURM_STEP_NUM_NODES")  ? "SLURM_STEP_NUM_NODES"
                      : env.has("SLURM_JOB_NUM_NODES") ? "SLURM_JOB_NUM_NODES"
                                                       : "SLURM_NNODES";
  e.nodes = env.number(nodes, 1, kMaxWorld).value_or(1);
  const char* tasks =
      env.has("SLURM_STEP_TASKS_PER_NODE") ? "SLURM_STEP_TASKS_PER_NODE" : "SLURM_TASKS_PER_NODE";
  e.local_world = env.has(tasks) ? slurm_tasks(env.text(tasks), e.node_rank)
                                 : env.number("SLURM_NTASKS_PER_NODE", 1, kMaxWorld)
                                       .value_or(std::max(1, e.world / e.nodes));
  check(e, "srun");
  e.attempt = env.count("SLURM_RESTART_COUNT");
  e.job = env.has("SLURM_JOB_ID")
              ? fmt::format("{}.{}", env.text("SLURM_JOB_ID"), env.text("SLURM_STEP_ID"))
              : "";
  std::optional<std::string> host;
  const char* list = env.has("SLURM_STEP_NODELIST") ? "SLURM_STEP_NODELIST" : "SLURM_JOB_NODELIST";
  if (env.has(list)) {
    host = expand_hosts(env.text(list)).front();
  }
  const int id = env.number("SLURM_JOB_ID", 0, std::numeric_limits<int>::max()).value_or(0);
  find_master(env, e, std::move(host), 10000 + id % 20000);
  return e;
}

std::string describe(const LaunchEnvironment& e) {
  constexpr const char* kNames[] = {"one process", "torchrun", "sft launch",
                                    "mpirun",      "srun",     "node variables (PET_*)"};
  const std::string source = kNames[static_cast<size_t>(e.source)];
  if (e.source == Source::alone) {
    return source;
  }
  if (e.role == Role::launcher) {
    return fmt::format("{}: node {} of {}, {} rank{} each; master {} port {}", source, e.node_rank,
                       e.nodes, e.local_world, e.local_world == 1 ? "" : "s", e.master_addr,
                       e.master_port);
  }
  return fmt::format("{}: rank {} of {} ({} of {} here, node {} of {}); master {} port {}{}",
                     source, e.rank, e.world, e.local_rank, e.local_world, e.node_rank, e.nodes,
                     e.master_addr, e.master_port,
                     e.attempt == 0 ? "" : fmt::format("; attempt {}", e.attempt));
}

LaunchEnvironment choose(const LaunchVariables& env) {
  const bool per_node = env.has("PET_NPROC_PER_NODE") || env.has("PET_NNODES");
  // Kubeflow sets RANK too, and means the pod: only LOCAL_RANK tells that a launcher stands
  // between.
  if (env.has("LOCAL_RANK") && env.has("RANK")) {
    return torchrun(env);
  }
  for (const MpiNames& names : kMpi) {
    // Inside srun, PMI's variables are SLURM's own.
    if (env.has(names.rank) && env.has(names.size) &&
        (env.has(names.local_rank) || !env.has("SLURM_PROCID"))) {
      // One process needs no local numbers, and some schedulers' shells have none.
      if (env.number(names.size, 1, kMaxWorld) > 1 || env.has(names.local_rank)) {
        return mpi(env, names);
      }
    }
  }
  if (in_slurm_step(env) && slurm_world(env) > 1) {
    return slurm(env);
  }
  if (per_node) {
    return node_environment(env);
  }
  if (env.has("RANK") || env.has("WORLD_SIZE")) {
    if (env.number("WORLD_SIZE", 1, kMaxWorld).value_or(1) > 1) {
      return torchrun(env);  // which names what is missing
    }
  }
  LaunchEnvironment alone;
  alone.note = in_slurm_step(env) ? "" : allocation_note(env);
  return alone;
}

// The secret itself, or a file that has it, as Kubernetes and systemd give one.
std::string secret(const LaunchVariables& env) {
  constexpr size_t kLongest = 4096;
  std::string token = env.text("SFT_TOKEN");
  const char* name = "SFT_TOKEN";
  if (env.has("SFT_TOKEN_FILE")) {
    name = "SFT_TOKEN_FILE";
    const auto file = env.inputs().file(env.text(name));
    if (!file) {
      throw Error("C136", fmt::format("SFT_TOKEN_FILE is {}, which cannot be read as a file",
                                      env.text(name)))
          .hint("openssl rand -hex 32 > token; SFT_TOKEN_FILE=token on every machine");
    }
    const std::string inside(trim(*file));
    if (!token.empty() && token != inside) {
      throw Error("C136", "SFT_TOKEN and SFT_TOKEN_FILE are both set and hold different secrets")
          .hint("unset one of the two");
    }
    token = inside;
    if (token.empty()) {
      throw Error("C136", fmt::format("SFT_TOKEN_FILE is {}, which is empty", env.text(name)))
          .hint("openssl rand -hex 32 > token; SFT_TOKEN_FILE=token on every machine");
    }
  }
  if (token.size() > kLongest) {
    throw Error("C136", fmt::format("{} holds {} bytes, and should hold a secret of at most {}",
                                    name, token.size(), kLongest))
        .hint("openssl rand -hex 32");
  }
  return token;
}

}  // namespace

LaunchEnvironment resolve_launch(const LaunchInputs& inputs) {
  const LaunchVariables env(inputs);
  LaunchEnvironment e = choose(env);
  e.store_port = env.port("SFT_STORE_PORT");
  if (env.has("SFT_JOB_ID")) {
    e.job = env.text("SFT_JOB_ID");
  }
  e.id = env.text("SFT_LAUNCH_ID");
  e.token = secret(env);
  e.found = describe(e);
  return e;
}

std::string LaunchEnvironment::run_id() const {
  return job.empty() ? fmt::format("port {}", master_port) : job;
}

std::vector<int> LaunchEnvironment::store_ports() const {
  if (store_port) {
    return {*store_port};
  }
  if (role == Role::launcher) {
    return {master_port};  // this program is the agent here
  }
  std::vector<int> ports;
  for (int i = 1; i <= 8; ++i) {
    const int port = master_port + i;
    ports.push_back(port <= 65535 ? port : port - 65536 + 61000 - 8);
  }
  return ports;
}

}  // namespace sft
