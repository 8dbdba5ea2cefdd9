#include "text/regex_syntax.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <vector>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/error.h"
#include "text/unicode.h"

namespace sft {
namespace {

// What stands before a script's name. Up to 10.39 (Ubuntu 22.04) PCRE2 knows no such mark, and the
// name alone means the script and not, as later, all that is used with it.
std::string_view script_mark() {
  static const bool marked = [] {
    std::array<char, 64> version{};  // "10.42 2022-12-11"
    pcre2_config(PCRE2_CONFIG_VERSION, version.data());
    int major = 0;
    int minor = 0;
    std::sscanf(version.data(), "%d.%d", &major, &minor);
    return major > 10 || minor >= 40;
  }();
  return marked ? "sc:" : "";
}

// What \w means within [...]: there the engine leaves out superscripts and fractions of Latin-1.
constexpr uint16_t kClassWord = kRegexWord | kPlainWord;

// The inside of a class that holds exactly the characters with one of `bits` (or none of them).
std::string explicit_ranges(uint16_t bits, bool negated) {
  const uint16_t* classes = char_classes();
  const auto member = [&](uint32_t c) {
    if (c >= 0x110000 || (c >= 0xD800 && c < 0xE000)) {
      return false;
    }
    const auto common = static_cast<uint16_t>(classes[c] & bits);
    return (bits == kClassWord ? common == bits : common != 0) != negated;
  };
  std::string out;
  for (uint32_t first = 0; first < 0x110000; ++first) {
    if (!member(first)) {
      continue;
    }
    uint32_t last = first;
    while (member(last + 1)) {
      ++last;
    }
    out += first == last ? fmt::format("\\x{{{:x}}}", first)
                         : fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", first, last);
    first = last;
  }
  return out;
}

// Characters of a general category that PCRE2's tables may be too old to know.
std::string newer_members(std::string_view category) {
  std::string out;
  for (const NewerRun& run : newer_runs()) {
    if (std::string_view(run.category).starts_with(category)) {
      out += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", run.first, run.last);
    }
  }
  if (category == "Han") {
    out = "\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}";
  }
  return out;
}

uint16_t category_bits(std::string_view name) {
  return name == "L"    ? kLetter
         : name == "N"  ? kNumber
         : name == "M"  ? kMark
         : name == "Nd" ? kDigit
                        : 0;
}

constexpr std::array<std::string_view, 36> categories = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd",
    "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm",
    "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cs"};
constexpr std::array<std::string_view, 12> scripts = {
    "Han",   "Hiragana", "Katakana", "Hangul", "Latin",      "Cyrillic",
    "Greek", "Arabic",   "Hebrew",   "Thai",   "Devanagari", "Armenian"};

std::string long_name(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 8> names = {
      {{"letter", "L"},
       {"mark", "M"},
       {"number", "N"},
       {"punctuation", "P"},
       {"symbol", "S"},
       {"separator", "Z"},
       {"punct", "P"},
       {"uppercase_letter", "Lu"}}};
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const auto& [from, to] : names) {
    if (lower == from) {
      return std::string(to);
    }
  }
  return std::string(name);
}

class Translator {
 public:
  Translator(std::string_view regex, const std::string& where) : in_(regex), where_(where) {}

  std::string run() {
    while (at_ < in_.size()) {
      step();
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error("M108",
                fmt::format("the regular expression of {} uses {}, which is not supported: {}",
                            where_, what, in_))
        .hint("report the model's name, so that its pattern can be added");
  }

  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  bool looking_at(std::string_view text) const { return in_.substr(at_).starts_with(text); }

  void step() {
    switch (peek()) {
      case '\\':
        begin_atom();
        escape();
        return;
      case '[':
        begin_atom();
        char_class();
        return;
      case '(':
        begin_atom();
        open_group();
        return;
      case ')':
        close_group();
        return;
      case '{':
        interval();
        return;
      case '|':
        out_ += in_[at_++];
        return;
      case '*':
      case '+':
      case '?':
        out_ += in_[at_++];
        return;
      default:
        begin_atom();
        out_ += in_[at_++];
        while (at_ < in_.size() && is_continuation(in_[at_])) {
          out_ += in_[at_++];
        }
    }
  }

  void begin_atom() { atom_ = out_.size(); }

  void open_group() {
    const bool group_at_start = out_.empty() || out_.back() == '(' || out_.back() == ':';
    groups_.push_back(out_.size());
    out_ += in_[at_++];
    if (peek() != '?') {
      return;
    }
    for (const std::string_view kind : {"?:", "?=", "?!", "?<=", "?<!", "?>"}) {
      if (looking_at(kind)) {
        out_ += kind;
        at_ += kind.size();
        return;
      }
    }
    const size_t end = in_.find_first_of(":)", at_);
    const std::string_view flags =
        end == std::string_view::npos ? "" : in_.substr(at_ + 1, end - at_ - 1);
    if (flags.empty() || flags.find_first_not_of("im-") != std::string_view::npos) {
      refuse("a group of an unknown kind");
    }
    if (in_[end] == ')' && !group_at_start) {
      refuse("an option that is switched in the middle");
    }
    out_ += '?';
    for (const char c : flags) {
      out_ += c == 'm' ? 's' : c;  // Ruby's "multi-line" is Perl's "dot matches newline"
    }
    at_ = end;
    if (in_[end] == ':') {
      out_ += in_[at_++];
    }
  }

  void close_group() {
    if (groups_.empty()) {
      refuse("an unmatched )");
    }
    atom_ = groups_.back();
    groups_.pop_back();
    out_ += in_[at_++];
  }

  // {n}, {n,}, {,m}, {n,m}; anything else is a brace of its own.
  void interval() {
    const size_t close = in_.find('}', at_);
    const std::string_view body =
        close == std::string_view::npos ? "" : in_.substr(at_ + 1, close - at_ - 1);
    const bool is_interval = !body.empty() && body != "," &&
                             body.find_first_not_of("0123456789,") == std::string_view::npos &&
                             std::count(body.begin(), body.end(), ',') <= 1;
    if (!is_interval) {
      begin_atom();
      out_ += "\\{";
      ++at_;
      return;
    }
    out_ += '{';
    out_ += body.front() == ',' ? "0" : "";
    out_ += body;
    out_ += '}';
    at_ = close + 1;
    if (peek() == '?' && body.find(',') == std::string_view::npos) {
      refuse("{n}?");
    }
    if (peek() == '+') {  // here + repeats the repetition; in PCRE2 it would make it possessive
      out_.insert(atom_, "(?:");
      out_ += ')';
    }
  }

  void escape() {
    ++at_;
    const char c = peek();
    if (c == 'b' || c == 'B') {
      ++at_;
      const std::string w = "[" + explicit_ranges(kRegexWord, false) + "]";
      out_ += c == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", w)
                       : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", w);
      return;
    }
    if (c == 'A' || c == 'z' || c == 'Z') {
      ++at_;
      out_ += '\\';
      out_ += c;
      return;
    }
    bool negated = false;
    const std::string members = escape_members(&negated, kRegexWord);
    const bool single = members.front() == '\\' && members.size() == 2;
    out_ += single ? members : fmt::format("[{}{}]", negated ? "^" : "", members);
  }

  // What one escape stands for, as the inside of a class; the caller negates when told to.
  std::string escape_members(bool* negated, uint16_t word_bits) {
    const char c = peek();
    ++at_;
    switch (c) {
      case 's':
      case 'S':
        *negated = c == 'S';
        return explicit_ranges(kSpace, false);
      case 'w':
      case 'W':
        *negated = c == 'W';
        return explicit_ranges(word_bits, false);
      case 'd':
      case 'D':
        *negated = c == 'D';
        return "\\p{Nd}" + newer_members("Nd");
      case 'h':
      case 'H':
        *negated = c == 'H';
        return "0-9a-fA-F";
      case 'p':
      case 'P':
        *negated = c == 'P';
        return property(negated);
      case 'v':
        return "\\x{b}";
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        return {'\\', c};
      case 'x':
        return hex_code(peek() == '{' ? 0 : 2);
      case 'u':
        return hex_code(4);
      default:
        break;
    }
    if (c == '\0' || std::isalnum(static_cast<unsigned char>(c)) ||
        static_cast<unsigned char>(c) >= 0x80) {
      refuse(fmt::format("the escape \\{}", c));
    }
    return {'\\', c};
  }

  std::string property(bool* negated) {
    const size_t close = in_.find('}', at_);
    if (peek() != '{' || close == std::string_view::npos) {
      refuse("\\p without {...}");
    }
    std::string_view name = in_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    if (name.starts_with('^')) {
      *negated = !*negated;
      name.remove_prefix(1);
    }
    const std::string known = long_name(name);
    if (std::find(categories.begin(), categories.end(), known) != categories.end()) {
      return fmt::format("\\p{{{}}}{}", known, newer_members(known));
    }
    if (std::find(scripts.begin(), scripts.end(), known) != scripts.end()) {
      return fmt::format("\\p{{{}{}}}{}", script_mark(), known, newer_members(known));
    }
    refuse(fmt::format("the property \\p{{{}}}", name));
  }

  std::string hex_code(size_t digits) {
    const bool braced = digits == 0;
    const size_t begin = at_ + (braced ? 1 : 0);
    const size_t end = braced ? in_.find('}', begin) : begin + digits;
    const std::string_view code =
        end == std::string_view::npos || end > in_.size() ? "" : in_.substr(begin, end - begin);
    if (code.empty() ||
        code.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
      refuse("a malformed character code");
    }
    at_ = end + (braced ? 1 : 0);
    return fmt::format("\\x{{{}}}", code);
  }

  void char_class() {
    out_ += in_[at_++];
    if (peek() == '^') {
      out_ += in_[at_++];
    }
    bool first = true;
    while (at_ < in_.size() && (peek() != ']' || first)) {
      class_member();
      first = false;
    }
    if (at_ >= in_.size()) {
      refuse("a character class without end");
    }
    out_ += in_[at_++];
  }

  void class_member() {
    if (peek() == '[' || looking_at("&&")) {
      refuse("a class within a class");
    }
    if (peek() == ']') {
      refuse("] at the front of a class");
    }
    if (peek() != '\\') {
      out_ += in_[at_++];
      return;
    }
    ++at_;
    if (peek() == 'b') {
      ++at_;
      out_ += "\\x{8}";
      return;
    }
    const size_t begin = at_;
    bool negated = false;
    const std::string members = escape_members(&negated, kClassWord);
    out_ += negated ? negated_members(in_.substr(begin, at_ - begin)) : members;
  }

  // A negated escape within a class has to be written out.
  std::string negated_members(std::string_view escape) const {
    switch (escape.front()) {
      case 'S':
        return explicit_ranges(kSpace, true);
      case 'W':
        return explicit_ranges(kClassWord, true);
      case 'D':
        return explicit_ranges(kDigit, true);
      case 'P':
        if (const uint16_t bits = category_bits(escape.substr(2, escape.size() - 3)); bits != 0) {
          return explicit_ranges(bits, true);
        }
        break;
      default:
        break;
    }
    refuse("a negated property within a class");
  }

  std::string_view in_;
  const std::string& where_;
  std::string out_;
  size_t at_ = 0;
  size_t atom_ = 0;  // where the last atom begins in out_
  std::vector<size_t> groups_;
};

}  // namespace

std::string oniguruma_to_pcre2(std::string_view regex, const std::string& where) {
  return Translator(regex, where).run();
}

}  // namespace sft
