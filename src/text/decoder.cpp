#include "text/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "core/json.h"
#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace sft {
namespace {

using Tokens = std::vector<std::string>;

class ByteLevelDecoder : public Decoder {
 public:
  void apply(Tokens& tokens, Budget&) const override {
    std::string bytes;
    for (const std::string& token : tokens) {
      if (!append_raw_bytes(bytes, token)) {
        bytes += token;
      }
    }
    std::string text;
    append_lossy_utf8(text, bytes);
    tokens = {std::move(text)};
  }
  bool is_byte_level() const override { return true; }
};

class ByteFallbackDecoder : public Decoder {
 public:
  void apply(Tokens& tokens, Budget&) const override {
    Tokens out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) {
        return;
      }
      if (find_invalid_utf8(bytes) == std::string::npos) {
        out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const int byte = byte_of(token); byte >= 0) {
        bytes.push_back(static_cast<char>(byte));
        continue;
      }
      flush();
      out.push_back(std::move(token));
    }
    flush();
    tokens = std::move(out);
  }

 private:
  // The byte that "<0x41>" names, or -1.
  static int byte_of(const std::string& token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') {
      return -1;
    }
    unsigned value = 0;
    const char* end = token.data() + 5;
    const auto [stop, error] = std::from_chars(token.data() + 3, end, value, 16);
    return error == std::errc() && stop == end ? static_cast<int>(value) : -1;
  }
};

class FuseDecoder : public Decoder {
 public:
  void apply(Tokens& tokens, Budget&) const override {
    std::string all;
    for (const std::string& token : tokens) {
      all += token;
    }
    tokens = {std::move(all)};
  }
};

class ReplaceDecoder : public Decoder {
 public:
  ReplaceDecoder(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(Tokens& tokens, Budget& budget) const override {
    std::vector<PatternPart> parts;
    Held total;
    for (std::string& token : tokens) {
      parts.clear();
      pattern_.find(token, 0, budget, parts);
      BoundedText out(budget);
      for (const auto& [span, matched] : parts) {
        out += matched ? std::string_view(content_)
                       : std::string_view(token).substr(span.begin, span.size());
      }
      total.more(budget, static_cast<int64_t>(out.size()));
      token = out.take();
    }
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class StripDecoder : public Decoder {
 public:
  StripDecoder(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void apply(Tokens& tokens, Budget&) const override {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (int64_t i = 0; i < start_ && !rest.empty() && rest.starts_with(content_); ++i) {
        rest.remove_prefix(content_.size());
      }
      for (int64_t i = 0; i < stop_ && !rest.empty() && rest.ends_with(content_); ++i) {
        rest.remove_suffix(content_.size());
      }
      token = std::string(rest);
    }
  }

 private:
  std::string content_;
  int64_t start_, stop_;
};

class MetaspaceDecoder : public Decoder {
 public:
  MetaspaceDecoder(std::string mark, bool prepended)
      : mark_(std::move(mark)), prepended_(prepended) {}
  void apply(Tokens& tokens, Budget&) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string out;
      std::string_view rest = tokens[i];
      while (!rest.empty()) {
        if (rest.starts_with(mark_)) {
          out += i == 0 && prepended_ ? "" : " ";
          rest.remove_prefix(mark_.size());
        } else {
          out += rest.front();
          rest.remove_prefix(1);
        }
      }
      tokens[i] = std::move(out);
    }
  }

 private:
  std::string mark_;
  bool prepended_;
};

class SuffixDecoder : public Decoder {
 public:
  explicit SuffixDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  void apply(Tokens& tokens, Budget& budget) const override {
    const Pattern pattern = Pattern::literal(suffix_);
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string out;
      std::vector<PatternPart> parts;
      pattern.find(tokens[i], 0, budget, parts);
      for (const auto& [span, matched] : parts) {
        out += matched ? (i + 1 == tokens.size() ? "" : " ")
                       : tokens[i].substr(span.begin, span.size());
      }
      tokens[i] = std::move(out);
    }
  }

 private:
  std::string suffix_;
};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  size_t at = 0, found = from.empty() ? std::string::npos : text.find(from);
  if (found == std::string::npos) {
    return;
  }
  std::string out;
  for (; found != std::string::npos; found = text.find(from, at)) {
    out.append(text, at, found - at);
    out += to;
    at = found + from.size();
  }
  text = out.append(text, at);
}

// Takes back the spaces that word by word decoding puts before punctuation and English endings.
std::string without_artefacts(std::string text) {
  constexpr std::pair<std::string_view, std::string_view> rules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : rules) {
    replace_all(text, from, to);
  }
  return text;
}

class WordPieceDecoder : public Decoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup)
      : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void apply(Tokens& tokens, Budget&) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0 && tokens[i].starts_with(prefix_)) {
        tokens[i].erase(0, prefix_.size());
      } else if (i > 0) {
        tokens[i].insert(0, 1, ' ');
      }
      if (cleanup_) {
        tokens[i] = without_artefacts(std::move(tokens[i]));
      }
    }
  }

 private:
  std::string prefix_;
  bool cleanup_;
};

class CtcDecoder : public Decoder {
 public:
  CtcDecoder(std::string pad, std::string delimiter, bool cleanup)
      : pad_(std::move(pad)), delimiter_(std::move(delimiter)), cleanup_(cleanup) {}
  void apply(Tokens& tokens, Budget&) const override {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (std::string& token : tokens) {
      replace_all(token, pad_, "");
      if (cleanup_) {
        token = without_artefacts(std::move(token));
        replace_all(token, delimiter_, " ");
      }
    }
    std::erase(tokens, "");
  }

 private:
  std::string pad_, delimiter_;
  bool cleanup_;
};

class DecoderSequence : public Decoder {
 public:
  explicit DecoderSequence(std::vector<std::unique_ptr<Decoder>> parts)
      : parts_(std::move(parts)) {}
  void apply(Tokens& tokens, Budget& budget) const override {
    for (const auto& part : parts_) {
      for (const std::string& token : tokens) {
        budget.scan(token.size());
      }
      part->apply(tokens, budget);
    }
  }

 private:
  std::vector<std::unique_ptr<Decoder>> parts_;
};

std::unique_ptr<Decoder> make_sequence(const Json& json, const std::string& where) {
  std::vector<std::unique_ptr<Decoder>> parts;
  for (const Json& part : required_list(json, "decoders", where)) {
    if (auto decoder = make_decoder(part, where)) {
      parts.push_back(std::move(decoder));
    }
  }
  return std::make_unique<DecoderSequence>(std::move(parts));
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const Json& json, const std::string& where) {
  if (json.is_null()) {
    return nullptr;
  }
  const std::string type = component_type(json, where);
  if (type == "ByteLevel") {
    return std::make_unique<ByteLevelDecoder>();
  }
  if (type == "ByteFallback") {
    return std::make_unique<ByteFallbackDecoder>();
  }
  if (type == "Fuse") {
    return std::make_unique<FuseDecoder>();
  }
  if (type == "Replace") {
    return std::make_unique<ReplaceDecoder>(
        Pattern::from_json(required_field(json, "pattern", where), where + " (Replace)"),
        string_field(json, "content", "", where));
  }
  if (type == "Strip") {
    return std::make_unique<StripDecoder>(filled_field(json, "content", " ", where),
                                          int_field(json, "start", 0, where),
                                          int_field(json, "stop", 0, where));
  }
  if (type == "Metaspace") {
    const bool old_prefix = bool_field(json, "add_prefix_space", true, where);
    const std::string scheme =
        string_field(json, "prepend_scheme", old_prefix ? "always" : "never", where);
    return std::make_unique<MetaspaceDecoder>(
        filled_field(json, "replacement", "\xE2\x96\x81", where), scheme != "never");
  }
  if (type == "BPEDecoder") {
    return std::make_unique<SuffixDecoder>(string_field(json, "suffix", "</w>", where));
  }
  if (type == "WordPiece") {
    return std::make_unique<WordPieceDecoder>(string_field(json, "prefix", "##", where),
                                              bool_field(json, "cleanup", true, where));
  }
  if (type == "CTC") {
    return std::make_unique<CtcDecoder>(string_field(json, "pad_token", "<pad>", where),
                                        string_field(json, "word_delimiter_token", "|", where),
                                        bool_field(json, "cleanup", true, where));
  }
  if (type == "Sequence") {
    return make_sequence(json, where);
  }
  throw Error("M105", fmt::format("the decoder \"{}\" is not supported", type))
      .at(where)
      .hint(
          "supported: ByteLevel ByteFallback Fuse Replace Strip Metaspace BPEDecoder WordPiece CTC "
          "Sequence");
}

}  // namespace sft
