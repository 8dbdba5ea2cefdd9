#include "text/model_normalizers.h"

#include <utf8proc.h>

#include <vector>

#include "core/json.h"
#include "text/charsmap.h"
#include "text/json_fields.h"
#include "text/normal_forms.h"
#include "text/unicode.h"

namespace sft {
namespace {

// Leaves out the characters for which `map` gives kGone, and puts what it gives for the others.
constexpr uint32_t kGone = UINT32_MAX;
template <typename Map>
void map_chars(AlignedText& text, const Map& map) {
  const std::string_view view = text.text();
  TextRewriter out(text);
  bool changed = false;
  for (uint32_t i = 0; i < view.size();) {
    const DecodedChar c = decode_utf8(view.data() + i);
    const uint32_t code = map(c.code);
    if (code == c.code) {
      out.copy(i, i + c.size);
    } else {
      changed = true;
      if (code != kGone) {
        out.put_char(code, text.origin(i));
      }
    }
    i += c.size;
  }
  if (changed) {
    out.finish(text);
  }
}

bool is_chinese(uint32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B81F) ||
         (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x2F800 && c <= 0x2FA1F);
}

class BertNormalizer : public Normalizer {
 public:
  BertNormalizer(bool clean, bool chinese, bool strip_accents, bool lower)
      : clean_(clean), chinese_(chinese), strip_accents_(strip_accents), lower_(lower) {}

  void apply(AlignedText& text) const override {
    const uint16_t* classes = char_classes();
    if (clean_) {
      map_chars(text, [&](uint32_t c) {
        if (c == 0 || c == 0xFFFD || (classes[c] & kControl) != 0) {
          return kGone;
        }
        return (classes[c] & kSpace) != 0 ? static_cast<uint32_t>(' ') : c;
      });
    }
    if (chinese_) {
      put_spaces_around_chinese(text);
    }
    if (strip_accents_) {
      normalize(text, NormalForm::nfd);
      map_chars(text, [&](uint32_t c) { return (classes[c] & kNonspacing) != 0 ? kGone : c; });
    }
    if (lower_) {
      lowercase(text);
    }
  }

 private:
  static void put_spaces_around_chinese(AlignedText& text) {
    const std::string_view view = text.text();
    if (is_ascii(view)) {
      return;
    }
    std::vector<AlignedText::Change> changes;
    changes.reserve(view.size());
    for (size_t i = 0; i < view.size();) {
      const DecodedChar c = decode_utf8(view.data() + i);
      i += c.size;
      if (is_chinese(c.code)) {
        changes.insert(changes.end(), {{' ', 0}, {c.code, 1}, {' ', 1}});
      } else {
        changes.emplace_back(c.code, 0);
      }
    }
    text.transform(changes);
  }

  bool clean_, chinese_, strip_accents_, lower_;
};

class Nmt : public Normalizer {
 public:
  void apply(AlignedText& text) const override {
    map_chars(text, [](uint32_t c) {
      if ((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
          c == 0x9F) {
        return kGone;
      }
      const bool is_space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                            (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 ||
                            c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
      return is_space ? static_cast<uint32_t>(' ') : c;
    });
  }
};

// Replaces grapheme clusters of less than 6 bytes as a whole where the map knows their beginning,
// and single characters otherwise.
class Precompiled : public Normalizer {
 public:
  explicit Precompiled(Charsmap map) : map_(std::move(map)) {
    for (char c = 0; c >= 0 && c < 127; ++c) {
      plain_[static_cast<size_t>(c)] = !map_.find(std::string_view(&c, 1)).has_value();
    }
  }

  void apply(AlignedText& text) const override {
    const std::string_view view = text.text();
    if (is_unchanged(view)) {
      return;
    }
    std::vector<AlignedText::Change> changes;
    changes.reserve(view.size());
    for (size_t i = 0; i < view.size();) {
      const size_t end = cluster_end(view, i);
      const std::string_view cluster = view.substr(i, end - i);
      if (const auto found = cluster.size() < 6 ? map_.find(cluster) : std::nullopt) {
        replace(cluster, *found, changes, text.budget());
      } else {
        add_chars(cluster, changes, text.budget());
      }
      i = end;
    }
    text.transform(changes);
  }

 private:
  // A quick look; ASCII characters make no clusters but "\r\n".
  bool is_unchanged(std::string_view text) const {
    for (const char c : text) {
      if (c < 0 || c == '\r' || !plain_[static_cast<size_t>(c)]) {
        return false;
      }
    }
    return true;
  }

  static size_t cluster_end(std::string_view text, size_t begin) {
    DecodedChar c = decode_utf8(text.data() + begin);
    size_t end = begin + c.size;
    utf8proc_int32_t state = 0;
    while (end < text.size()) {
      const DecodedChar next = decode_utf8(text.data() + end);
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(c.code),
                                           static_cast<utf8proc_int32_t>(next.code), &state)) {
        break;
      }
      c = next;
      end += c.size;
    }
    return end;
  }

  void add_chars(std::string_view cluster, std::vector<AlignedText::Change>& changes,
                 Budget& budget) const {
    for (size_t i = 0; i < cluster.size();) {
      const DecodedChar c = decode_utf8(cluster.data() + i);
      const std::string_view part = cluster.substr(i, c.size);
      if (const auto found = map_.find(part)) {
        replace(part, *found, changes, budget);
      } else {
        changes.emplace_back(c.code, 0);
      }
      i += c.size;
    }
  }

  static int count_chars(std::string_view text) {
    int n = 0;
    for (const char c : text) {
      n += is_continuation(c) ? 0 : 1;
    }
    return n;
  }

  static void replace(std::string_view old_text, std::string_view new_text,
                      std::vector<AlignedText::Change>& changes, Budget& budget) {
    budget.step(static_cast<int64_t>(new_text.size()) + 1);
    budget.room(static_cast<int64_t>(changes.size() + new_text.size()));
    const int old_count = count_chars(old_text), new_count = count_chars(new_text);
    int nth = 0;
    for (size_t i = 0; i < new_text.size(); ++nth) {
      const DecodedChar c = decode_utf8(new_text.data() + i);
      i += c.size;
      changes.emplace_back(c.code, nth < old_count ? 0 : 1);
    }
    if (new_count < old_count && !changes.empty()) {
      changes.back().second -= old_count - new_count;  // the last one swallows the rest
    }
  }

  Charsmap map_;
  bool plain_[128] = {};  // ASCII characters that stay as they are
};

}  // namespace

std::unique_ptr<Normalizer> make_bert_normalizer(const Json& json, const std::string& where) {
  const bool lower = bool_field(json, "lowercase", true, where);
  return std::make_unique<BertNormalizer>(bool_field(json, "clean_text", true, where),
                                          bool_field(json, "handle_chinese_chars", true, where),
                                          bool_field(json, "strip_accents", lower, where), lower);
}

std::unique_ptr<Normalizer> make_precompiled(const Json& json, const std::string& where) {
  required_field(json, "precompiled_charsmap", where);
  return std::make_unique<Precompiled>(
      Charsmap(string_field(json, "precompiled_charsmap", "", where), where));
}

std::unique_ptr<Normalizer> make_nmt() { return std::make_unique<Nmt>(); }

void lowercase(AlignedText& text) {
  const std::string_view view = text.text();
  std::vector<AlignedText::Change> changes;
  changes.reserve(view.size());
  for (size_t i = 0; i < view.size();) {
    const DecodedChar c = decode_utf8(view.data() + i);
    i += c.size;
    if (c.code == 0x130) {  // the one character whose lower case is two characters
      changes.emplace_back('i', 0);
      changes.emplace_back(0x307, 1);
    } else if (c.code < 0x80) {
      changes.emplace_back(c.code >= 'A' && c.code <= 'Z' ? c.code + 32 : c.code, 0);
    } else {
      changes.emplace_back(lower_char(c.code), 0);
    }
  }
  text.transform(changes);
}

}  // namespace sft
