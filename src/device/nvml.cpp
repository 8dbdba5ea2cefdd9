#include "device/nvml.h"

#include <dlfcn.h>

#include "core/numbers.h"
#include "core/strings.h"

namespace sft {

namespace {

using Handle = void*;
struct Memory {
  unsigned long long total, free, used;
};
struct Utilisation {
  unsigned int gpu, memory;
};

// The few functions of nvml.h that are used; 0 is success in all of them.
struct Functions {
  int (*init)();
  int (*shutdown)();
  int (*by_index)(unsigned, Handle*);
  int (*by_uuid)(const char*, Handle*);
  int (*memory)(Handle, Memory*);
  int (*utilisation)(Handle, Utilisation*);
  int (*temperature)(Handle, int sensor, unsigned*);
  int (*power)(Handle, unsigned*);
  int (*power_limit)(Handle, unsigned*);
  int (*clock)(Handle, int kind, unsigned*);
  int (*throttle)(Handle, unsigned long long*);
};

template <class Function>
bool find(void* library, const char* name, Function& out) {
  out = reinterpret_cast<Function>(::dlsym(library, name));
  return out != nullptr;
}

class Driver final : public Nvml {
 public:
  Driver(void* library, const Functions& call) : library_(library), call_(call) {}
  ~Driver() override {
    call_.shutdown();
    ::dlclose(library_);
  }
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  void add(const std::string& name) {
    Handle card = nullptr;
    const auto index = whole_number(name, 0, 1 << 16);
    const int failed = index ? call_.by_index(static_cast<unsigned>(*index), &card)
                             : call_.by_uuid(name.c_str(), &card);
    if (failed == 0) {
      cards_.push_back(card);
    }
  }
  int cards() const override { return static_cast<int>(cards_.size()); }

  std::optional<CardState> state(int card) override {
    const Handle handle = cards_.at(static_cast<size_t>(card));
    CardState out;
    Memory memory{};
    if (call_.memory(handle, &memory) != 0) {
      return std::nullopt;
    }
    out.memory_used = static_cast<double>(memory.used);
    out.memory_total = static_cast<double>(memory.total);
    Utilisation use{};
    if (call_.utilisation(handle, &use) == 0) {
      out.utilisation = use.gpu;
    }
    constexpr int kOfTheChip = 0, kOfItsProcessors = 1;
    unsigned value = 0;
    if (call_.temperature(handle, kOfTheChip, &value) == 0) {
      out.temperature = value;
    }
    if (call_.power(handle, &value) == 0) {
      out.power = value / 1000.0;
    }
    if (call_.power_limit(handle, &value) == 0) {
      out.power_limit = value / 1000.0;
    }
    if (call_.clock(handle, kOfItsProcessors, &value) == 0) {
      out.clock = value;
    }
    // Power cap, hardware slowdown, heat (by software and hardware), power brake; idleness and
    // clocks that somebody has set are none of these.
    constexpr unsigned long long kSlow = 0x4 | 0x8 | 0x20 | 0x40 | 0x80;
    unsigned long long reasons = 0;
    out.slowed_down = call_.throttle(handle, &reasons) == 0 && (reasons & kSlow) != 0;
    return out;
  }

 private:
  void* library_;
  Functions call_;
  std::vector<Handle> cards_;
};

}  // namespace

std::unique_ptr<Nvml> Nvml::open(const std::string& visible, int most) {
  void* library = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return nullptr;
  }
  Functions call{};
  const bool complete = find(library, "nvmlInit_v2", call.init) &&
                        find(library, "nvmlShutdown", call.shutdown) &&
                        find(library, "nvmlDeviceGetHandleByIndex_v2", call.by_index) &&
                        find(library, "nvmlDeviceGetHandleByUUID", call.by_uuid) &&
                        find(library, "nvmlDeviceGetMemoryInfo", call.memory) &&
                        find(library, "nvmlDeviceGetUtilizationRates", call.utilisation) &&
                        find(library, "nvmlDeviceGetTemperature", call.temperature) &&
                        find(library, "nvmlDeviceGetPowerUsage", call.power) &&
                        find(library, "nvmlDeviceGetEnforcedPowerLimit", call.power_limit) &&
                        find(library, "nvmlDeviceGetClockInfo", call.clock) &&
                        find(library, "nvmlDeviceGetCurrentClocksThrottleReasons", call.throttle);
  if (!complete || call.init() != 0) {
    ::dlclose(library);
    return nullptr;
  }
  auto driver = std::make_unique<Driver>(library, call);
  std::vector<std::string> names;
  if (visible.empty()) {
    for (int i = 0; i < most; ++i) {
      names.push_back(std::to_string(i));
    }
  } else {
    names = split(visible, ',');
  }
  for (const std::string& name : names) {
    if (driver->cards() < most) {
      driver->add(std::string(trim(name)));
    }
  }
  return driver->cards() > 0 ? std::move(driver) : nullptr;
}

}  // namespace sft
