#include "data/find/glob.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/budget.h"
#include "core/contained.h"
#include "core/file.h"
#include "core/strings.h"

namespace sft {

namespace {

// More than any data set has.
constexpr BudgetLimits kFolder{.steps = 5'000'000, .depth = 64};

// Links are followed, as `datasets` does; one that leads back to a folder on the way, or above it,
// is not walked into. `above` holds the real places of the folders on the way.
void walk(const fs::path& folder, const std::string& prefix, std::vector<fs::path>& above,
          Budget& budget, std::vector<std::string>& files) {
  const Depth depth(budget);
  const std::vector<fs::path> entries = paths_in(folder);
  budget.step(static_cast<int64_t>(entries.size()));
  for (const fs::path& entry : entries) {
    const std::string path = prefix + entry.filename().string();
    const PathKind kind = kind_of(entry);
    if (kind == PathKind::folder) {
      std::error_code unknown;
      fs::path real = fs::canonical(entry, unknown);
      const bool back = std::ranges::any_of(above, [&](const fs::path& place) {
        return std::mismatch(real.begin(), real.end(), place.begin(), place.end()).first ==
               real.end();
      });
      if (unknown || back || !why_no_data(entry).empty()) {
        continue;
      }
      above.push_back(std::move(real));
      walk(entry, path + "/", above, budget, files);
      above.pop_back();
    } else if (kind == PathKind::file) {
      files.push_back(path);
    }
  }
}

// The set "[...]" at the front of `pattern`, or npos when it has no end.
size_t set_end(std::string_view pattern) {
  const size_t first = pattern.size() > 1 && (pattern[1] == '!' || pattern[1] == '^') ? 3 : 2;
  return pattern.find(']', std::min(first, pattern.size()));
}

bool in_set(std::string_view set, char c) {
  const bool negated = set.starts_with('!') || set.starts_with('^');
  if (negated) {
    set.remove_prefix(1);
  }
  bool found = false;
  for (size_t i = 0; i < set.size(); ++i) {
    if (i + 2 < set.size() && set[i + 1] == '-') {
      found = found || (set[i] <= c && c <= set[i + 2]);
      i += 2;
    } else {
      found = found || set[i] == c;
    }
  }
  return found != negated;
}

// Remembers what it has tried, so that no pattern takes more than pattern x path steps.
class Matcher {
 public:
  Matcher(std::string_view pattern, std::string_view path)
      : pattern_(pattern),
        path_(path),
        known_((pattern.size() + 1) * (path.size() + 1), kUnknown) {}

  bool matches(size_t i, size_t j) {
    char& known = known_[i * (path_.size() + 1) + j];
    if (known == kUnknown) {
      known = try_match(i, j) ? kYes : kNo;
    }
    return known == kYes;
  }

 private:
  static constexpr char kUnknown = 0, kNo = 1, kYes = 2;

  bool try_match(size_t i, size_t j) {
    if (i == pattern_.size()) {
      return j == path_.size();
    }
    const std::string_view rest = pattern_.substr(i);
    const bool more = j < path_.size();
    if (rest.starts_with("**")) {
      const bool begins_part = j == 0 || path_[j - 1] == '/';
      return (rest.starts_with("**/") && begins_part && matches(i + 3, j)) || matches(i + 2, j) ||
             (more && matches(i, j + 1));
    }
    if (rest[0] == '*') {
      return matches(i + 1, j) || (more && path_[j] != '/' && matches(i, j + 1));
    }
    if (!more) {
      return false;
    }
    if (rest[0] == '[') {
      if (const size_t end = set_end(rest); end != std::string_view::npos) {
        return path_[j] != '/' && in_set(rest.substr(1, end - 1), path_[j]) &&
               matches(i + end + 1, j + 1);
      }
    }
    const bool same = rest[0] == '?' ? path_[j] != '/' : rest[0] == path_[j];
    return same && matches(i + 1, j + 1);
  }

  std::string_view pattern_, path_;
  std::vector<char> known_;
};

bool is_hidden(std::string_view part) {
  return part.starts_with('.') && part.find_first_not_of('.') != std::string_view::npos;
}

long count_parts(std::string_view path, bool (*wanted)(std::string_view)) {
  const auto parts = split(path, '/');
  return std::ranges::count_if(parts, [&](const std::string& part) { return wanted(part); });
}

}  // namespace

std::vector<std::string> list_files(const fs::path& folder) {
  const std::string subject = fmt::format("listing the files of {}", folder.string());
  Budget budget("D025", subject, kFolder, "name a folder that holds the data set and little else");
  std::error_code unknown;
  std::vector<fs::path> above = {fs::canonical(folder, unknown)};
  std::vector<std::string> files;
  walk(folder, "", above, budget, files);
  std::ranges::sort(files);
  return files;
}

bool glob_matches(std::string_view pattern, std::string_view path) {
  return Matcher(pattern, path).matches(0, 0);
}

bool is_requested(std::string_view pattern, std::string_view path) {
  const auto special = [](std::string_view part) { return part.starts_with("__"); };
  const auto folder = [](std::string_view p) { return p.substr(0, p.rfind('/') + 1); };
  return count_parts(pattern, is_hidden) == count_parts(path, is_hidden) &&
         count_parts(folder(pattern), special) == count_parts(folder(path), special);
}

}  // namespace sft
