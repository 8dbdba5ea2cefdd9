#include "comm/launch_environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "core/error.h"

namespace sft {

namespace {

using Source = LaunchEnvironment::Source;
using Role = LaunchEnvironment::Role;

constexpr int kMaxWorld = 1 << 20;
constexpr size_t kMaxHosts = 65536;

// Reads variables as what they should be.
class Reader {
 public:
  explicit Reader(const LaunchInputs& inputs) : inputs_(inputs) {}

  bool has(const char* name) const {
    const char* value = inputs_.variable(name);
    return value != nullptr && *value != '\0';
  }
  std::string text(const char* name) const { return has(name) ? inputs_.variable(name) : ""; }
  std::optional<int> number(const char* name, int low, int high) const {
    if (!has(name)) {
      return std::nullopt;
    }
    const std::string value = text(name);
    int out = 0;
    const auto end = value.data() + value.size();
    const auto parsed = std::from_chars(value.data(), end, out);
    if (parsed.ec != std::errc() || parsed.ptr != end || out < low || out > high) {
      throw Error("C130", fmt::format("{} is \"{}\", and should be a number from {} to {}", name,
                                      value, low, high))
          .hint("the launcher sets it; unset it to train in one process");
    }
    return out;
  }
  int count(const char* name) const { return number(name, 0, kMaxWorld).value_or(0); }
  std::optional<int> port(const char* name) const { return number(name, 1, 65535); }
  const LaunchInputs& inputs() const { return inputs_; }

 private:
  const LaunchInputs& inputs_;
};

void require(const Reader& env, const char* source, std::initializer_list<const char*> names) {
  std::string missing;
  for (const char* name : names) {
    if (!env.has(name)) {
      missing += fmt::format("{}{}", missing.empty() ? "" : ", ", name);
    }
  }
  if (!missing.empty()) {
    throw Error("C131",
                fmt::format("the environment looks like {}'s, but lacks {}", source, missing))
        .hint("start the ranks with torchrun or `sft launch`, or unset the others");
  }
}

void check(const LaunchEnvironment& e, const char* source) {
  if (e.world < 1 || e.rank < 0 || e.rank >= e.world || e.local_world < 1 || e.local_rank < 0 ||
      e.local_rank >= e.local_world || e.local_world > e.world) {
    throw Error("C131",
                fmt::format("{} says rank {} of {}, and {} of {} on this machine, which cannot be",
                            source, e.rank, e.world, e.local_rank, e.local_world));
  }
}

// The environment of torchrun's children, which `sft launch` makes too.
LaunchEnvironment torchrun(const Reader& env) {
  require(env, "torchrun", {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"});
  LaunchEnvironment e;
  e.source =
      env.has("SFT_STORE_PORT") && env.has("SFT_LAUNCHED") ? Source::sft_launch : Source::torchrun;
  e.rank = env.count("RANK");
  e.world = env.number("WORLD_SIZE", 1, kMaxWorld).value_or(1);
  e.local_rank = env.count("LOCAL_RANK");
  e.local_world = env.number("LOCAL_WORLD_SIZE", 1, kMaxWorld).value_or(e.local_rank + 1);
  e.master_addr = env.text("MASTER_ADDR");
  e.master_port = *env.port("MASTER_PORT");
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

void find_master(const Reader& env, LaunchEnvironment& e, std::optional<std::string> host,
                 int port) {
  e.master_port = env.port("MASTER_PORT").value_or(port);
  if (env.has("MASTER_ADDR")) {
    e.master_addr = env.text("MASTER_ADDR");
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
  const char *source, *rank, *size, *local_rank, *local_size, *job;
};
constexpr MpiNames kMpi[] = {
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE", "PMIX_NAMESPACE"},
    {"MPICH or Intel MPI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS",
     "HYDI_CONTROL_FD"},
};

LaunchEnvironment mpi(const Reader& env, const MpiNames& names) {
  require(env, names.source, {names.rank, names.size, names.local_rank, names.local_size});
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

// "8(x2),4": how many tasks node number `node` has.
int slurm_tasks(const std::string& text, int node) {
  size_t at = 0;
  while (at < text.size()) {
    char* end = nullptr;
    const long tasks = std::strtol(text.c_str() + at, &end, 10);
    long times = 1;
    if (*end == '(' && end[1] == 'x') {
      times = std::strtol(end + 2, &end, 10);
      end += *end == ')' ? 1 : 0;
    }
    if (tasks < 1 || tasks > kMaxWorld || times < 1 || (*end != ',' && *end != '\0')) {
      break;
    }
    if (node < times) {
      return static_cast<int>(tasks);
    }
    node -= static_cast<int>(std::min<long>(times, kMaxWorld));
    at = static_cast<size_t>(end - text.c_str()) + 1;
  }
  throw Error("C130", fmt::format("SLURM_TASKS_PER_NODE is \"{}\", which says nothing of node {}",
                                  text, node));
}

LaunchEnvironment slurm(const Reader& env) {
  require(env, "srun", {"SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"});
  LaunchEnvironment e;
  e.source = Source::slurm;
  e.rank = env.count("SLURM_PROCID");
  e.world = env.count(env.has("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS");
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
  find_master(env, e, host, 10000 + id % 20000);
  return e;
}

// "2", or "1:4" of an elastic job: the number of machines is then not known.
int node_count(const Reader& env) {
  const std::string text = env.text("PET_NNODES");
  if (const size_t colon = text.find(':'); colon != std::string::npos) {
    if (text.substr(0, colon) != text.substr(colon + 1)) {
      throw Error("C133", fmt::format("PET_NNODES is \"{}\": a range of machines", text))
          .hint("leave elasticPolicy out, or set its minReplicas and maxReplicas to one number");
    }
  }
  const std::string first = text.substr(0, text.find(':'));
  const LaunchInputs one{[&](const char*) { return first.c_str(); }, {}, ""};
  return Reader(one).number("PET_NNODES", 1, kMaxWorld).value_or(1);
}

// A pod's place from its name, where nothing else says it: "<job>-worker-3", "<job>-master-0".
std::optional<int> place_of(const std::string& host) {
  const std::string name = host.substr(0, host.find('.'));
  const size_t dash = name.rfind('-');
  if (dash == std::string::npos || dash + 1 == name.size()) {
    return std::nullopt;
  }
  int place = 0;
  const auto end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + dash + 1, end, place);
  if (parsed.ptr != end || parsed.ec != std::errc() || place < 0 || place >= kMaxWorld ||
      !name.substr(0, dash).ends_with("-worker")) {
    return std::nullopt;
  }
  return place;
}

// Kubeflow's variables speak of a pod, not of a process: RANK is then the pod's number, and
// WORLD_SIZE is wrong for more than one process a pod.
LaunchEnvironment node(const Reader& env) {
  LaunchEnvironment e;
  e.source = Source::node;
  e.role = Role::launcher;
  e.nodes = node_count(env);
  const std::string per_node = env.text("PET_NPROC_PER_NODE");
  e.local_world = per_node.empty() ? 1
                  : per_node == "auto" || per_node == "gpu" || per_node == "cpu"
                      ? 0
                      : env.number("PET_NPROC_PER_NODE", 1, kMaxWorld).value_or(1);
  e.max_restarts = env.count("PET_MAX_RESTARTS");
  e.job = env.text("PET_RDZV_ID");
  std::optional<int> place = env.number("PET_NODE_RANK", 0, kMaxWorld);
  if (!place) {
    place = env.number("RANK", 0, kMaxWorld);
  }
  if (!place) {
    place = env.number("JOB_COMPLETION_INDEX", 0, kMaxWorld);
  }
  if (!place) {
    place = place_of(env.inputs().hostname);
  }
  if (!place && e.nodes == 1) {
    place = 0;
  }
  if (!place) {
    throw Error("C131", fmt::format("{} machines take part, and nothing says which this one ({}) "
                                    "is: PET_NODE_RANK, RANK or a host name like job-worker-1",
                                    e.nodes, env.inputs().hostname));
  }
  e.node_rank = *place;
  if (e.node_rank >= e.nodes) {
    throw Error("C131", fmt::format("this is node {}, but PET_NNODES says that there are {}",
                                    e.node_rank, e.nodes));
  }
  const std::string endpoint = env.text("PET_RDZV_ENDPOINT");
  const size_t colon = endpoint.rfind(':');
  e.master_port = env.port("PET_MASTER_PORT").value_or(env.port("MASTER_PORT").value_or(29500));
  if (env.has("PET_MASTER_ADDR") || env.has("MASTER_ADDR")) {
    e.master_addr = env.text(env.has("PET_MASTER_ADDR") ? "PET_MASTER_ADDR" : "MASTER_ADDR");
  } else if (!endpoint.empty()) {
    e.master_addr = endpoint.substr(0, colon);
    const std::string port = colon == std::string::npos ? "29400" : endpoint.substr(colon + 1);
    const LaunchInputs one{[&](const char*) { return port.c_str(); }, {}, ""};
    e.master_port = *Reader(one).port("PET_RDZV_ENDPOINT");
  } else if (e.nodes > 1) {
    const std::string& host = env.inputs().hostname;
    const size_t dash = host.rfind("-worker-");
    if (dash == std::string::npos) {
      throw Error("C132", "nothing in the environment says on which machine rank 0 runs")
          .hint("set PET_MASTER_ADDR to the first machine's name");
    }
    e.master_addr = host.substr(0, dash) + "-worker-0";
  }
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
    return fmt::format("{}: node {} of {}, {} ranks each; master {} port {}", source, e.node_rank,
                       e.nodes, e.local_world == 0 ? "auto" : std::to_string(e.local_world),
                       e.master_addr, e.master_port);
  }
  return fmt::format("{}: rank {} of {} ({} of {} here, node {} of {}); master {} port {}{}",
                     source, e.rank, e.world, e.local_rank, e.local_world, e.node_rank, e.nodes,
                     e.master_addr, e.master_port,
                     e.attempt == 0 ? "" : fmt::format("; attempt {}", e.attempt));
}

LaunchEnvironment choose(const Reader& env) {
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
      return mpi(env, names);
    }
  }
  const char* tasks = env.has("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
  if (env.has("SLURM_PROCID") && env.number(tasks, 1, kMaxWorld).value_or(1) > 1) {
    return slurm(env);
  }
  if (per_node) {
    return node(env);
  }
  if (env.has("RANK") || env.has("WORLD_SIZE")) {
    if (env.number("WORLD_SIZE", 1, kMaxWorld).value_or(1) > 1) {
      return torchrun(env);  // which names what is missing
    }
  }
  return {};
}

}  // namespace

LaunchEnvironment resolve_launch(const LaunchInputs& inputs) {
  const Reader env(inputs);
  LaunchEnvironment e = choose(env);
  e.store_port = env.port("SFT_STORE_PORT");
  if (env.has("SFT_JOB_ID")) {
    e.job = env.text("SFT_JOB_ID");
  }
  e.token = env.text("SFT_TOKEN");
  e.found = describe(e);
  return e;
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

std::vector<std::string> expand_hosts(const std::string& list) {
  const auto malformed = [&] {
    return Error("C130", fmt::format("the list of hosts \"{}\" cannot be read", list));
  };
  std::vector<std::string> hosts;
  size_t at = 0;
  while (at < list.size()) {
    size_t end = at, depth = 0;
    while (end < list.size() && (list[end] != ',' || depth > 0)) {
      depth += list[end] == '[' ? 1 : 0;
      depth -= list[end] == ']' && depth > 0 ? 1 : 0;
      ++end;
    }
    std::vector<std::string> names = {""};
    for (size_t i = at; i < end; ++i) {
      if (list[i] != '[') {
        for (std::string& name : names) {
          name += list[i];
        }
        continue;
      }
      const size_t close = list.find(']', i);
      if (close == std::string::npos || close >= end) {
        throw malformed();
      }
      std::vector<std::string> wider;
      size_t from = i + 1;
      while (from < close) {
        const size_t comma = std::min(list.find(',', from), close);
        const std::string part = list.substr(from, comma - from);
        from = comma + 1;
        const size_t dash = part.find('-');
        const std::string low = part.substr(0, dash);
        const std::string high = dash == std::string::npos ? low : part.substr(dash + 1);
        const auto digits = [](const std::string& s) {
          return !s.empty() && s.size() < 9 &&
                 s.find_first_not_of("0123456789") == std::string::npos;
        };
        if (!digits(low) || !digits(high)) {
          throw malformed();
        }
        const int last = std::stoi(high);
        for (int n = std::stoi(low); n <= last; ++n) {
          for (const std::string& name : names) {
            wider.push_back(fmt::format("{}{:0{}}", name, n, low.size()));
          }
          if (wider.size() + hosts.size() > kMaxHosts) {
            throw malformed();
          }
        }
      }
      names = std::move(wider);
      i = close;
    }
    hosts.insert(hosts.end(), names.begin(), names.end());
    at = end + 1;
  }
  if (hosts.empty() || hosts[0].empty()) {
    throw malformed();
  }
  return hosts;
}

}  // namespace sft
