// The metadata of a GGUF file that is written: keys in their order, each with its bytes. Used by
// the writer of GGUF files and by what fills it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sft {

class GgufMetadata {
 public:
  // A key that is there already keeps its place and gets the new value. Texts and lists that are
  // empty are left out, as llama.cpp's converter leaves them.
  void text(std::string_view key, std::string_view value);
  void number(std::string_view key, uint32_t value);
  void whole(std::string_view key, int32_t value);
  void real(std::string_view key, float value);
  void flag(std::string_view key, bool value);
  void texts(std::string_view key, const std::vector<std::string>& values);
  void numbers(std::string_view key, const std::vector<int32_t>& values);
  void reals(std::string_view key, const std::vector<float>& values);
  void flags(std::string_view key, const std::vector<bool>& values);

  // Moves a key to the end; llama.cpp's quantiser does that with those that it sets.
  void move_to_end(std::string_view key);

  size_t size() const { return entries_.size(); }
  // All keys and values as they stand in a file.
  std::string bytes() const;

 private:
  void set(std::string_view key, std::string value);
  std::vector<std::pair<std::string, std::string>> entries_;
};

}  // namespace sft
