#include "cli/launch_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "cli/environment.h"
#include "core/error.h"
#include "core/numbers.h"
#include "core/strings.h"
#include "core/thread_pool.h"

namespace sft {

namespace {

int whole(const std::string& flag, const std::string& text, int low, int high) {
  const auto out = whole_number(text, low, high);
  if (!out) {
    throw Error("C134", fmt::format("--{} is \"{}\", and should be a number from {} to {}", flag,
                                    text, low, high));
  }
  return static_cast<int>(*out);
}

struct Flag {
  const char* name;
  std::function<void(LaunchOptions&, const std::string&)> set;
};

const std::vector<Flag>& flags() {
  static const std::vector<Flag> all = {
      {"nproc_per_node",
       [](auto& o, auto& v) {
         o.ranks = ranks_per_node("--nproc_per_node", v, "C134", visible_machine());
       }},
      {"nnodes", [](auto& o, auto& v) { o.nodes = launch_nodes("--nnodes", v, "C134"); }},
      {"node_rank", [](auto& o, auto& v) { o.node_rank = whole("node_rank", v, 0, 65535); }},
      {"master_addr", [](auto& o, auto& v) { o.master_addr = v; }},
      {"master_port", [](auto& o, auto& v) { o.master_port = whole("master_port", v, 1, 65535); }},
      {"max_restarts",
       [](auto& o, auto& v) { o.max_restarts = whole("max_restarts", v, 0, 1'000'000); }},
      {"rdzv_id", [](auto& o, auto& v) { o.job = v; }},
      {"join_timeout",
       [](auto& o, auto& v) { o.join_timeout = whole("join_timeout", v, 1, 86400); }},
  };
  return all;
}

const Flag* find(std::string name) {
  std::ranges::replace(name, '-', '_');
  for (const Flag& flag : flags()) {
    if (name == flag.name) {
      return &flag;
    }
  }
  return nullptr;
}

}  // namespace

Machine visible_machine() {
  // A container has the files of its own GPUs only, whatever their numbers.
  int gpus = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/dev", ignored)) {
    const std::string name = entry.path().filename().string();
    gpus += name.size() > 6 && name.starts_with("nvidia") &&
                    name.find_first_not_of("0123456789", 6) == std::string::npos
                ? 1
                : 0;
  }
  const Environment environment = read_environment();
  if (const char* visible = environment("CUDA_VISIBLE_DEVICES")) {
    // CUDA counts up to the first that is none: "-1", "NoDevFiles", a number too large.
    int listed = 0;
    for (const std::string& item : split(visible, ',')) {
      const std::string name(trim(item));
      const bool by_name = name.starts_with("GPU-") || name.starts_with("MIG-");
      if (!by_name && (name.empty() || name.size() > 4 ||
                       name.find_first_not_of("0123456789") != std::string::npos)) {
        break;
      }
      ++listed;
    }
    gpus = std::min(gpus, listed);
  }
  return {gpus, default_threads()};
}

LaunchOptions read_launch_options(Args args, const LaunchEnvironment& environment) {
  LaunchOptions o;
  if (environment.role == LaunchEnvironment::Role::launcher) {
    o.ranks = environment.local_world;
    o.nodes = environment.nodes;
    o.node_rank = environment.node_rank;
    o.master_addr = environment.master_addr;
    o.master_port = environment.master_port;
    o.max_restarts = environment.max_restarts;
  }
  o.job = environment.job;
  o.token = environment.token;
  size_t at = 0;
  for (; at < args.size() && args[at].starts_with("--"); ++at) {
    const size_t equals = args[at].find('=');
    const std::string name = args[at].substr(2, equals == std::string::npos ? equals : equals - 2);
    if (name == "standalone") {
      continue;
    }
    if (name == "require_token" || name == "require-token") {
      const bool next = equals == std::string::npos && at + 1 < args.size() &&
                        (args[at + 1] == "true" || args[at + 1] == "false");
      const std::string value = equals != std::string::npos ? args[at].substr(equals + 1)
                                : next                      ? args[++at]
                                                            : "true";
      if (value != "true" && value != "false") {
        throw Error("C134", fmt::format("--require_token is \"{}\", and should be true or false",
                                        value.substr(0, 100)));
      }
      o.require_token = value == "true";
      continue;
    }
    const Flag* flag = find(name);
    if (flag == nullptr) {
      break;  // the training's flags begin
    }
    if (equals == std::string::npos && at + 1 == args.size()) {
      throw Error("C134", fmt::format("--{} needs a value", flag->name));
    }
    flag->set(o, equals == std::string::npos ? args[++at] : args[at].substr(equals + 1));
  }
  o.training.assign(args.begin() + static_cast<std::ptrdiff_t>(at), args.end());
  constexpr int kMost = 1 << 20;
  if (o.ranks > kMost / o.nodes) {
    throw Error("C135", fmt::format("{} machines of {} ranks are more than {} ranks", o.nodes,
                                    o.ranks, kMost));
  }
  if (o.node_rank >= o.nodes) {
    throw Error("C135", fmt::format("--node_rank is {}, and there are {} nodes, numbered from 0",
                                    o.node_rank, o.nodes));
  }
  if (o.nodes > 1 && o.node_rank > 0 && o.master_addr.empty()) {
    throw Error("C135", "--master_addr is missing: where node 0 can be reached")
        .hint("sft launch --nnodes 2 --node_rank 1 --master_addr <host of node 0> …");
  }
  if (o.master_addr.empty()) {
    o.master_addr = "127.0.0.1";
  }
  if (o.job.empty()) {
    o.job = fmt::format("port {}", o.master_port);
  }
  if (o.training.empty()) {
    throw Error("C135", "sft launch has nothing to start")
        .hint("sft launch --nproc_per_node 2 --config recipe.yaml");
  }
  return o;
}

}  // namespace sft
