#include "text/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/json.h"
#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/word_regexes.h"
#include "text/word_scanner.h"

namespace sft {
namespace {

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

Behavior parse_behavior(const std::string& name, const std::string& where) {
  for (const auto& [spelling, value] : {std::pair{"Removed", Behavior::removed},
                                        {"Isolated", Behavior::isolated},
                                        {"MergedWithPrevious", Behavior::merged_with_previous},
                                        {"MergedWithNext", Behavior::merged_with_next},
                                        {"Contiguous", Behavior::contiguous}}) {
    if (name == spelling) {
      return value;
    }
  }
  throw Error("M100", fmt::format("\"{}\" is not a behavior of a pre-tokenizer", name)).at(where);
}

void add_piece(std::vector<Span>& pieces, Span span) {
  if (span.begin < span.end) {
    pieces.push_back(span);
  }
}

// Appends the pieces that matches and the rest of one old piece leave behind.
void add_pieces(const std::vector<PatternPart>& parts, bool invert, Behavior behavior,
                std::vector<Span>& pieces) {
  const size_t first = pieces.size();
  bool previous_match = false;
  const auto matched = [&](const PatternPart& part) { return part.matched != invert; };
  switch (behavior) {
    case Behavior::removed:
    case Behavior::isolated:
      for (const PatternPart& part : parts) {
        if (behavior == Behavior::isolated || !matched(part)) {
          add_piece(pieces, part.span);
        }
      }
      return;
    case Behavior::contiguous:
    case Behavior::merged_with_previous:
      for (const PatternPart& part : parts) {
        const bool joins = behavior == Behavior::contiguous ? matched(part) == previous_match
                                                            : matched(part) && !previous_match;
        if (joins && pieces.size() > first) {
          pieces.back().end = part.span.end;
        } else {
          add_piece(pieces, part.span);
        }
        previous_match = matched(part);
      }
      return;
    case Behavior::merged_with_next:
      for (size_t i = 0; i < parts.size(); ++i) {
        // A match joins what follows, unless that is a match too.
        const bool joins = matched(parts[i]) && i + 1 < parts.size() && !matched(parts[i + 1]);
        add_piece(pieces, {parts[i].span.begin, parts[i + joins].span.end});
        i += joins;
      }
      return;
  }
}

// A stage that only cuts: appends the pieces of [begin, end) to split.next_pieces.
class Cutter : public PreTokenizer {
 public:
  void apply(SplitText& split) const final {
    split.next_pieces.clear();
    for (const Span piece : split.pieces) {
      cut(split, piece);
    }
    std::swap(split.pieces, split.next_pieces);
  }

 private:
  virtual void cut(SplitText& split, Span piece) const = 0;
};

class Split : public Cutter {
 public:
  Split(Pattern pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

 private:
  void cut(SplitText& split, Span piece) const override {
    const std::string_view text = split.text.text();
    const bool keeps_matches =
        behavior_ == Behavior::isolated || (behavior_ == Behavior::removed && invert_);
    if (keeps_matches && pattern_.scanner() != nullptr) {
      pattern_.scanner()->scan(text.data(), piece.begin, piece.end, split.next_pieces);
      return;
    }
    split.parts.clear();
    pattern_.find(text.substr(piece.begin, piece.size()), piece.begin, split.text.budget(),
                  split.parts);
    add_pieces(split.parts, invert_, behavior_, split.next_pieces);
  }

  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

// Several splits in one.
class ScannerSplit : public Cutter {
 public:
  explicit ScannerSplit(std::unique_ptr<WordScanner> scanner) : scanner_(std::move(scanner)) {}

 private:
  void cut(SplitText& split, Span piece) const override {
    scanner_->scan(split.text.text().data(), piece.begin, piece.end, split.next_pieces);
  }

  std::unique_ptr<WordScanner> scanner_;
};

// Cuts at characters of some classes.
class ClassSplit : public Cutter {
 public:
  ClassSplit(uint16_t bits, Behavior behavior) : bits_(bits), behavior_(behavior) {}

 private:
  void cut(SplitText& split, Span piece) const override {
    const char* text = split.text.text().data();
    const uint16_t* classes = char_classes();
    split.parts.clear();
    for (uint32_t i = piece.begin; i < piece.end;) {
      const DecodedChar c = decode_utf8(text + i);
      const bool matched = (classes[c.code] & bits_) != 0;
      const Span span{i, i + c.size};
      if (!matched && !split.parts.empty() && !split.parts.back().matched) {
        split.parts.back().span.end = span.end;
      } else {
        split.parts.push_back({span, matched});
      }
      i += c.size;
    }
    add_pieces(split.parts, false, behavior_, split.next_pieces);
  }

  uint16_t bits_;
  Behavior behavior_;
};

// "Whitespace": runs of word characters, and runs of what is neither word nor space.
class WordsAndSymbols : public Cutter {
 private:
  void cut(SplitText& split, Span piece) const override {
    const char* text = split.text.text().data();
    const uint16_t* classes = char_classes();
    uint16_t previous = 0;
    for (uint32_t i = piece.begin; i < piece.end;) {
      const DecodedChar c = decode_utf8(text + i);
      const uint16_t bits = classes[c.code];
      const uint16_t kind = (bits & kSpace) != 0       ? uint16_t{1}
                            : (bits & kPlainWord) != 0 ? uint16_t{2}
                                                       : uint16_t{3};
      if (kind != 1) {
        if (kind == previous) {
          split.next_pieces.back().end = i + c.size;
        } else {
          split.next_pieces.push_back({i, i + c.size});
        }
      }
      previous = kind;
      i += c.size;
    }
  }
};

// Cuts where the script changes. What comes before the first character that has a script is lost,
// as it is in the library.
class UnicodeScripts : public Cutter {
 private:
  void cut(SplitText& split, Span piece) const override {
    const char* text = split.text.text().data();
    int last = -1;
    for (uint32_t i = piece.begin; i < piece.end;) {
      const DecodedChar c = decode_utf8(text + i);
      const int script = script_of(c.code);
      if (script != 0 && script != last) {
        split.next_pieces.push_back({i, i + c.size});
        last = script;
      } else if (last >= 0) {
        split.next_pieces.back().end = i + c.size;
      }
      i += c.size;
    }
  }
};

// "FixedLength": pieces of so many characters.
class FixedLength : public Cutter {
 public:
  explicit FixedLength(int64_t length) : length_(length) {}

 private:
  void cut(SplitText& split, Span piece) const override {
    const char* text = split.text.text().data();
    int64_t room = 0;
    for (uint32_t i = piece.begin; i < piece.end;) {
      if (room == 0) {
        split.next_pieces.push_back({i, i});
        room = length_;
      }
      --room;
      i += decode_utf8(text + i).size;
      split.next_pieces.back().end = i;
    }
  }

  int64_t length_;
};

class Metaspace : public PreTokenizer {
 public:
  enum class Prepend { always, first, never };
  Metaspace(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)),
        prepend_(prepend),
        split_(split),
        pattern_(Pattern::literal(replacement_)) {}

  void apply(SplitText& split) const override {
    rewrite(split);
    if (!split_) {
      return;
    }
    split.next_pieces.clear();
    for (const Span piece : split.pieces) {
      split.parts.clear();
      pattern_.find(split.text.text().substr(piece.begin, piece.size()), piece.begin,
                    split.text.budget(), split.parts);
      add_pieces(split.parts, false, Behavior::merged_with_next, split.next_pieces);
    }
    std::swap(split.pieces, split.next_pieces);
  }
  bool needs_origins() const override { return prepend_ == Prepend::first; }

 private:
  void rewrite(SplitText& split) const {
    const std::string_view text = split.text.text();
    TextRewriter out(split.text);
    for (Span& piece : split.pieces) {
      const uint32_t begin = out.size();
      const bool marked = text[piece.begin] == ' ' ||
                          text.substr(piece.begin, piece.size()).starts_with(replacement_);
      const bool wanted = prepend_ == Prepend::always ||
                          (prepend_ == Prepend::first && split.text.origin(piece.begin).begin == 0);
      if (wanted && !marked) {
        out.put(replacement_, split.text.origin(piece.begin));
      }
      for (uint32_t i = piece.begin; i < piece.end;) {
        const size_t found = text.substr(i, piece.end - i).find(' ');
        const uint32_t space =
            found == std::string_view::npos ? piece.end : i + static_cast<uint32_t>(found);
        out.copy(i, space);
        if (space < piece.end) {
          out.put(replacement_, split.text.origin(space));
        }
        i = space + 1;
      }
      piece = {begin, out.size()};
    }
    out.finish(split.text);
  }

  std::string replacement_;
  Prepend prepend_;
  bool split_;
  Pattern pattern_;
};

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex, bool last)
      : add_prefix_space_(add_prefix_space), last_(last) {
    if (use_regex) {
      scanner_ = WordScanner::recognise(kGpt2Regex);
    }
  }

  void apply(SplitText& split) const override {
    if (add_prefix_space_) {
      add_spaces(split);
    }
    if (scanner_) {
      split.next_pieces.clear();
      for (const Span piece : split.pieces) {
        scanner_->scan(split.text.text().data(), piece.begin, piece.end, split.next_pieces);
      }
      std::swap(split.pieces, split.next_pieces);
    }
    if (last_) {
      split.raw_bytes = true;
    } else {
      spell_out_bytes(split);
    }
  }

 private:
  static void add_spaces(SplitText& split) {
    TextRewriter out(split.text);
    for (Span& piece : split.pieces) {
      const uint32_t begin = out.size();
      if (split.text.text()[piece.begin] != ' ') {
        out.put(" ", split.text.origin(piece.begin));
      }
      out.copy(piece.begin, piece.end);
      piece = {begin, out.size()};
    }
    out.finish(split.text);
  }

  bool add_prefix_space_;
  bool last_;
  std::unique_ptr<WordScanner> scanner_;
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<PreTokenizer>> stages)
      : stages_(std::move(stages)) {}
  void apply(SplitText& split) const override {
    for (const auto& stage : stages_) {
      split.text.budget().scan(split.text.text().size());
      split.text.budget().step(static_cast<int64_t>(split.pieces.size()));
      stage->apply(split);
    }
  }
  bool needs_origins() const override {
    return std::any_of(stages_.begin(), stages_.end(),
                       [](const auto& stage) { return stage->needs_origins(); });
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> stages_;
};

std::unique_ptr<PreTokenizer> make_metaspace(const Json& json, const std::string& where) {
  const bool old_prefix = bool_field(json, "add_prefix_space", true, where);
  const std::string scheme =
      string_field(json, "prepend_scheme", old_prefix ? "always" : "never", where);
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    throw Error("M100", fmt::format("\"{}\" is not a prepend_scheme of Metaspace", scheme))
        .at(where);
  }
  return std::make_unique<Metaspace>(filled_field(json, "replacement", "\xE2\x96\x81", where),
                                     scheme == "always"  ? Metaspace::Prepend::always
                                     : scheme == "first" ? Metaspace::Prepend::first
                                                         : Metaspace::Prepend::never,
                                     bool_field(json, "split", true, where));
}

std::unique_ptr<PreTokenizer> make_stage(const Json& json, const std::string& where, bool last);

// The scanner that does what the first `count` stages of a list do, or null.
std::unique_ptr<WordScanner> leading_scanner(const Json& list, size_t count) {
  static const Json isolated = "Isolated", split = "Split";
  std::vector<std::string_view> regexes;
  for (size_t i = 0; i < std::min(count, list.size()); ++i) {
    const Json& stage = list[i];
    const bool plain = stage.is_object() && stage.value("type", Json()) == split &&
                       stage.value("behavior", Json()) == isolated &&
                       stage.value("invert", Json(false)) == Json(false);
    const Json::json_pointer regex("/pattern/Regex");
    if (!plain || !stage.contains(regex) || !stage[regex].is_string()) {
      return nullptr;
    }
    regexes.push_back(stage[regex].get_ref<const std::string&>());
  }
  return WordScanner::recognise_sequence(regexes);
}

std::unique_ptr<PreTokenizer> make_sequence(const Json& json, const std::string& where, bool last) {
  const Json& list = required_list(json, "pretokenizers", where);
  std::vector<std::unique_ptr<PreTokenizer>> stages;
  size_t done = 0;
  if (auto scanner = leading_scanner(list, std::size(kDeepSeekRegexes))) {
    stages.push_back(std::make_unique<ScannerSplit>(std::move(scanner)));
    done = std::size(kDeepSeekRegexes);
  }
  for (size_t i = done; i < list.size(); ++i) {
    stages.push_back(make_stage(list[i], where, last && i + 1 == list.size()));
  }
  return std::make_unique<PreTokenizerSequence>(std::move(stages));
}

std::unique_ptr<PreTokenizer> make_stage(const Json& json, const std::string& where, bool last) {
  const std::string type = component_type(json, where);
  const auto behavior = [&](std::string_view otherwise) {
    return parse_behavior(string_field(json, "behavior", otherwise, where), where);
  };
  if (type == "Sequence") {
    return make_sequence(json, where, last);
  }
  if (type == "Split") {
    return std::make_unique<Split>(
        Pattern::from_json(required_field(json, "pattern", where), where + " (Split)"),
        behavior("Removed"), bool_field(json, "invert", false, where));
  }
  if (type == "ByteLevel") {
    return std::make_unique<ByteLevel>(bool_field(json, "add_prefix_space", true, where),
                                       bool_field(json, "use_regex", true, where), last);
  }
  if (type == "Digits") {
    const bool individual = bool_field(json, "individual_digits", false, where);
    return std::make_unique<ClassSplit>(kNumeric,
                                        individual ? Behavior::isolated : Behavior::contiguous);
  }
  if (type == "Punctuation") {
    return std::make_unique<ClassSplit>(kPunctuation, behavior("Isolated"));
  }
  if (type == "WhitespaceSplit") {
    return std::make_unique<ClassSplit>(kSpace, Behavior::removed);
  }
  if (type == "Whitespace") {
    return std::make_unique<WordsAndSymbols>();
  }
  if (type == "CharDelimiterSplit") {
    return std::make_unique<Split>(Pattern::literal(string_field(json, "delimiter", "", where)),
                                   Behavior::removed, false);
  }
  if (type == "Metaspace") {
    return make_metaspace(json, where);
  }
  if (type == "BertPreTokenizer") {
    std::vector<std::unique_ptr<PreTokenizer>> stages;
    stages.push_back(std::make_unique<ClassSplit>(kSpace, Behavior::removed));
    stages.push_back(std::make_unique<ClassSplit>(kPunctuation, Behavior::isolated));
    return std::make_unique<PreTokenizerSequence>(std::move(stages));
  }
  if (type == "UnicodeScripts") {
    return std::make_unique<UnicodeScripts>();
  }
  if (type == "FixedLength") {
    const int64_t length = int_field(json, "length", 5, where);
    if (length < 1) {
      throw Error("M100", fmt::format("the length {} of FixedLength is not 1 or more", length))
          .at(where);
    }
    return std::make_unique<FixedLength>(length);
  }
  throw Error("M103", fmt::format("the pre-tokenizer \"{}\" is not supported", type))
      .at(where)
      .hint(
          "supported: Split ByteLevel Digits Punctuation Whitespace WhitespaceSplit "
          "CharDelimiterSplit Metaspace BertPreTokenizer UnicodeScripts FixedLength Sequence");
}

}  // namespace

void spell_out_bytes(SplitText& split) {
  TextRewriter out(split.text);
  for (Span& piece : split.pieces) {
    const uint32_t begin = out.size();
    for (uint32_t i = piece.begin; i < piece.end; ++i) {
      out.put_char(byte_to_code(static_cast<unsigned char>(split.text.text()[i])),
                   split.text.origin(i));
    }
    piece = {begin, out.size()};
  }
  out.finish(split.text);
  split.raw_bytes = false;
}

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& json, const std::string& where) {
  return json.is_null() ? nullptr : make_stage(json, where, true);
}

}  // namespace sft
