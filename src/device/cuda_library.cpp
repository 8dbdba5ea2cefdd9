#include "device/cuda_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <vector>

#include "core/error.h"

namespace sft {

namespace {

namespace fs = std::filesystem;
constexpr const char* kLibrary = "libsft_cuda.so";

struct Library {
  OpenCuda open = nullptr;
  void* handle = nullptr;
  std::string reason;  // why `open` is null
};

// Beside the program, in the lib folder next to it, and where the system's loader looks.
Library load() {
  void* const driver = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver == nullptr) {
    return {nullptr, nullptr, "no NVIDIA driver"};
  }
  using Count = int (*)(int*);
  using Init = int (*)(unsigned);
  const auto init = reinterpret_cast<Init>(::dlsym(driver, "cuInit"));
  const auto count = reinterpret_cast<Count>(::dlsym(driver, "cuDeviceGetCount"));
  int devices = 0;
  if (init == nullptr || count == nullptr || init(0) != 0 || count(&devices) != 0 || devices == 0) {
    return {nullptr, nullptr, "no NVIDIA GPU that can be used"};
  }
  std::error_code failed;
  const fs::path folder = fs::read_symlink("/proc/self/exe", failed).parent_path();
  for (const fs::path& place :
       {folder / kLibrary, folder.parent_path() / "lib" / kLibrary,
        folder.parent_path().parent_path() / kLibrary, fs::path(kLibrary)}) {
    void* const library = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) {
      if (void* symbol = ::dlsym(library, kOpenCuda)) {
        return {reinterpret_cast<OpenCuda>(symbol), library, ""};
      }
    }
    const char* const error = ::dlerror();
    if (error != nullptr && place.is_absolute() && fs::exists(place, failed)) {
      return {nullptr, nullptr, error};
    }
  }
  return {nullptr, nullptr, fmt::format("{} was not built", kLibrary)};
}

// Looked for once; libraries stay loaded.
const Library& library() {
  static const Library found = load();
  return found;
}

}  // namespace

void* cuda_symbol(const char* name) {
  return library().handle != nullptr ? ::dlsym(library().handle, name) : nullptr;
}

std::string why_no_cuda() { return library().reason; }

std::unique_ptr<Device> Device::cuda(int ordinal, int threads, const fs::path& cache_folder) {
  if (library().open == nullptr) {
    throw Error("G020", fmt::format("no GPU can be used: {}", library().reason))
        .hint("run  sft env  to see what was found, or train on the CPU with --use_cpu");
  }
  return std::unique_ptr<Device>(library().open(ordinal, threads, cache_folder.c_str()));
}

}  // namespace sft
