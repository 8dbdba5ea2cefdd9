#include "text/gguf/sentencepiece.h"

#include <cstring>

#include "core/error.h"

namespace sft {

namespace {

[[noreturn]] void damaged() {
  throw Error("M283", "tokenizer.model is not a file of SentencePiece")
      .hint("fetch the model's files again");
}

// Walks the fields of one message of protocol buffers, never past its end.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}

  bool next() {
    if (rest_.empty()) {
      return false;
    }
    const uint64_t key = varint();
    number = key >> 3;
    kind_ = key & 7;
    if (kind_ == 0) {
      value = varint();
    } else if (kind_ == 1 || kind_ == 5) {
      bytes = take(kind_ == 1 ? 8 : 4);
    } else if (kind_ == 2) {
      bytes = take(varint());
    } else {
      damaged();
    }
    return true;
  }
  bool is_bytes() const { return kind_ == 2; }
  bool is_float() const { return kind_ == 5; }

  uint64_t number = 0, value = 0;
  std::string_view bytes;

 private:
  uint64_t varint() {
    uint64_t result = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      result |= uint64_t{byte & 127U} << shift;
      if (byte < 128) {
        return result;
      }
    }
    damaged();
  }
  std::string_view take(uint64_t n) {
    if (n > rest_.size()) {
      damaged();
    }
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }

  std::string_view rest_;
  uint64_t kind_ = 0;
};

SentencePiece read_piece(std::string_view message) {
  SentencePiece piece;
  for (Fields f(message); f.next();) {
    if (f.number == 1 && f.is_bytes()) {
      piece.text = f.bytes;
    } else if (f.number == 2 && f.is_float()) {
      std::memcpy(&piece.score, f.bytes.data(), sizeof(float));
    } else if (f.number == 3) {
      piece.type = static_cast<int32_t>(f.value);
    }
  }
  return piece;
}

}  // namespace

std::vector<SentencePiece> read_sentencepieces(std::string_view file) {
  std::vector<SentencePiece> pieces;
  for (Fields f(file); f.next();) {
    if (f.number == 1 && f.is_bytes()) {
      pieces.push_back(read_piece(f.bytes));
    }
  }
  if (pieces.empty()) {
    damaged();
  }
  return pieces;
}

}  // namespace sft
