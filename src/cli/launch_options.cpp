#include "cli/launch_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "core/error.h"

namespace sft {

namespace {

int whole(const std::string& flag, const std::string& text, int low, int high) {
  int out = 0;
  const auto end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, out);
  if (parsed.ec != std::errc() || parsed.ptr != end || out < low || out > high) {
    throw Error("C134", fmt::format("--{} is \"{}\", and should be a number from {} to {}", flag,
                                    text, low, high));
  }
  return out;
}

int ranks_here(const std::string& text) {
  if (text != "auto" && text != "gpu") {
    return whole("nproc_per_node", text, 1, 1024);
  }
  const int gpus = count_gpus();
  if (gpus == 0 && text == "gpu") {
    throw Error("C134", "--nproc_per_node is gpu, and there is none");
  }
  return std::max(gpus, 1);
}

struct Flag {
  const char* name;
  std::function<void(LaunchOptions&, const std::string&)> set;
};

const std::vector<Flag>& flags() {
  static const std::vector<Flag> all = {
      {"nproc_per_node", [](auto& o, auto& v) { o.ranks = ranks_here(v); }},
      {"nnodes",
       [](auto& o, auto& v) {
         const size_t colon = v.find(':');
         if (colon != std::string::npos && v.substr(0, colon) != v.substr(colon + 1)) {
           throw Error("C134", fmt::format("--nnodes is \"{}\": the number of machines is fixed "
                                           "here",
                                           v));
         }
         o.nodes = whole("nnodes", v.substr(0, colon), 1, 65536);
       }},
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

int count_gpus() {
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) {
    const std::string list = visible;
    return list.empty() || list == "-1" ? 0 : static_cast<int>(std::ranges::count(list, ',')) + 1;
  }
  int count = 0;
  std::error_code ignored;
  while (std::filesystem::exists(fmt::format("/dev/nvidia{}", count), ignored)) {
    ++count;
  }
  return count;
}

LaunchOptions read_launch_options(Args args, const LaunchEnvironment& environment) {
  LaunchOptions o;
  if (environment.role == LaunchEnvironment::Role::launcher) {
    o.ranks = environment.local_world == 0 ? ranks_here("auto") : environment.local_world;
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
  if (o.node_rank >= o.nodes) {
    throw Error("C135", fmt::format("--node_rank is {}, and there are {} nodes, numbered from 0",
                                    o.node_rank, o.nodes));
  }
  if (o.nodes > 1 && o.node_rank > 0 && o.master_addr == "127.0.0.1") {
    throw Error("C135", "--master_addr is missing: where node 0 can be reached")
        .hint("sft launch --nnodes 2 --node_rank 1 --master_addr <host of node 0> …");
  }
  if (o.training.empty()) {
    throw Error("C135", "sft launch has nothing to start")
        .hint("sft launch --nproc_per_node 2 --config recipe.yaml");
  }
  return o;
}

}  // namespace sft
