#include "text/unicode.h"

#include <simdjson.h>
#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <vector>

namespace sft {
namespace {

struct ClassRun {
  uint32_t first;
  uint32_t count;
  uint16_t bits;
};
struct SymbolRun {
  uint32_t first;
  uint32_t count;
};
struct ScriptRun {
  uint32_t first;
  uint32_t count;
  uint8_t script;
};
struct LowerRun {
  uint32_t first, last;
  int32_t delta;
};

namespace tables {
#include "text/unicode_ranges.inc"
}  // namespace tables

std::vector<uint16_t> build_classes() {
  std::vector<uint16_t> classes(0x110000);
  for (const ClassRun& run : tables::class_runs) {
    std::fill_n(classes.begin() + run.first, run.count, run.bits);
  }
  return classes;
}

std::vector<uint64_t> build_symbols() {
  std::vector<uint64_t> bits(0x110000 / 64);
  for (const SymbolRun& run : tables::symbol_runs) {
    for (uint32_t code = run.first; code < run.first + run.count; ++code) {
      bits[code / 64] |= uint64_t{1} << code % 64;
    }
  }
  return bits;
}

// The length of the valid character at the front, or minus the length of the invalid part.
int scan_char(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) {
    return 1;
  }
  if (lead < 0xC2 || lead > 0xF4) {
    return -1;
  }
  const int size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned low = 0x80, high = 0xBF;
  if (lead == 0xE0) {
    low = 0xA0;
  } else if (lead == 0xED) {
    high = 0x9F;
  } else if (lead == 0xF0) {
    low = 0x90;
  } else if (lead == 0xF4) {
    high = 0x8F;
  }
  for (int i = 1; i < size; ++i) {
    if (static_cast<size_t>(i) >= s.size() || byte(i) < low || byte(i) > high) {
      return -i;
    }
    low = 0x80;
    high = 0xBF;
  }
  return size;
}

}  // namespace

const uint16_t* char_classes() {
  static const std::vector<uint16_t> classes = build_classes();
  return classes.data();
}

const uint64_t* symbol_bits() {
  static const std::vector<uint64_t> bits = build_symbols();
  return bits.data();
}

uint8_t script_of(uint32_t code) {
  const auto* after =
      std::upper_bound(std::begin(tables::script_runs), std::end(tables::script_runs), code,
                       [](uint32_t c, const ScriptRun& run) { return c < run.first; });
  if (after == std::begin(tables::script_runs)) {
    return 0;
  }
  const ScriptRun& run = after[-1];
  return code - run.first < run.count ? run.script : 0;
}

DecodedChar decode_utf8_before(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && is_continuation(text[begin])) {
    --begin;
  }
  return decode_utf8(text.data() + begin);
}

void append_utf8(std::string& out, uint32_t code) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

size_t find_invalid_utf8(std::string_view text) {
  if (simdjson::validate_utf8(text.data(), text.size())) {
    return std::string_view::npos;
  }
  for (size_t i = 0; i < text.size();) {
    const int size = scan_char(text.substr(i));
    if (size < 0) {
      return i;
    }
    i += static_cast<size_t>(size);
  }
  return std::string_view::npos;
}

bool is_ascii(std::string_view text) {
  unsigned char seen = 0;
  for (const char c : text) {
    seen |= static_cast<unsigned char>(c);
  }
  return seen < 0x80;
}

void append_lossy_utf8(std::string& out, std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    const int size = scan_char(bytes.substr(i));
    if (size > 0) {
      out.append(bytes.substr(i, static_cast<size_t>(size)));
      i += static_cast<size_t>(size);
    } else {
      out.append("\xEF\xBF\xBD");
      i += static_cast<size_t>(-size);
    }
  }
}

size_t incomplete_utf8_tail(std::string_view bytes) {
  for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const auto lead = static_cast<unsigned char>(bytes[bytes.size() - back]);
    if ((lead & 0xC0) == 0x80) {
      continue;
    }
    const size_t size = lead < 0xC2 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 1;
    const bool valid_so_far =
        size > back && scan_char(bytes.substr(bytes.size() - back)) == -static_cast<int>(back);
    return valid_so_far ? back : 0;
  }
  return 0;
}

uint32_t lower_char(uint32_t code) {
  for (const LowerRun& run : tables::lower_runs) {
    if (code >= run.first && code <= run.last) {
      return static_cast<uint32_t>(static_cast<int32_t>(code) + run.delta);
    }
  }
  return static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
}

NewerRuns newer_runs() { return {tables::newer_runs, std::size(tables::newer_runs)}; }

}  // namespace sft
