#include "device/cuda_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/installed.h"

namespace sft {

namespace {

// The major version of CUDA that a library of ours was built with (0: whatever the machine's was),
// and the least that a driver must run for it. Within a major version an older driver does.
struct Kind {
  const char* file;
  int toolkit;
  int least_driver;
  const char* driver_release;
};

constexpr Kind kKinds[] = {{"libsft_cuda.so", 0, 0, ""},
                           {"libsft_cuda13.so", 13, 13000, "580"},
                           {"libsft_cuda12.so", 12, 12000, "525"}};

struct Found {
  OpenCuda open = nullptr;
  void* handle = nullptr;
  std::string reason;  // why `open` is null
  int driver = 0;
  std::vector<CudaHalf> halves;
};

// What a library of ours asks for, from NVIDIA's wheels where they lie beside the program: once
// loaded, a library is found by its name. Where they do not, the system's loader looks.
void load_nvidia(int toolkit) {
  if (toolkit == 0) {
    return;
  }
  const std::filesystem::path file = nvidia_library(fmt::format("libcublasLt.so.{}", toolkit));
  if (file.is_absolute()) {
    ::dlopen(file.c_str(), RTLD_LAZY | RTLD_LOCAL);
  }
}

// Opens it, or says why not in `half`.
void open_half(const Kind& kind, CudaHalf& half, Found& found) {
  if (found.driver < kind.least_driver) {
    half.why_not = fmt::format("the driver runs CUDA {}.{}, and it needs {}.0 (driver {} or newer)",
                               found.driver / 1000, found.driver % 1000 / 10, kind.toolkit,
                               kind.driver_release);
    return;
  }
  load_nvidia(kind.toolkit);
  void* const library = ::dlopen(half.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const error = ::dlerror();
    half.why_not = error != nullptr ? error : "it cannot be loaded";
    if (kind.toolkit != 0 && half.why_not.find("libcublas") != std::string::npos) {
      half.why_not += fmt::format("; NVIDIA's libraries come with  pip install 'sft-cpp[cuda{}]'",
                                  kind.toolkit);
    }
    return;
  }
  found.open = reinterpret_cast<OpenCuda>(::dlsym(library, kOpenCuda));
  found.handle = library;
}

// No library is tried, for a reason that holds for all.
Found none_runs(Found found, const char* reason) {
  found.reason = reason;
  for (CudaHalf& half : found.halves) {
    if (!half.path.empty()) {
      half.why_not = reason;
    }
  }
  return found;
}

Found load() {
  Found found;
  for (const Kind& kind : kKinds) {
    found.halves.push_back({kind.file, place_of(kind.file).string(), "it is not there"});
  }
  void* const driver = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver == nullptr) {
    return none_runs(std::move(found), "no NVIDIA driver");
  }
  using Number = int (*)(int*);
  using Init = int (*)(unsigned);
  const auto init = reinterpret_cast<Init>(::dlsym(driver, "cuInit"));
  const auto count = reinterpret_cast<Number>(::dlsym(driver, "cuDeviceGetCount"));
  const auto version = reinterpret_cast<Number>(::dlsym(driver, "cuDriverGetVersion"));
  int devices = 0;
  if (init == nullptr || count == nullptr || version == nullptr || init(0) != 0 ||
      count(&devices) != 0 || devices == 0) {
    return none_runs(std::move(found), "no NVIDIA GPU that can be used");
  }
  version(&found.driver);
  for (size_t i = 0; i < found.halves.size(); ++i) {
    CudaHalf& half = found.halves[i];
    if (half.path.empty()) {
      continue;
    }
    if (found.open != nullptr) {
      half.why_not = "one before it runs";
      continue;
    }
    half.why_not.clear();
    open_half(kKinds[i], half, found);
    if (!half.why_not.empty()) {
      found.reason +=
          fmt::format("{}{}: {}", found.reason.empty() ? "" : "; ", half.file, half.why_not);
    }
  }
  if (found.open != nullptr) {
    found.reason.clear();
  } else if (found.reason.empty()) {
    found.reason = "libsft_cuda.so was not built";
  }
  return found;
}

// Looked for once; libraries stay loaded.
const Found& library() {
  static const Found found = load();
  return found;
}

}  // namespace

const std::vector<CudaHalf>& cuda_halves() { return library().halves; }

int cuda_of_driver() { return library().driver; }

void* cuda_symbol(const char* name) {
  return library().handle != nullptr ? ::dlsym(library().handle, name) : nullptr;
}

int cuda_capability(int ordinal) {
  const auto ask = reinterpret_cast<int (*)(int)>(cuda_symbol("sft_cuda_capability"));
  return ask != nullptr ? ask(ordinal) : 0;
}

std::string why_no_cuda() { return library().reason; }

std::unique_ptr<Device> Device::cuda(int ordinal, int threads,
                                     const std::filesystem::path& cache_folder) {
  if (library().open == nullptr) {
    throw Error("G020", fmt::format("no GPU can be used: {}", library().reason))
        .hint("run  sft env  to see what was found, or train on the CPU with --use_cpu");
  }
  return std::unique_ptr<Device>(library().open(ordinal, threads, cache_folder.c_str()));
}

}  // namespace sft
