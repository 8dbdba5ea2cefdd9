// `make torture`: loops that kill, starve and deceive a run, and compare what comes of it with an
// uninterrupted one, bit for bit. What is promised because of them stands in PROMISES.md.
//   torture SFT MODEL [--sample] [--kills N] [--seed N] [--messages N]
//           [kill|adapters|ranks|reuse|restarts|calls|short|flips|resources|threads|strangers]...
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "comm/communicator.h"
#include "torture/runs.h"

int main(int argc, char** argv) {
  using namespace sft;
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (args.size() < 2) {
    fmt::print(
        "torture SFT MODEL [--sample] [--kills N] [--seed N] "
        "[--messages N] "
        "[kill|adapters|ranks|reuse|restarts|calls|short|flips|resources|threads|strangers]\n");
    return 2;
  }
  const fs::path base = fs::exists("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
  Settings s{fs::absolute(args[0]), fs::absolute(args[1]),
             base / fmt::format("sft_torture_{}", ::getpid())};
  int kills = 1000;
  int64_t messages = 100'000;
  std::vector<std::string> loops;
  for (size_t i = 2; i < args.size(); ++i) {
    if (args[i] == "--sample") {
      s.sample = true;
      kills = 12;
      messages = 1;
    } else if (args[i] == "--kills" && i + 1 < args.size()) {
      kills = std::atoi(args[++i].c_str());
    } else if (args[i] == "--messages" && i + 1 < args.size()) {
      messages = std::atoll(args[++i].c_str());
    } else if (args[i] == "--seed" && i + 1 < args.size()) {
      s.seed = static_cast<uint64_t>(std::atoll(args[++i].c_str()));
    } else {
      loops.push_back(args[i]);
    }
  }
  const auto wanted = [&](const char* name) {
    return loops.empty() || std::ranges::find(loops, name) != loops.end();
  };
  fs::create_directories(s.scratch);
  make_data(s);
  int wrong = 0;
  if (wanted("flips")) {
    wrong += flip_loop(s);
  }
  if (wanted("kill")) {
    wrong += kill_loop(s, kills);
  }
  if (wanted("adapters")) {
    wrong += adapter_kill_loop(s, s.sample ? 4 : std::min(kills, 200));
  }
  if (wanted("ranks") && gloo_built()) {
    wrong += rank_kill_loop(s, s.sample ? 3 : kills);
  }
  if (wanted("strangers") && gloo_built()) {
    wrong += hostile_loop(s, messages);
  }
  if (wanted("reuse")) {
    wrong += reuse_loop(s, kills);
  }
  if (wanted("restarts") && gloo_built()) {
    wrong += restart_loop(s, s.sample ? 2 : kills / 10);
  }
  if (wanted("resources")) {
    wrong += resource_loop(s);
  }
  if (wanted("threads")) {
    wrong += thread_loop(s);
  }
  if (wanted("short")) {
    wrong += short_loop(s);
  }
  if (wanted("calls")) {
    if (std::system("strace -o /dev/null true 2>/dev/null") == 0) {
      wrong += call_loop(s);
    } else {
      fmt::print("failing system calls: left out, strace is not installed or may not trace\n");
    }
  }
  std::error_code ignored;
  fs::remove_all(s.scratch, ignored);
  return wrong == 0 ? 0 : 1;
}
