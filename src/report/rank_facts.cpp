#include "report/rank_facts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "core/fd.h"
#include "io/checksum.h"

namespace sft {

namespace {

constexpr size_t kEnd = 4096;  // bytes of a file's beginning, and of its end

uint32_t add_text(uint32_t sum, const std::string& text) {
  return crc32c(sum, text.data(), text.size() + 1);
}

// Of the file's beginning and end; what cannot be read adds nothing, it fails where it is used.
uint32_t add_ends(uint32_t sum, const fs::path& file, uint64_t size) {
  const Fd opened = open_file(file, O_RDONLY);
  if (!opened) {
    return sum;
  }
  std::array<char, kEnd> buffer{};
  for (const uint64_t at : {uint64_t{0}, size > kEnd ? size - kEnd : uint64_t{0}}) {
    const ssize_t got = ::pread(opened.get(), buffer.data(), buffer.size(), static_cast<off_t>(at));
    sum = crc32c(sum, buffer.data(), static_cast<size_t>(std::max<ssize_t>(got, 0)));
  }
  return sum;
}

}  // namespace

Facts model_facts(const ModelSource& source, const std::string& text_key) {
  constexpr int64_t kSmall = 65536;
  Facts facts;
  for (const auto& [key, value] : source.config().items()) {
    if (std::ranges::find(kWordsOnly, key) == std::end(kWordsOnly)) {
      facts.emplace_back(fmt::format("{} of config.json", key), to_text(value));
    }
  }
  std::vector<std::string> names = source.names();
  std::ranges::sort(names);
  uint32_t shapes = 0, values = 0;
  std::vector<float> some;
  for (const std::string& name : names) {
    const Shape shape = source.shape(name);
    shapes = add_text(shapes, fmt::format("{} {}", name, shape.text()));
    if (shape.elements() <= kSmall) {
      some.resize(static_cast<size_t>(shape.elements()));
      try {
        source.read_f32(name, some.data());
      } catch (const Error&) {
        continue;  // no plain floats: where the model needs it, loading says so
      }
      values = crc32c(values, some.data(), some.size() * sizeof(float));
    }
  }
  facts.emplace_back("the list of the model's tensors",
                     fmt::format("{} tensors, checksum {:08x}", names.size(), shapes));
  facts.emplace_back("the checksum of the small weights", fmt::format("{:08x}", values));
  facts.emplace_back("the checksum of the tokenizer", text_key);
  return facts;
}

Facts data_facts(const std::string& part, const Prepared& data, const std::string& checksum) {
  uint64_t bytes = 0;
  uint32_t sum = 0;
  for (const fs::path& file : data.files) {
    std::error_code unknown;
    const uint64_t size = fs::file_size(file, unknown);
    bytes += unknown ? 0 : size;
    sum = crc32c(sum, &size, sizeof size);
    if (!unknown && checksum.empty()) {
      sum = add_ends(sum, file, size);
    }
  }
  Facts facts = {{"the files of the " + part, fmt::format("{} files, {} bytes, checksum {:08x}",
                                                          data.files.size(), bytes, sum)}};
  if (!checksum.empty()) {
    facts.emplace_back("the checksum of the rows of the " + part, checksum);
  }
  if (data.rows->windows() == nullptr) {
    facts.emplace_back("the number of rows of the " + part, fmt::format("{}", data.rows->size()));
  }
  return facts;
}

}  // namespace sft
