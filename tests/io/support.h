// Temporary folders and golden files for the tests of src/io.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/tensor.h"
#include "hub/cache.h"
#include "io/model_source.h"
#include "support/errors.h"
#include "support/paths.h"

namespace sft {

inline fs::path golden(const std::string& name) {
  return fs::path(SFT_TEST_DIR) / "io" / "golden" / name;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    static std::atomic<int> count{0};
    // In memory where there is such a place: some tests write thousands of damaged files.
    path_ = (fs::exists("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path()) /
            ("sft_io_test_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
    fs::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  fs::path operator/(const std::string& name) const { return path_ / name; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

inline void put(const fs::path& path, std::string_view bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<long>(bytes.size()));
}

inline std::string replace_first(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

// The message and the hint together.
template <class Action>
std::string words_of(Action action) {
  try {
    action();
  } catch (const Error& e) {
    return e.text();
  }
  return "";
}

inline std::unique_ptr<ModelSource> open_model(const fs::path& path) {
  return ModelSource::open(path.string(), "", HubEnvironment{});
}

inline std::vector<float> read_all(const ModelSource& source, const std::string& name,
                                   ThreadPool* pool = nullptr) {
  std::vector<float> values(static_cast<size_t>(source.shape(name).elements()));
  source.read_f32(name, values.data(), pool);
  return values;
}

// All weights of a model, with the memory that holds them.
struct Weights {
  explicit Weights(const ModelSource& source) {
    for (const std::string& name : source.names()) {
      storage.push_back(read_all(source, name));
      tensors.push_back({name, Tensor{storage.back().data(), source.shape(name), DType::f32}});
    }
  }
  std::vector<std::vector<float>> storage;
  std::vector<NamedTensor> tensors;
};

}  // namespace sft
