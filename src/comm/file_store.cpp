#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "control/store.h"
#include "core/error.h"

namespace sft {

namespace {

namespace fs = std::filesystem;

class FileStore final : public Store {
 public:
  explicit FileStore(fs::path folder) : folder_(std::move(folder)) {
    fs::create_directories(folder_);
  }

  // Written aside and renamed, so that a reader never sees a part.
  void set(const std::string& key, std::string_view value) override {
    const fs::path aside = folder_ / fmt::format(".{}-{}", file_of(key), ::getpid());
    {
      std::ofstream out(aside, std::ios::binary);
      out.write(value.data(), static_cast<std::streamsize>(value.size()));
      if (!out.flush()) {
        throw Error("S010", fmt::format("cannot write to {}", folder_.string()));
      }
    }
    fs::rename(aside, folder_ / file_of(key));
  }

  std::string get(const std::string& key, std::chrono::milliseconds timeout) override {
    const auto end = std::chrono::steady_clock::now() + timeout;
    while (true) {
      std::ifstream in(folder_ / file_of(key), std::ios::binary);
      if (in) {
        std::ostringstream text;
        text << in.rdbuf();
        return text.str();
      }
      if (std::chrono::steady_clock::now() >= end) {
        throw Error("N020", fmt::format("no rank has set \"{}\" within {} s", key,
                                        static_cast<double>(timeout.count()) / 1000.0));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

 private:
  static std::string file_of(std::string key) {
    for (char& c : key) {
      c = c == '/' ? '_' : c;
    }
    return key;
  }

  fs::path folder_;
};

}  // namespace

std::unique_ptr<Store> file_store(const std::string& folder) {
  return std::make_unique<FileStore>(folder);
}

}  // namespace sft
