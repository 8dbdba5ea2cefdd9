// Helpers of the data tests: golden files, folders that vanish, and data sets made by hand.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "data/rows/example.h"
#include "support/errors.h"
#include "support/paths.h"

namespace sft::test {

// Bind it to a name before looping over a part of it: a range-for does not keep it alive.
inline Json golden(const std::string& name) {
  return read_json(std::string(SFT_TEST_DIR) + "/data/golden/" + name + ".json");
}

// FNV-1a over numbers, as tools/golden/data.py writes it.
template <class Numbers>
std::string digest(const Numbers& numbers) {
  uint64_t h = 0xCBF29CE484222325U;
  for (const auto v : numbers) {
    h = (h ^ static_cast<uint64_t>(v)) * 0x100000001B3U;
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(h));
  return text;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "sft_data_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

  std::filesystem::path write(const std::string& name, const std::string& text) const {
    const auto path = path_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

 private:
  std::filesystem::path path_;
};

// Rows given in the test.
class FixedDataset : public PreparedDataset {
 public:
  explicit FixedDataset(std::vector<Example> rows) : rows_(std::move(rows)) {}
  // `n` rows; row i has i % 5 + 2 tokens, the first of which is i.
  static FixedDataset numbered(int32_t n) {
    std::vector<Example> rows;
    for (int32_t i = 0; i < n; ++i) {
      Example row;
      row.input_ids.assign(static_cast<size_t>(i % 5 + 2), i);
      row.labels = row.input_ids;
      rows.push_back(std::move(row));
    }
    return FixedDataset(std::move(rows));
  }
  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  Example example(int64_t i) const override { return rows_[static_cast<size_t>(i)]; }
  int64_t length(int64_t i) const override {
    return static_cast<int64_t>(rows_[static_cast<size_t>(i)].input_ids.size());
  }

 private:
  std::vector<Example> rows_;
};

}  // namespace sft::test
