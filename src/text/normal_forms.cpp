#include "text/normal_forms.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

namespace sft {
namespace {

using Change = AlignedText::Change;
using Changes = std::vector<Change>;

bool is_inert(uint32_t code) { return (char_classes()[code] & kNormalInert) != 0; }

int combining_class(uint32_t code) {
  if (code < 0x300 || is_inert(code)) {
    return 0;
  }
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(code))->combining_class;
}

bool surely_nfc(std::string_view text) {
  const uint16_t* classes = char_classes();
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    if (first < 0xCC) {  // below U+0300 nothing ever changes
      i += first < 0x80 ? 1 : 2;
      continue;
    }
    if (first >= 0xE4 && first <= 0xE9) {  // nor do ideographs from U+4000 to U+9FFF
      i += 3;
      continue;
    }
    const DecodedChar c = decode_utf8(text.data() + i);
    if ((classes[c.code] & kNfcUnsafe) != 0) {
      return false;
    }
    i += c.size;
  }
  return true;
}

// The composition of a pair of characters, or 0.
uint32_t compose(uint32_t first, uint32_t second) {
  if (is_inert(first) || is_inert(second)) {
    return 0;
  }
  utf8proc_int32_t pair[3] = {static_cast<utf8proc_int32_t>(first),
                              static_cast<utf8proc_int32_t>(second), 0};
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  if (utf8proc_normalize_utf32(pair, 2, options) != 1) {
    return 0;
  }
  const auto composed = static_cast<uint32_t>(pair[0]);
  return is_inert(composed) ? 0 : composed;
}

// Marks between two starters stand in the order of their classes.
void sort_marks(Changes& changes) {
  for (size_t i = 0; i < changes.size();) {
    if (combining_class(changes[i].first) == 0) {
      ++i;
      continue;
    }
    size_t end = i + 1;
    while (end < changes.size() && combining_class(changes[end].first) != 0) {
      ++end;
    }
    const auto begin = changes.begin() + static_cast<long>(i);
    std::stable_sort(begin, changes.begin() + static_cast<long>(end),
                     [](const Change& a, const Change& b) {
                       return combining_class(a.first) < combining_class(b.first);
                     });
    i = end;
  }
}

Changes decompose(std::string_view text, bool compatible) {
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (compatible ? UTF8PROC_COMPAT : 0));
  Changes changes;
  changes.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const DecodedChar c = decode_utf8(text.data() + i);
    i += c.size;
    if (c.code < 0x80 || is_inert(c.code)) {
      changes.emplace_back(c.code, 0);
      continue;
    }
    std::array<utf8proc_int32_t, 32> parts{};  // the longest decomposition has 18 characters
    int boundary = 0;
    const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code), parts.data(),
                                           parts.size(), options, &boundary);
    for (utf8proc_ssize_t k = 0; k < n; ++k) {
      changes.emplace_back(static_cast<uint32_t>(parts[static_cast<size_t>(k)]), k == 0 ? 0 : 1);
    }
  }
  sort_marks(changes);
  return changes;
}

// Canonical composition (UAX 15, part 1.3): each character joins the last starter when nothing
// between them blocks it. `changes` is decomposed and sorted.
void recompose(Changes& changes) {
  Changes out;
  out.reserve(changes.size());
  size_t starter = SIZE_MAX;  // where in `out` the last starter stands
  int last_class = -1;        // the class of what stands behind it, -1 when nothing does
  for (const Change& change : changes) {
    const int cc = combining_class(change.first);
    if (starter != SIZE_MAX && last_class < cc) {
      if (const uint32_t joined = compose(out[starter].first, change.first); joined != 0) {
        out[starter] = {joined, out[starter].second + change.second - 1};
        continue;
      }
    }
    if (cc == 0) {
      starter = out.size();
      last_class = -1;
    } else {
      last_class = cc;
    }
    out.push_back(change);
  }
  changes = std::move(out);
}

}  // namespace

void normalize(AlignedText& text, NormalForm form) {
  const std::string_view view = text.text();
  if (form == NormalForm::nfc ? surely_nfc(view) : is_ascii(view)) {
    return;
  }
  Changes changes = decompose(view, form == NormalForm::nfkc || form == NormalForm::nfkd);
  if (form == NormalForm::nfc || form == NormalForm::nfkc) {
    recompose(changes);
  }
  text.transform(changes);
}

}  // namespace sft
