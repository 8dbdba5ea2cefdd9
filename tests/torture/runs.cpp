#include "torture/runs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <random>
#include <thread>

#include "core/error.h"
#include "core/json.h"
#include "io/checkpoint.h"
#include "io/checkpoint_manifest.h"

namespace sft {

double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

namespace {
int next_child = 0;  // the loops are one thread
}  // namespace

Child::Child(const Settings& settings, const std::vector<std::string>& args, const Launch& launch)
    : began_(now()), err_(settings.scratch / fmt::format("stderr.{}", next_child++)) {
  std::vector<std::string> words = launch.before;
  words.push_back(settings.sft.string());
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  const std::string out = (settings.scratch / "stdout").string();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::setpgid(0, 0);
    const int err_fd = ::open(err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    const int out_fd = launch.stdout_fd >= 0
                           ? launch.stdout_fd
                           : ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    ::dup2(out_fd, 1);
    ::dup2(err_fd, 2);
    ::setenv("HF_HUB_OFFLINE", "1", 1);
    for (const auto& [name, value] : launch.environment) {
      ::setenv(name.c_str(), value.c_str(), 1);
    }
    if (launch.in_child) {
      launch.in_child();
    }
    ::execvp(argv[0], argv.data());
    ::_exit(126);
  }
  ::setpgid(pid_, pid_);
}

Child::~Child() {
  if (!done_) {
    send(SIGKILL);
    ::waitpid(pid_, &status_, 0);
  }
  std::error_code ignored;
  fs::remove(err_, ignored);
}

void Child::send(int signal) const { ::kill(-pid_, signal); }

bool Child::wait(double seconds) {
  const double until = now() + seconds;
  while (!done_) {
    done_ = ::waitpid(pid_, &status_, WNOHANG) == pid_;
    if (done_ || now() >= until) {
      break;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  return done_;
}

Ended Child::end() {
  Ended ended;
  if (!wait(60)) {
    send(SIGKILL);
    ::waitpid(pid_, &status_, 0);
    done_ = true;
    ended.code = -2;
  } else if (WIFEXITED(status_)) {
    ended.code = WEXITSTATUS(status_);
  } else {
    ended.signal = WTERMSIG(status_);
  }
  ended.seconds = now() - began_;
  ended.err = fs::exists(err_) ? read_text(err_) : "";  // not where it was killed at once
  return ended;
}

Ended run(const Settings& settings, const std::vector<std::string>& args, const Launch& launch) {
  return Child(settings, args, launch).end();
}

std::map<int, pid_t> ranks_of(pid_t parent) {
  std::map<int, pid_t> found;
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", parent));
  pid_t child = 0;
  while (children >> child) {
    std::ifstream environment(fmt::format("/proc/{}/environ", child));
    std::string variable;
    while (std::getline(environment, variable, '\0')) {
      if (variable.starts_with("RANK=")) {
        found[std::stoi(variable.substr(5))] = child;
      }
    }
  }
  return found;
}

std::vector<std::string> recipe(const Settings& settings, const fs::path& out) {
  return {"--model_name_or_path",
          settings.model.string(),
          "--dataset_name",
          (settings.scratch / "train.jsonl").string(),
          "--eval_strategy",
          "steps",
          "--eval_steps",
          "6",
          "--test_split_size",
          "8",
          "--output_dir",
          out.string(),
          "--max_steps",
          "24",
          "--use_cpu",
          "--threads",
          "1",
          "--per_device_train_batch_size",
          "4",
          "--gradient_accumulation_steps",
          "2",
          "--learning_rate",
          "1e-3",
          "--weight_decay",
          "0.1",
          "--lr_scheduler_type",
          "cosine",
          "--logging_steps",
          "1",
          "--save_steps",
          "3",
          "--save_total_limit",
          "2",
          "--resume_from_checkpoint",
          "latest"};
}

void make_data(const Settings& settings) {
  std::mt19937_64 random(7);
  std::ofstream file(settings.scratch / "train.jsonl");
  for (int row = 0; row < 120; ++row) {
    std::string text;
    for (uint64_t word = 0; word < 5 + random() % 30; ++word) {
      text += fmt::format("{}{}", word == 0 ? "" : " ", random() % 1000);
    }
    file << Json{{"text", text}}.dump() << "\n";
  }
}

std::string outcome_of(const fs::path& out) {
  if (!fs::exists(out / "trainer_state.json") ||
      (!fs::exists(out / "model.safetensors") && !fs::exists(out / "adapter_model.safetensors"))) {
    return "";
  }
  Json state = Json::parse(read_text(out / "trainer_state.json"));
  if (state["best_model_checkpoint"].is_string()) {  // in whatever folder
    state["best_model_checkpoint"] =
        fs::path(state["best_model_checkpoint"].get<std::string>()).filename().string();
  }
  for (Json& line : state["log_history"]) {
    for (const char* time : {"train_runtime", "train_samples_per_second", "train_steps_per_second",
                             "eval_runtime", "eval_samples_per_second", "eval_steps_per_second"}) {
      line.erase(time);
    }
  }
  std::string all = state.dump();
  for (const fs::path& path : paths_in(out)) {
    const std::string name = path.filename().string();
    if (is_file(path) && name != "trainer_state.json" && name != "metrics.jsonl" &&
        name != "training_args.json" && name != "report.html" && name != "loss.svg" &&
        !name.starts_with(".")) {
      all += "\n" + name + "\n";
      all += name == "README.md" ? "" : read_text(path);  // it names the folder
    }
  }
  return all;
}

std::vector<std::string> broken_checkpoints(const fs::path& out) {
  std::vector<std::string> broken;
  for (const CheckpointFolder& checkpoint : list_checkpoints(out)) {
    try {
      verify_checkpoint(checkpoint.path);
    } catch (const Error& e) {
      broken.push_back(e.message());
    }
  }
  return broken;
}

bool metrics_are_sound(const fs::path& out) {
  std::ifstream file(out / "metrics.jsonl");
  std::string line;
  while (std::getline(file, line)) {
    if (!file.eof() && !Json::accept(line)) {
      return false;
    }
  }
  return true;
}

void Report::wrong(const std::string& what) {
  ++wrongs_;
  fmt::print("  WRONG in {}: {}\n", name_, what);
  std::fflush(stdout);
}

int Report::end(const std::string& counts) const {
  fmt::print("{}: {}; {} wrong; {:.1f} s\n", name_, counts, wrongs_, now() - began_);
  std::fflush(stdout);
  return wrongs_;
}

}  // namespace sft
