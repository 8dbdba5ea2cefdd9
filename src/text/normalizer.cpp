#include "text/normalizer.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/json.h"
#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/model_normalizers.h"
#include "text/normal_forms.h"
#include "text/pattern.h"

namespace sft {
namespace {

class FormNormalizer : public Normalizer {
 public:
  explicit FormNormalizer(NormalForm form) : form_(form) {}
  void apply(AlignedText& text) const override { normalize(text, form_); }

 private:
  NormalForm form_;
};

class Lowercase : public Normalizer {
 public:
  void apply(AlignedText& text) const override { lowercase(text); }
};

class StripAccents : public Normalizer {
 public:
  void apply(AlignedText& text) const override {
    const std::string_view view = text.text();
    TextRewriter out(text);
    for (uint32_t i = 0; i < view.size();) {
      const DecodedChar c = decode_utf8(view.data() + i);
      if ((char_classes()[c.code] & kAccent) == 0) {
        out.copy(i, i + c.size);
      }
      i += c.size;
    }
    out.finish(text);
  }
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(AlignedText& text) const override {
    const std::string_view view = text.text();
    uint32_t begin = 0, end = static_cast<uint32_t>(view.size());
    while (left_ && begin < end) {
      const DecodedChar c = decode_utf8(view.data() + begin);
      if ((char_classes()[c.code] & kSpace) == 0) {
        break;
      }
      begin += c.size;
    }
    while (right_ && end > begin) {
      const DecodedChar c = decode_utf8_before(view, end);
      if ((char_classes()[c.code] & kSpace) == 0) {
        break;
      }
      end -= c.size;
    }
    if (begin > 0 || end < view.size()) {
      text.trim(begin, end);
    }
  }

 private:
  bool left_, right_;
};

class Replace : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(AlignedText& text) const override {
    std::vector<PatternPart> parts;
    pattern_.find(text.text(), 0, text.budget(), parts);
    if (parts.empty() || (parts.size() == 1 && !parts[0].matched)) {
      return;
    }
    TextRewriter out(text);
    for (const auto& [span, matched] : parts) {
      if (matched) {
        // New characters come from the last one they replace.
        out.put(content_, text.origin_before(span.end));
      } else {
        out.copy(span.begin, span.end);
      }
    }
    out.finish(text);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string content) : content_(std::move(content)) {}
  void apply(AlignedText& text) const override {
    if (text.text().empty()) {
      return;
    }
    TextRewriter out(text);
    out.put(content_, text.origin(0));
    out.copy(0, static_cast<uint32_t>(text.text().size()));
    out.finish(text);
  }

 private:
  std::string content_;
};

class ByteLevelNormalizer : public Normalizer {
 public:
  void apply(AlignedText& text) const override {
    const std::string_view view = text.text();
    TextRewriter out(text);
    for (uint32_t i = 0; i < view.size(); ++i) {
      out.put_char(byte_to_code(static_cast<unsigned char>(view[i])), text.origin(i));
    }
    out.finish(text);
  }
};

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<Normalizer>> parts)
      : parts_(std::move(parts)) {}
  void apply(AlignedText& text) const override {
    for (const auto& part : parts_) {
      text.budget().scan(text.text().size());
      part->apply(text);
    }
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

std::unique_ptr<Normalizer> make_sequence(const Json& json, const std::string& where) {
  std::vector<std::unique_ptr<Normalizer>> parts;
  for (const Json& part : required_list(json, "normalizers", where)) {
    parts.push_back(make_normalizer(part, where));
    if (!parts.back()) {
      parts.pop_back();
    }
  }
  return std::make_unique<NormalizerSequence>(std::move(parts));
}

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const Json& json, const std::string& where) {
  if (json.is_null()) {
    return nullptr;
  }
  const std::string type = component_type(json, where);
  if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    return std::make_unique<FormNormalizer>(type == "NFC"    ? NormalForm::nfc
                                            : type == "NFD"  ? NormalForm::nfd
                                            : type == "NFKC" ? NormalForm::nfkc
                                                             : NormalForm::nfkd);
  }
  if (type == "Lowercase") {
    return std::make_unique<Lowercase>();
  }
  if (type == "StripAccents") {
    return std::make_unique<StripAccents>();
  }
  if (type == "Strip") {
    return std::make_unique<Strip>(bool_field(json, "strip_left", true, where),
                                   bool_field(json, "strip_right", true, where));
  }
  if (type == "Replace") {
    return std::make_unique<Replace>(
        Pattern::from_json(required_field(json, "pattern", where), where + " (Replace)"),
        string_field(json, "content", "", where));
  }
  if (type == "Prepend") {
    return std::make_unique<Prepend>(string_field(json, "prepend", "", where));
  }
  if (type == "ByteLevel") {
    return std::make_unique<ByteLevelNormalizer>();
  }
  if (type == "BertNormalizer") {
    return make_bert_normalizer(json, where);
  }
  if (type == "Precompiled") {
    return make_precompiled(json, where);
  }
  if (type == "Nmt") {
    return make_nmt();
  }
  if (type == "Sequence") {
    return make_sequence(json, where);
  }
  throw Error("M102", fmt::format("the normalizer \"{}\" is not supported", type))
      .at(where)
      .hint(
          "supported: NFC NFD NFKC NFKD Lowercase Strip StripAccents Replace Prepend ByteLevel "
          "BertNormalizer Precompiled Nmt Sequence");
}

}  // namespace sft
