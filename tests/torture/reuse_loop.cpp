// A run in a folder that others have used: it is killed or stopped at random moments and goes on,
// and neither its outcome nor what the others left may show that they met.
#include <fmt/format.h>

#include <csignal>
#include <map>
#include <optional>
#include <random>

#include "core/error.h"
#include "core/file_writer.h"
#include "core/json.h"
#include "io/checkpoint.h"
#include "io/checkpoint_manifest.h"
#include "torture/runs.h"

namespace sft {

namespace {

using Words = std::vector<std::string>;

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// Evaluates where it saves, and loads the best in the end.
Words best_recipe(const Settings& s, const fs::path& out, bool resumes) {
  return with(recipe(s, out), {"--eval_steps", "3", "--load_best_model_at_end", "true",
                               "--resume_from_checkpoint", resumes ? "latest" : "false"});
}

std::string bytes_in(const fs::path& folder) {
  std::string all;
  for (const fs::path& path : paths_in(folder)) {
    all += path.filename().string() + "\n" + read_text(path);
  }
  return all;
}

std::map<std::string, std::string> checkpoints_in(const fs::path& out) {
  std::map<std::string, std::string> found;
  for (const CheckpointFolder& checkpoint : list_checkpoints(out)) {
    found.emplace(checkpoint.path.filename().string(), bytes_in(checkpoint.path));
  }
  return found;
}

// Which of the checkpoints are not there any more as they were, under their name or a new one.
std::string missing(const std::map<std::string, std::string>& before, const fs::path& out) {
  for (const auto& [name, bytes] : before) {
    bool there = false;
    for (const fs::path& path : paths_in(out)) {
      const std::string now = path.filename().string();
      there = there || ((now == name || now.starts_with(name + ".of-")) && bytes_in(path) == bytes);
    }
    if (!there) {
      return name;
    }
  }
  return "";
}

// The id of the run that has noted itself in the folder.
std::string noted_run(const fs::path& out) {
  return is_file(out / ".sft.run") ? read_json(out / ".sft.run").value("run", "") : "";
}

// What others may have left: a run that ended, one that was killed, another program's folders.
void use_folder(const Settings& s, const fs::path& out, std::mt19937_64& random) {
  if (random() % 4 == 0) {
    for (const int step : {3, 12, 30}) {
      const fs::path folder = out / fmt::format("checkpoint-{}", step);
      fs::create_directories(folder);
      write_text(folder / "trainer_state.json", "{}");
      write_text(folder / "optimizer.pt", "a pickle");
    }
    return;
  }
  Child child(
      s, with(best_recipe(s, out, false), {"--seed", "7", "--learning_rate", "3e-4",
                                           "--save_total_limit", std::to_string(1 + random() % 9),
                                           "--max_steps", std::to_string(3 + random() % 33)}));
  if (random() % 2 == 0 && !child.wait(0.1 + static_cast<double>(random() % 1000) / 1000.0)) {
    child.send(SIGKILL);
  }
  child.end();
}

// The checkpoint that a stopped run says it can go on from; what a run says of others' as it begins
// is no advice.
std::optional<std::string> advised(const std::string& err) {
  constexpr std::string_view kFlag = "go on with  --resume_from_checkpoint ";
  const size_t at = err.rfind(kFlag);
  if (at == std::string::npos) {
    return std::nullopt;
  }
  const std::string rest = err.substr(at + kFlag.size());
  return rest.substr(0, rest.find_first_of(" \n"));
}

class ReuseLoop {
 public:
  ReuseLoop(const Settings& s, int strikes)
      : s_(s), strikes_(strikes), random_(s.seed), out_(s.scratch / "reused") {}

  int run_all() {
    const fs::path reference = s_.scratch / "reuse_reference";
    const Ended whole = run(s_, best_recipe(s_, reference, false));
    expected_ = outcome_of(reference);
    seconds_ = whole.seconds;
    if (whole.code != 0 || expected_.empty()) {
      report_.wrong("the uninterrupted run failed: " + whole.err);
      return report_.end("nothing");
    }
    for (; struck_ < strikes_; ++folders_) {
      fs::remove_all(out_);
      use_folder(s_, out_, random_);
      before_ = checkpoints_in(out_);
      earlier_ = noted_run(out_);
      while (!ended_after_a_strike()) {
      }
    }
    return report_.end(
        fmt::format("{} folders that others had used; {} kills, {} stops, {} of them "
                    "with a checkpoint to go on from, which was there",
                    folders_, struck_ - stops_, stops_, advised_));
  }

 private:
  // One start of the run; true when it came to its end.
  bool ended_after_a_strike() {
    const bool began = noted_run(out_) != earlier_;
    Child child(s_, best_recipe(s_, out_, began));
    const bool stop = random_() % 3 == 0;
    std::uniform_real_distribution<double> moment(0, seconds_);
    if (!child.wait(moment(random_))) {
      child.send(stop ? SIGTERM : SIGKILL);
    }
    const Ended ended = child.end();
    if (ended.code == 0) {
      if (outcome_of(out_) != expected_) {
        report_.wrong("log or weights differ from those of a run in a folder of its own");
      }
      look();
      return true;
    }
    const bool stopped = ended.code == 128 + SIGTERM || (stop && ended.signal == SIGTERM);
    if (!stopped && ended.signal != SIGKILL) {
      report_.wrong(
          fmt::format("it ended with {} (signal {}): {}", ended.code, ended.signal, ended.err));
      return true;
    }
    ++struck_;
    stops_ += stopped ? 1 : 0;
    if (stopped) {
      check_advice(ended.err);
    }
    look();
    return false;
  }

  void look() {
    if (const std::string name = missing(before_, out_); !name.empty()) {
      report_.wrong(name + " of another run is gone or changed");
    }
  }

  void check_advice(const std::string& err) {
    const auto checkpoint = advised(err);
    if (!checkpoint) {
      return;
    }
    try {
      verify_checkpoint(*checkpoint);
      if (origin_of(*checkpoint).run != noted_run(out_)) {
        report_.wrong(*checkpoint + " was advised, and is another run's");
      }
      ++advised_;
    } catch (const Error& e) {
      report_.wrong("what a stop advises cannot be used: " + e.message());
    }
  }

  const Settings& s_;
  const int strikes_;
  std::mt19937_64 random_;
  const fs::path out_;
  Report report_{"used folders"};
  std::string expected_, earlier_;
  std::map<std::string, std::string> before_;
  double seconds_ = 0;
  int struck_ = 0, stops_ = 0, advised_ = 0, folders_ = 0;
};

Words restarting(const Settings& s, const fs::path& out) {
  return with({"launch", "--nproc_per_node", "2", "--max_restarts", "3"},
              with(best_recipe(s, out, false), {"--zero_stage", "2"}));
}

}  // namespace

int reuse_loop(const Settings& s, int strikes) { return ReuseLoop(s, strikes).run_all(); }

int restart_loop(const Settings& s, int kills) {
  Report report("restarts in used folders");
  const fs::path reference = s.scratch / "restart_reference", out = s.scratch / "restarted";
  const Ended whole = run(s, restarting(s, reference));
  const std::string expected = outcome_of(reference);
  if (whole.code != 0 || expected.empty()) {
    report.wrong("the uninterrupted run failed: " + whole.err);
    return report.end("nothing");
  }
  std::mt19937_64 random(s.seed);
  int killed = 0, folders = 0;
  for (; killed < kills; ++folders) {
    fs::remove_all(out);
    use_folder(s, out, random);
    const auto before = checkpoints_in(out);
    Child child(s, restarting(s, out));
    std::uniform_real_distribution<double> moment(0, whole.seconds);
    if (!child.wait(moment(random))) {
      const std::map<int, pid_t> ranks = ranks_of(child.pid());
      if (!ranks.empty()) {
        const auto victim = std::next(ranks.begin(), static_cast<long>(random() % ranks.size()));
        killed += ::kill(victim->second, SIGKILL) == 0 ? 1 : 0;
      }
    }
    const Ended ended = child.end();
    if (ended.code != 0) {
      report.wrong(fmt::format("it ended with {}: {}", ended.code, ended.err));
    } else if (outcome_of(out) != expected) {
      report.wrong("log or weights differ from those of a run that was not killed");
    }
    if (const std::string name = missing(before, out); !name.empty()) {
      report.wrong(name + " of another run is gone or changed");
    }
  }
  return report.end(
      fmt::format("{} folders, {} ranks killed, each run restarted to its end", folders, killed));
}

}  // namespace sft
