// Limits of processes, as control groups (pids.max) and RLIMIT_NPROC set them: a program with 1, 4
// or 2000 threads to make, of which it gets few or none.
#include <fmt/format.h>
#include <grp.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <numeric>

#include "comm/communicator.h"
#include "torture/runs.h"

namespace sft {

namespace {

// A command line, and what its run leaves where nothing is limited ("" where it leaves nothing).
struct Form {
  std::string name;
  std::vector<std::string> before{};  // "launch", ...
  std::vector<std::string> after{};
  bool trains = true;
  std::string expected{};
};

std::vector<std::string> words_of(const Settings& s, const Form& form, int threads,
                                  const fs::path& out) {
  std::vector<std::string> words = form.before;
  if (form.trains) {
    const std::vector<std::string> train = recipe(s, out);
    words.insert(words.end(), train.begin(), train.end());
    *(std::ranges::find(words, "--threads") + 1) = fmt::format("{}", threads);
  } else {
    words.insert(words.end(), {"--threads", fmt::format("{}", threads)});
  }
  words.insert(words.end(), form.after.begin(), form.after.end());
  return words;
}

// A control group in which at most so many processes and threads run. Needs root.
class Group {
 public:
  Group() {
    for (const char* root : {"/sys/fs/cgroup/pids", "/sys/fs/cgroup"}) {
      const fs::path folder = fs::path(root) / fmt::format("sft_torture_{}", ::getpid());
      std::error_code refused;
      if (fs::create_directory(folder, refused)) {
        folder_ = folder;
        if (fs::exists(folder / "pids.max")) {
          return;
        }
        fs::remove(folder, refused);
        folder_.clear();
      }
    }
  }
  ~Group() {
    std::error_code ignored;
    fs::remove(folder_, ignored);
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  bool is_there() const { return !folder_.empty(); }
  std::function<void()> limit(int count) const {
    std::ofstream(folder_ / "pids.max") << count;
    return [this] { std::ofstream(folder_ / "cgroup.procs") << 0; };
  }

 private:
  fs::path folder_;
};

// The limit holds for all processes of a user: for one whom nobody else is.
std::function<void()> as_a_user_with(int count) {
  return [count] {
    constexpr uid_t kNobodyElse = 61'234;
    const rlimit limits{static_cast<rlim_t>(count), static_cast<rlim_t>(count)};
    if (::setgroups(0, nullptr) != 0 || ::setgid(kNobodyElse) != 0 ||
        ::setrlimit(RLIMIT_NPROC, &limits) != 0 || ::setuid(kNobodyElse) != 0) {
      ::_exit(126);
    }
  };
}

}  // namespace

namespace {

// Whether a user who is nobody here reaches a file: every folder on the way lets others through.
bool others_may_run(const fs::path& file) {
  for (fs::path p = fs::absolute(file).parent_path(); p.has_relative_path(); p = p.parent_path()) {
    if ((fs::status(p).permissions() & fs::perms::others_exec) == fs::perms::none) {
      return false;
    }
  }
  return true;
}

}  // namespace

int thread_loop(const Settings& s) {
  Report report("few threads");
  if (::getuid() != 0) {
    return report.end("left out: limits of processes are set by root");
  }
  if (!others_may_run(s.sft) || !others_may_run(s.model / "config.json")) {
    return report.end("left out: the program lies in a folder that other users may not enter");
  }
  const Group group;
  std::vector<Form> forms = {{.name = "training"}};
  if (gloo_built()) {
    forms.push_back({.name = "two ranks",
                     .before = {"launch", "--nproc_per_node", "2"},
                     .after = {"--ddp_timeout", "20"}});
  }
  const std::string model = s.model.string(), data = (s.scratch / "train.jsonl").string();
  forms.push_back({.name = "inspect",
                   .before = {"inspect", "--model", model, "--dataset_name", data, "--stats"},
                   .trains = false});
  forms.push_back(
      {.name = "generate",
       .before = {"generate", "--model", model, "--use_cpu", "--max_new_tokens", "2", "a"},
       .trains = false});
  forms.push_back({.name = "tokenize",
                   .before = {"tokenize", "--model", model, "--file", data},
                   .trains = false});
  const fs::path out = s.scratch / "threads" / "out";
  const auto afresh = [&] {
    fs::remove_all(out.parent_path());
    fs::create_directories(out.parent_path());
    fs::permissions(out.parent_path(), fs::perms::all);  // for whoever the child is
  };
  fs::permissions(s.scratch, fs::perms::all);
  for (Form& form : forms) {
    if (form.trains) {
      afresh();
      run(s, words_of(s, form, 1, out));
      form.expected = outcome_of(out);
    }
  }
  int scenes = 0, ended = 0, refused = 0;
  const auto scene = [&](const Form& form, int threads, const std::string& how,
                         const std::function<void()>& in_child) {
    afresh();
    const std::string what = fmt::format("{}, {} threads, {}", form.name, threads, how);
    const Ended first = run(s, words_of(s, form, threads, out),
                            {.environment = {{"HOME", s.scratch.string()}}, .in_child = in_child});
    ++scenes;
    // Whoever lacks a thread says so; of two ranks the other may be the one that is heard.
    const bool coded = first.code > 0 && first.code < 126 &&
                       first.err.find("error[") != std::string::npos &&
                       first.err.find("error[X") == std::string::npos;
    const bool lacks = first.code == 5 && first.err.find("error[G030]") != std::string::npos;
    const bool of_two = coded || first.code == 140;
    const bool told = form.before.empty() || !form.trains ? lacks : of_two;
    if (first.code != 0 && !told) {
      report.wrong(fmt::format("{}: ended with {} (signal {}): {}", what, first.code, first.signal,
                               first.err));
    }
    (first.code == 0 ? ended : refused) += 1;
    if (!form.trains) {
      return;
    }
    for (const std::string& broken : broken_checkpoints(out)) {
      report.wrong(fmt::format("{}: {}", what, broken));
    }
    const int again = first.code == 0 ? 0 : run(s, words_of(s, form, 1, out)).code;
    if (again != 0 || outcome_of(out) != form.expected) {
      report.wrong(fmt::format("{}: the outcome is another (then ended with {})", what, again));
    }
  };
  std::vector<int> limits = {2, 4, 10};
  if (!s.sample) {
    limits.resize(12);
    std::iota(limits.begin(), limits.end(), 1);
  }
  for (const Form& form : forms) {
    for (const int limit : limits) {
      for (const int threads : {1, 4, 2000}) {
        if (s.sample && threads == 1) {
          continue;
        }
        if (group.is_there()) {
          scene(form, threads, fmt::format("pids.max {}", limit), group.limit(limit));
        }
        scene(form, threads, fmt::format("RLIMIT_NPROC {}", limit), as_a_user_with(limit));
      }
    }
  }
  return report.end(fmt::format("{} runs{}: {} to their end, {} ended by an error with a code",
                                scenes, group.is_there() ? "" : " without control groups", ended,
                                refused));
}

}  // namespace sft
