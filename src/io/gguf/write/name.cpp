#include "io/gguf/write/name.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <regex>
#include <set>
#include <vector>

#include "core/strings.h"

namespace sft {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool matches(const std::string& part, const char* expression) {
  return std::regex_match(part, std::regex(expression, std::regex::icase));
}

enum class Says : uint8_t { basename, size, finetune, version, type };

struct Part {
  std::string text;
  std::set<Says> says;
};

// A size as people write it, "7b1" for 7.1B; whether it can be that of the model.
void read_size(Part& part, int64_t parameters) {
  std::string& text = part.text;
  std::ranges::replace(text, '_', '.');
  if (is_digit(text.back()) && text.size() > 2) {
    text = text.substr(0, text.size() - 2) + "." + text.back() + text[text.size() - 2];
  }
  if (text.size() > 1 && is_digit(text[text.size() - 2])) {
    text.back() = upper(text.back());
  }
  double number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size() - 1, number);
  const size_t unit = std::string_view(" KMBT").find(text.back());
  if (parameters != 0 && read.ec == std::errc() && read.ptr == text.data() + text.size() - 1 &&
      unit != std::string_view::npos) {
    const double size = number * std::pow(1000.0, static_cast<double>(unit));
    const double there = std::abs(static_cast<double>(parameters));
    if (parameters < 0 ? size < std::floor(there / 8)
                       : std::abs(size - there) > std::floor(7 * there / 8)) {
      part.says.insert(Says::finetune);  // a length of context, more likely
      text.back() = lower(text.back());
    }
  }
  if (part.says.empty()) {
    part.says.insert(Says::size);
  }
}

void annotate(std::vector<Part>& parts, int64_t parameters) {
  for (size_t i = 0; i < parts.size(); ++i) {
    Part& part = parts[i];
    if (matches(part.text, R"((v|iter)?\d+([.]\d+)*)")) {
      part.says.insert(Says::version);
    } else if (matches(part.text, R"(i?q\d(_\w)*|b?fp?(16|32))")) {
      part.says.insert(Says::type);
      std::ranges::transform(part.text, part.text.begin(), upper);
    } else if (i > 0 &&
               matches(part.text, R"((([A]|\d+[x])?\d+([._]\d+)?[KMBT][\d]?|small|mini|medium)"
                                  R"(|large|x?xl))")) {
      read_size(part, parameters);
    } else if (i > 0 && matches(part.text, "chat|instruct|vision|lora")) {
      const bool of_adapter = parameters < 0 && to_lower(part.text) == "lora";
      part.says.insert(of_adapter ? Says::type : Says::finetune);
    }
  }
}

// Words are sizes only where there is no number.
void prefer_numbers(std::vector<Part>& parts) {
  const auto is_size = [](const Part& p) { return p.says.contains(Says::size); };
  const bool numbers = std::ranges::any_of(
      parts, [&](const Part& p) { return is_size(p) && std::ranges::any_of(p.text, is_digit); });
  for (Part& p : parts) {
    if (numbers && is_size(p) && std::ranges::all_of(p.text, is_alpha)) {
      p.says.erase(Says::size);
    }
  }
}

void find_basename(std::vector<Part>& parts) {
  bool at_start = true;
  for (Part& p : parts) {
    if (at_start &&
        ((p.says.empty() && is_alpha(p.text.front())) || p.says.contains(Says::version))) {
      p.says.insert(Says::basename);
    } else {
      at_start = false;
      if (p.says.empty()) {
        p.says.insert(Says::finetune);
      }
    }
  }
  for (size_t i = parts.size(); i-- > 0;) {  // not a version at the end
    if (!parts[i].says.contains(Says::basename) || parts[i].says.size() < 2) {
      break;
    }
    parts[i].says.erase(Says::basename);
  }
}

template <class Keep>
std::string joined(const std::vector<Part>& parts, Keep keep) {
  std::vector<std::string> kept;
  for (const Part& p : parts) {
    if (keep(p)) {
      kept.push_back(p.text);
    }
  }
  return fmt::format("{}", fmt::join(kept, "-"));
}

}  // namespace

GgufName read_gguf_name(const std::string& id, int64_t parameters) {
  GgufName name{id, "", "", "", "", ""};
  if (id.empty() || id.find(' ') != std::string::npos) {
    return name;
  }
  if (const size_t slash = id.find('/'); slash != std::string::npos) {
    name.organization = id[0] == '.' ? "" : id.substr(0, slash);
    name.full = id.substr(slash + 1);
  }
  std::vector<Part> parts;
  for (const std::string& text : split(name.full, '-')) {
    if (!text.empty()) {
      parts.push_back({text, {}});
    }
  }
  annotate(parts, parameters);
  prefer_numbers(parts);
  find_basename(parts);
  const auto saying = [&](Says what) {
    return joined(parts, [&](const Part& p) { return p.says.contains(what); });
  };
  std::set<std::string> sizes;
  name.size_label = joined(parts, [&](const Part& p) {
    return p.says.contains(Says::size) && sizes.insert(p.text).second;
  });
  name.finetune = saying(Says::finetune);
  name.version = joined(parts, [](const Part& p) {
    return p.says.contains(Says::version) && !p.says.contains(Says::basename);
  });
  if (!name.size_label.empty() || !name.finetune.empty() || !name.version.empty()) {
    name.basename = saying(Says::basename);
  }
  return name;
}

std::string gguf_title(std::string_view id) {
  std::string text(trim(id));
  std::ranges::replace(text, '-', ' ');
  std::string title;
  for (std::string word : split(text, ' ')) {
    if (word.empty()) {
      continue;
    }
    const bool is_lower = std::ranges::any_of(word, [](char c) { return c >= 'a' && c <= 'z'; }) &&
                          std::ranges::none_of(word, [](char c) { return c >= 'A' && c <= 'Z'; });
    if (is_lower && !std::regex_match(word, std::regex(R"(v\d+(\.\d+)*|\d.*)"))) {
      bool first = true;
      for (char& c : word) {
        c = first ? upper(c) : c;
        first = !is_alpha(c);
      }
    }
    title += (title.empty() ? "" : " ") + word;
  }
  return title;
}

std::string gguf_size_label(int64_t parameters) {
  const auto n = static_cast<double>(std::abs(parameters));
  const auto [scaled, unit] = n > 1e12  ? std::pair(n * 1e-12, 'T')
                              : n > 1e9 ? std::pair(n * 1e-9, 'B')
                              : n > 1e6 ? std::pair(n * 1e-6, 'M')
                                        : std::pair(n * 1e-3, 'K');
  const double whole = std::nearbyint(scaled);
  const int digits = whole == 0 ? 0 : static_cast<int>(fmt::format("{:.0f}", whole).size());
  return fmt::format("{:.{}f}{}", scaled, std::max(2 - digits, 0), unit);
}

std::string gguf_file_name(const GgufName& name, std::string_view encoding, bool adapter) {
  const auto part = [](std::string_view text) {
    std::string word(trim(text));
    std::ranges::replace(word, ' ', '-');
    std::ranges::replace(word, '/', '-');
    return word;
  };
  std::string file = part(name.basename.empty() ? name.full : name.basename);
  for (const std::string& more : {name.size_label, name.finetune, name.version}) {
    file += more.empty() ? "" : "-" + part(more);
  }
  return fmt::format("{}-{}{}", file.empty() ? "model" : file, encoding, adapter ? "-LoRA" : "");
}

}  // namespace sft
