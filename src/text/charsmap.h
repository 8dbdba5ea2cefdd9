// SentencePiece's "precompiled_charsmap": a double array of texts and what each is replaced by.
// Used by the Precompiled normalizer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sft {

class Charsmap {
 public:
  // From the base64 text that tokenizer.json holds. M118, naming `where`, when it is damaged.
  Charsmap(std::string_view base64, const std::string& where);

  // What replaces a text whose beginning is in the map: that of the shortest such beginning.
  std::optional<std::string_view> find(std::string_view text) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;  // each ends at a NUL byte
};

}  // namespace sft
