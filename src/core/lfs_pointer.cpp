#include "core/lfs_pointer.h"

#include <fmt/format.h>

#include <charconv>
#include <system_error>

#include "core/error.h"
#include "core/strings.h"

namespace sft {

namespace {

constexpr std::string_view kFirstLine = "version https://git-lfs.github.com/spec/v";
constexpr uintmax_t kLongest = 1024;  // bytes, by the format's own rules

// "988 MiB", or "a file" where the pointer does not say.
std::string size_of_file(std::string_view pointer) {
  constexpr std::string_view kKey = "\nsize ";
  const size_t at = pointer.find(kKey);
  double bytes = 0;
  if (at == std::string_view::npos) {
    return "a file";
  }
  const char* begin = pointer.data() + at + kKey.size();
  std::from_chars(begin, pointer.data() + pointer.size(), bytes);
  return human_bytes(bytes);
}

}  // namespace

bool is_lfs_pointer(std::string_view text) { return text.starts_with(kFirstLine); }

void refuse_lfs_pointer(Code code, const fs::path& file, std::string_view text) {
  if (is_lfs_pointer(text)) {
    const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
    throw Error(code,
                fmt::format("{} is a git-LFS pointer: {} bytes that stand for {}, which git "
                            "has not fetched",
                            file.string(), text.size(), size_of_file(text.substr(0, kLongest))))
        .at(file.string())
        .hint(fmt::format("git -C {} lfs pull", folder.string()));
  }
}

void refuse_lfs_pointer(Code code, const fs::path& file) {
  std::error_code unknown;
  if (fs::is_regular_file(file, unknown) && fs::file_size(file, unknown) <= kLongest && !unknown) {
    refuse_lfs_pointer(code, file, read_text(file));
  }
}

std::string read_fetched_text(const fs::path& file) {
  std::string text = read_text(file);
  refuse_lfs_pointer(kPointerForModel, file, text);
  return text;
}

}  // namespace sft
