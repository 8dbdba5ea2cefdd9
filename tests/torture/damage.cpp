// Damaged bytes of a checkpoint, full disks, limits, pipes that are full or gone, clocks that jump,
// folders that vanish, signals, and two runs in one folder.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <random>

#include "core/error.h"
#include "core/fd.h"
#include "io/checkpoint.h"
#include "torture/runs.h"

namespace sft {

namespace {

// Turns bits of one byte of a file; again, and they are as before.
void flip(const fs::path& file, int64_t at, unsigned char mask) {
  std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
  stream.seekg(at);
  const int byte = stream.get();
  stream.seekp(at);
  stream.put(static_cast<char>(byte ^ mask));
}

bool noticed(const fs::path& checkpoint) {
  try {
    verify_checkpoint(checkpoint);
    return false;
  } catch (const Error&) {
    return true;
  }
}

// A run in a folder where something happens, and then one that resumes without it.
class Scene {
 public:
  Scene(const Settings& settings, Report& report, std::string expected)
      : s_(settings), report_(report), expected_(std::move(expected)) {}

  void expect(const std::string& what, const fs::path& out, const Ended& ended) {
    ++count_;
    const bool clear = ended.code == 0 || (ended.code > 0 && ended.code < 126 &&
                                           ended.err.find("error[") != std::string::npos);
    if (!clear) {
      report_.wrong(fmt::format("{}: ended with {} (signal {}): {}", what, ended.code, ended.signal,
                                ended.err));
    }
    for (const std::string& broken : broken_checkpoints(out)) {
      report_.wrong(fmt::format("{}: {}", what, broken));
    }
    const Ended again = run(s_, recipe(s_, out));
    if (again.code != 0 || outcome_of(out) != expected_) {
      report_.wrong(fmt::format("{}: resumed with {}: {}", what, again.code, again.err));
    }
  }
  int count() const { return count_; }

 private:
  const Settings& s_;
  Report& report_;
  std::string expected_;
  int count_ = 0;
};

std::function<void()> limit(int resource, rlim_t value) {
  return [=] {
    const rlimit limits{value, value};
    ::setrlimit(static_cast<__rlimit_resource>(resource), &limits);
  };
}

void full_disks(const Settings& s, Scene& scene, Report& report) {
  const fs::path disk = s.scratch / "disk";
  fs::create_directories(disk);
  const int step = s.sample ? 1600 : 100;
  for (int kib = 100; kib <= 3300; kib += step) {
    const std::string size = fmt::format("size={}k", kib);
    if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, size.c_str()) != 0) {
      fmt::print("  (no tmpfs can be mounted: full disks are left out)\n");
      return;
    }
    const Ended ended = run(s, recipe(s, disk / "out"));
    ::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT, "size=64m");
    scene.expect("a disk of " + size, disk / "out", ended);
    ::umount2(disk.c_str(), MNT_DETACH);
  }
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=64m") == 0) {
    Child child(s, recipe(s, disk / "out"));
    while (!fs::exists(disk / "out/checkpoint-6") && !child.wait(0.001)) {
    }
    // Fails while a file is open for writing: then the run has ended before.
    ::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "");
    const Ended ended = child.end();
    ::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT, "size=64m");
    scene.expect("a disk that becomes read-only", disk / "out", ended);
    ::umount2(disk.c_str(), MNT_DETACH);
  }
  (void)report;
}

void limits(const Settings& s, Scene& scene) {
  const fs::path out = s.scratch / "limits";
  const auto each = [&](const char* name, int resource, rlim_t from, rlim_t to, rlim_t step) {
    for (rlim_t value = from; value <= to; value += s.sample ? to - from : step) {
      fs::remove_all(out);
      scene.expect(fmt::format("{} {}", name, value), out,
                   run(s, recipe(s, out), {.in_child = limit(resource, value)}));
    }
  };
  each("file size limit", RLIMIT_FSIZE, 1000, 901000, 20000);
  each("handles", RLIMIT_NOFILE, 8, 24, 1);
  each("address space in bytes", RLIMIT_AS, rlim_t{180} << 20, rlim_t{700} << 20, rlim_t{20} << 20);
}

void pipes(const Settings& s, Scene& scene, Report& report) {
  const fs::path out = s.scratch / "pipes";
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return;
  }
  fs::remove_all(out);
  Fd read_end(ends[0]), write_end(ends[1]);
  read_end.reset();
  scene.expect("stdout without a reader", out,
               run(s, recipe(s, out), {.stdout_fd = write_end.get()}));
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return;
  }
  read_end = Fd(ends[0]);
  write_end = Fd(ends[1]);
  fs::remove_all(out);
  ::fcntl(write_end.get(), F_SETPIPE_SZ, 4096);
  ::fcntl(read_end.get(), F_SETFL, O_NONBLOCK);
  std::string fill(4096, 'x');
  const auto filled = ::write(write_end.get(), fill.data(), fill.size());
  (void)filled;
  Child child(s, recipe(s, out), {.stdout_fd = write_end.get()});
  if (child.wait(s.sample ? 3 : 8)) {
    report.wrong("a full pipe on stdout did not hold the run up");
  }
  if (!s.sample && child.said().find("stdout") == std::string::npos) {
    report.wrong("a full pipe on stdout: nothing was said");
  }
  while (!child.wait(0.001)) {
    std::string buffer(65536, ' ');
    const auto taken = ::read(read_end.get(), buffer.data(), buffer.size());
    (void)taken;
  }
  scene.expect("a full pipe on stdout", out, child.end());
}

void clocks(const Settings& s, Scene& scene) {
  const fs::path out = s.scratch / "clock";
  const std::string library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
  if (!fs::exists(library)) {
    fmt::print("  (faketime is not installed: clocks that jump are left out)\n");
    return;
  }
  for (const char* time :
       {"-10d", "+10d", "2038-01-19 03:14:00", "1970-01-02 00:00:00", "+0 x100000", "+0 i-0.5"}) {
    fs::remove_all(out);
    scene.expect(
        fmt::format("clock {}", time), out,
        run(s, recipe(s, out),
            {.environment = {
                 {"LD_PRELOAD", library}, {"FAKETIME", time}, {"DONT_FAKE_MONOTONIC", "1"}}}));
    if (s.sample) {
      break;
    }
  }
}

void signals(const Settings& s, Scene& scene, Report& report) {
  const fs::path out = s.scratch / "signals";
  std::mt19937_64 random(s.seed);
  const int rounds = s.sample ? 2 : 50;
  for (int i = 0; i < rounds; ++i) {
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
      fs::remove_all(out);
      Child child(s, recipe(s, out));
      while (!fs::exists(out / "checkpoint-3") && !child.wait(0.0005)) {
      }
      child.wait(static_cast<double>(random() % 100) / 1000.0);
      child.send(signal);
      const Ended ended = child.end();
      const bool stops = signal == SIGTERM || signal == SIGINT;
      const bool as_wanted = ended.code == 0 || (stops && ended.code == 128 + signal);
      if (!as_wanted) {
        report.wrong(fmt::format("signal {}: ended with {} (signal {}): {}", signal, ended.code,
                                 ended.signal, ended.err));
      }
      scene.expect(fmt::format("signal {}", signal), out, [&] {
        Ended fine = ended;
        fine.code = as_wanted ? 0 : ended.code;
        return fine;
      }());
    }
  }
}

void folders(const Settings& s, Scene& scene, Report& report) {
  const fs::path out = s.scratch / "folders";
  fs::remove_all(out);
  {
    Child child(s, recipe(s, out));
    while (!fs::exists(out / "checkpoint-6") && !child.wait(0.001)) {
    }
    const Ended second = run(s, recipe(s, out));
    if (!child.wait(0) && second.err.find("S040") == std::string::npos) {
      report.wrong("a second run in one output_dir was not refused: " + second.err);
    }
    scene.expect("two runs in one output_dir", out, child.end());
  }
  fs::remove_all(out);
  Child child(s, recipe(s, out));
  while (!fs::exists(out / "checkpoint-6") && !child.wait(0.001)) {
  }
  std::error_code ignored;
  fs::remove_all(out, ignored);
  scene.expect("output_dir removed while it runs", out, child.end());
}

}  // namespace

int flip_loop(const Settings& s) {
  Report report("damaged bytes");
  const fs::path out = s.scratch / "flips";
  fs::remove_all(out);
  run(s, recipe(s, out));
  const fs::path checkpoint = out / "checkpoint-24";
  std::mt19937_64 random(s.seed);
  int64_t flips = 0, missed = 0;
  for (const auto& entry : fs::directory_iterator(checkpoint)) {
    const bool data = entry.path().extension() == ".safetensors";
    const auto size = static_cast<int64_t>(entry.file_size());
    // A safetensors file's header is metadata too.
    const int64_t header = data ? std::min<int64_t>(size, 4096) : size;
    for (int64_t at = 0; at < size; at += at < header ? (s.sample ? 61 : 1) : 997) {
      const auto mask = static_cast<unsigned char>(1 + random() % 255);
      flip(entry.path(), at, mask);
      ++flips;
      if (!noticed(checkpoint)) {
        ++missed;
        report.wrong(
            fmt::format("byte {} of {} turned by {}", at, entry.path().filename().string(), mask));
      }
      flip(entry.path(), at, mask);
    }
  }
  if (noticed(checkpoint)) {
    report.wrong("the checkpoint is not whole again");
  }
  return report.end(fmt::format("{} bytes turned, {} not noticed", flips, missed));
}

int resource_loop(const Settings& s) {
  Report report("resources");
  const fs::path reference = s.scratch / "resources_reference";
  run(s, recipe(s, reference));
  Scene scene(s, report, outcome_of(reference));
  folders(s, scene, report);
  signals(s, scene, report);
  pipes(s, scene, report);
  clocks(s, scene);
  limits(s, scene);
  full_disks(s, scene, report);
  return report.end(fmt::format("{} scenes", scene.count()));
}

}  // namespace sft
