#include "report/device_watch.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <system_error>

namespace sft {

namespace {

using namespace std::chrono_literals;

// Every 2 s in the first ten minutes, where most is to be seen, and then every 10 s: a day is some
// 2 MB a card.
constexpr auto kOften = 2s, kSeldom = 10s;
constexpr int kLooksOften = 300;

double resident_bytes() {
  std::ifstream in("/proc/self/statm");
  double all = 0, resident = 0;
  in >> all >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  rusage use{};
  ::getrusage(RUSAGE_SELF, &use);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(use.ru_utime) + seconds(use.ru_stime);
}

}  // namespace

DeviceWatch::DeviceWatch(std::unique_ptr<Nvml> nvml, std::function<void(int, const Json&)> write)
    : nvml_(std::move(nvml)), write_(std::move(write)) {
  try {
    thread_ = std::thread([this] { work(); });
  } catch (const std::system_error&) {
    return;  // the run does without
  }
}

DeviceWatch::~DeviceWatch() {
  if (!thread_.joinable()) {
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void DeviceWatch::work() {
  std::unique_lock lock(mutex_);
  for (int looks = 0; !ending_; ++looks) {
    lock.unlock();
    look();
    lock.lock();
    wake_.wait_for(lock, looks < kLooksOften ? kOften : kSeldom, [this] { return ending_; });
  }
  lock.unlock();
  look();
}

void DeviceWatch::look() {
  write_(-1, {{"rss", resident_bytes()}, {"cpu_s", cpu_seconds()}});
  for (int card = 0; nvml_ && card < nvml_->cards(); ++card) {
    const auto state = nvml_->state(card);
    if (!state) {
      continue;
    }
    Json values{{"mem_used", state->memory_used}, {"mem_total", state->memory_total}};
    const auto add = [&](const char* name, const std::optional<double>& value) {
      if (value) {
        values[name] = *value;
      }
    };
    add("util", state->utilisation);
    add("temp_c", state->temperature);
    add("power_w", state->power);
    add("power_limit_w", state->power_limit);
    add("clock_mhz", state->clock);
    values["throttle"] = state->slowed_down ? 1 : 0;
    write_(card, values);
  }
}

}  // namespace sft
