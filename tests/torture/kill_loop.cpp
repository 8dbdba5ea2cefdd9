// SIGKILL at random moments, from the first instruction to the last file, and resuming each time.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <csignal>
#include <map>
#include <random>

#include "torture/runs.h"

namespace sft {

namespace {

// What the run was at when it was killed, by what lies in its folder.
std::string phase_of(const fs::path& out) {
  std::error_code ignored;
  bool aside = false, half_file = false;
  int checkpoints = 0;
  for (const auto& entry : fs::directory_iterator(out, ignored)) {
    const std::string name = entry.path().filename().string();
    aside = aside || name.find(".tmp-") != std::string::npos;
    half_file = half_file || name.ends_with(".tmp");
    checkpoints += name.starts_with("checkpoint-") && name.find(".tmp-") == std::string::npos;
  }
  if (aside) {
    return checkpoints > 2 ? "rotating" : "saving";
  }
  if (checkpoints > 2) {
    return "before rotating";
  }
  if (half_file || fs::exists(out / "config.json") || fs::exists(out / "adapter_config.json")) {
    return "final export";
  }
  if (!fs::exists(out / "metrics.jsonl")) {
    return "starting";
  }
  return checkpoints == 0 ? "first steps" : "training";
}

// How a loop runs the program, and how it kills it; false when there is nothing to kill yet.
struct Victim {
  std::string name;
  std::vector<std::string> (*words)(const Settings& s, const fs::path& out);
  bool (*strike)(Child& child, std::mt19937_64& random);
};

int kill_over_and_over(const Settings& s, int kills, const Victim& victim) {
  Report report(victim.name);
  const fs::path reference = s.scratch / "reference", out = s.scratch / "killed";
  fs::remove_all(reference);
  const Ended whole = run(s, victim.words(s, reference));
  const std::string expected = outcome_of(reference);
  if (whole.code != 0 || expected.empty()) {
    report.wrong(fmt::format("the uninterrupted run ended with {}: {}", whole.code, whole.err));
    return report.end("nothing");
  }
  std::mt19937_64 random(s.seed);
  std::map<std::string, int> phases;
  int killed = 0, finished = 0, starts = 0;
  while (killed < kills) {
    fs::remove_all(out);
    for (;;) {
      ++starts;
      Child child(s, victim.words(s, out));
      std::uniform_real_distribution<double> moment(0, whole.seconds);
      if (!child.wait(moment(random)) && victim.strike(child, random)) {
        const Ended ended = child.end();
        if (ended.code == 0) {  // too late: it had done its work
          ++finished;
          if (outcome_of(out) != expected) {
            report.wrong("log or weights differ from the uninterrupted run's");
          }
          break;
        }
        if (ended.code == -2) {
          report.wrong("it did not end: " + ended.err);
        }
        ++killed;
        ++phases[phase_of(out)];
        for (const std::string& broken : broken_checkpoints(out)) {
          report.wrong(broken);
        }
        if (!metrics_are_sound(out)) {
          report.wrong("metrics.jsonl has a line that is not JSON");
        }
        continue;
      }
      const Ended ended = child.end();
      if (ended.code != 0) {
        report.wrong(fmt::format("a resumed run ended with {} (signal {}): {}", ended.code,
                                 ended.signal, ended.err));
      } else if (outcome_of(out) != expected) {
        report.wrong("log or weights differ from the uninterrupted run's");
      }
      ++finished;
      break;
    }
  }
  std::vector<std::string> counts;
  for (const auto& [phase, n] : phases) {
    counts.push_back(fmt::format("{} {}", n, phase));
  }
  return report.end(fmt::format("{} kills ({}), {} starts, {} runs ended", killed,
                                fmt::join(counts, ", "), starts, finished));
}

// Adapters of every kind at once: what they drop, their rows' magnitudes, modules trained whole,
// words trained beside them.
std::vector<std::string> with_adapters(const Settings& s, const fs::path& out) {
  std::vector<std::string> words = recipe(s, out);
  words.insert(words.end(),
               {"--use_peft", "true", "--lora_target_modules", "all-linear", "--lora_dropout",
                "0.2", "--use_dora", "true", "--lora_modules_to_save", "norm", "--lora_config",
                R"({"trainable_token_indices": [3, 5], "rank_pattern": {"q_proj": 4}})"});
  return words;
}

std::vector<std::string> two_ranks(const Settings& s, const fs::path& out) {
  std::vector<std::string> words = {"launch", "--nproc_per_node", "2"};
  const std::vector<std::string> rest = recipe(s, out);
  words.insert(words.end(), rest.begin(), rest.end());
  words.insert(words.end(), {"--zero_stage", "2"});
  return words;
}

// One of the ranks that there are; the launcher and the other rank have to end by themselves.
bool kill_a_rank(Child& child, std::mt19937_64& random) {
  const std::map<int, pid_t> ranks = ranks_of(child.pid());
  if (ranks.empty()) {
    return false;
  }
  const auto victim = std::next(ranks.begin(), static_cast<long>(random() % ranks.size()));
  return ::kill(victim->second, SIGKILL) == 0;
}

}  // namespace

int kill_loop(const Settings& s, int kills) {
  return kill_over_and_over(s, kills, {"kill loop", recipe, [](Child& child, std::mt19937_64&) {
                                         child.send(SIGKILL);
                                         return true;
                                       }});
}

int adapter_kill_loop(const Settings& s, int kills) {
  return kill_over_and_over(
      s, kills, {"adapter kill loop", with_adapters, [](Child& child, std::mt19937_64&) {
                   child.send(SIGKILL);
                   return true;
                 }});
}

int rank_kill_loop(const Settings& s, int kills) {
  return kill_over_and_over(s, kills, {"rank kill loop", two_ranks, kill_a_rank});
}

}  // namespace sft
