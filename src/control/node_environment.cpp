// Kubeflow's variables (PET_*), which are torchrun's flags: they speak of a pod, not of a process.
// RANK is then the pod's number, and WORLD_SIZE is wrong for more than one process a pod. Two of
// the values are read as those of `sft launch`'s own flags.
#include <fmt/format.h>

#include <algorithm>

#include "control/launch_variables.h"
#include "core/error.h"

namespace sft {

namespace {

// "2", or "1:4" of an elastic job: the number of machines is then not known.
int node_count(const LaunchVariables& env) {
  const std::string text = env.text("PET_NNODES");
  if (text.empty()) {
    return 1;
  }
  return launch_nodes("PET_NNODES", text, "C130");
}

// A pod's place from its name, where nothing else says it: "<job>-worker-3".
std::optional<int> place_of(const std::string& host) {
  const std::string name = host.substr(0, host.find('.'));
  const size_t dash = name.rfind('-');
  if (dash == std::string::npos || !name.substr(0, dash).ends_with("-worker") ||
      dash + 1 == name.size() || name.size() - dash > 8 ||
      !std::all_of(name.begin() + static_cast<std::ptrdiff_t>(dash) + 1, name.end(),
                   [](char c) { return c >= '0' && c <= '9'; })) {
    return std::nullopt;
  }
  return std::stoi(name.substr(dash + 1));
}

std::optional<int> node_rank(const LaunchVariables& env, int nodes) {
  for (const char* name : {"PET_NODE_RANK", "RANK", "JOB_COMPLETION_INDEX"}) {
    if (const auto place = env.number(name, 0, kMaxWorld)) {
      return place;
    }
  }
  const auto place = place_of(env.inputs().hostname);
  return place || nodes > 1 ? place : std::optional(0);
}

// "host", "host:29400", "[::1]:29400" or a bare IPv6 address.
void endpoint(LaunchEnvironment& e, const std::string& text) {
  constexpr const char* kName = "PET_RDZV_ENDPOINT";
  const size_t colon = text.rfind(':');
  const bool bare = colon == std::string::npos || text.back() == ']' ||
                    (text.front() != '[' && text.find(':') != colon);
  e.master_addr = launch_host(kName, bare ? text : text.substr(0, colon));
  e.master_port = bare ? 29400 : launch_number(kName, text.substr(colon + 1), 1, 65535);
}

void find_master(const LaunchVariables& env, LaunchEnvironment& e) {
  e.master_port = env.port("PET_MASTER_PORT").value_or(env.port("MASTER_PORT").value_or(29500));
  for (const char* name : {"PET_MASTER_ADDR", "MASTER_ADDR"}) {
    if (env.has(name)) {
      e.master_addr = env.host(name);
      return;
    }
  }
  const std::string backend = env.text("PET_RDZV_BACKEND");
  if (env.has("PET_RDZV_ENDPOINT") &&
      (backend.empty() || backend == "c10d" || backend == "static")) {
    endpoint(e, env.text("PET_RDZV_ENDPOINT"));
  } else if (e.nodes > 1) {
    const std::string& host = env.inputs().hostname;
    const size_t dash = host.rfind("-worker-");
    if (dash == std::string::npos) {
      throw Error("C132", "nothing in the environment says on which machine rank 0 runs")
          .hint("set PET_MASTER_ADDR to the first machine's name");
    }
    e.master_addr = host.substr(0, dash) + "-worker-0";
  }
}

}  // namespace

LaunchEnvironment node_environment(const LaunchVariables& env) {
  LaunchEnvironment e;
  e.source = LaunchEnvironment::Source::node;
  e.role = LaunchEnvironment::Role::launcher;
  e.nodes = node_count(env);
  e.local_world = env.has("PET_NPROC_PER_NODE")
                      ? ranks_per_node("PET_NPROC_PER_NODE", env.text("PET_NPROC_PER_NODE"), "C130",
                                       env.inputs().machine)
                      : 1;
  if (e.local_world > kMaxWorld / e.nodes) {
    throw Error("C131", fmt::format("{} machines of {} ranks are more than {} ranks", e.nodes,
                                    e.local_world, kMaxWorld));
  }
  e.max_restarts = env.number("PET_MAX_RESTARTS", 0, 1'000'000).value_or(0);
  e.job = env.text("PET_RDZV_ID");
  if (e.job == "none") {
    e.job.clear();  // torchrun's default, which all runs share
  }
  const auto place = node_rank(env, e.nodes);
  if (!place) {
    throw Error("C131", fmt::format("{} machines take part, and nothing says which this one ({}) "
                                    "is: PET_NODE_RANK, RANK or a host name like job-worker-1",
                                    e.nodes, env.inputs().hostname))
        .hint("set PET_NODE_RANK, from 0");
  }
  e.node_rank = *place;
  if (e.node_rank >= e.nodes) {
    throw Error("C131", fmt::format("this is node {}, but PET_NNODES says that there are {}",
                                    e.node_rank, e.nodes));
  }
  find_master(env, e);
  return e;
}

int launch_nodes(const std::string& name, const std::string& text, Code code) {
  constexpr int kMost = 65536;
  const size_t colon = text.find(':');
  const auto read = [&](const std::string& part) {
    try {
      return launch_number(name, part, 1, kMost);
    } catch (const Error&) {
      throw Error(code, fmt::format("{} is \"{}\", and should be a number of machines from 1 to {}",
                                    name, text.substr(0, 100), kMost))
          .hint("2 for two machines");
    }
  };
  const int least = read(text.substr(0, colon));
  if (colon != std::string::npos && read(text.substr(colon + 1)) != least) {
    throw Error("C133", fmt::format("{} is \"{}\": the number of machines is fixed here", name,
                                    text.substr(0, 100)))
        .hint("leave elasticPolicy out, or set its minReplicas and maxReplicas to one number");
  }
  return least;
}

int ranks_per_node(const std::string& name, const std::string& text, Code code,
                   const Machine& machine) {
  if (text == "auto") {
    return std::max(machine.gpus, 1);
  }
  if (text == "cpu") {
    return std::clamp(machine.processors, 1, kMaxRanksPerNode);
  }
  if (text == "gpu") {
    if (machine.gpus == 0) {
      throw Error(code, fmt::format("{} is gpu, and no GPU can be seen here", name))
          .hint("auto takes the GPUs there are, or one rank on the processors");
    }
    return machine.gpus;
  }
  try {
    return launch_number(name, text, 1, kMaxRanksPerNode);
  } catch (const Error&) {
    throw Error(code, fmt::format("{} is \"{}\", and should be auto, gpu, cpu or a number from 1 "
                                  "to {}",
                                  name, text.substr(0, 100), kMaxRanksPerNode))
        .hint("auto takes the GPUs there are, or one rank on the processors");
  }
}

}  // namespace sft
