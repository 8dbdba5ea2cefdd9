#include "io/gguf/write/writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "core/error.h"
#include "formats/convert.h"
#include "formats/ggml_encode.h"

namespace sft {

namespace {

constexpr uint64_t kAlignment = 32;
constexpr int64_t kPiece = int64_t{1} << 22;  // elements read and encoded at a time
constexpr int64_t kGrain = int64_t{1} << 14;  // elements worth handing to another thread

uint64_t padded(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

template <class T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

std::string header(const GgufMetadata& metadata, const std::vector<GgufOutput>& tensors) {
  std::string bytes = "GGUF";
  append<uint32_t>(bytes, 3);
  append<uint64_t>(bytes, tensors.size());
  append<uint64_t>(bytes, metadata.size());
  bytes += metadata.bytes();
  uint64_t offset = 0;
  for (const GgufOutput& t : tensors) {
    append<uint64_t>(bytes, t.name.size());
    bytes += t.name;
    append<uint32_t>(bytes, static_cast<uint32_t>(t.shape.size()));
    for (size_t i = t.shape.size(); i-- > 0;) {
      append<uint64_t>(bytes, static_cast<uint64_t>(t.shape[i]));
    }
    append<uint32_t>(bytes, t.type->code);
    append<uint64_t>(bytes, offset);
    offset += padded(t.bytes());
  }
  bytes.resize(padded(bytes.size()), '\0');
  return bytes;
}

[[noreturn]] void fail_value(const GgufOutput& t) {
  throw Error("M280",
              fmt::format("tensor {} has a value that {} cannot hold", t.name, t.type->name))
      .hint("look at the weights with sft check; --quant bf16 or f32 holds all that are finite");
}

class Encoded {
 public:
  Encoded(const GgufOutput& tensor, ThreadPool* pool) : tensor_(tensor), pool_(pool) {}

  std::span<const std::byte> rows(int64_t begin, int64_t end) {
    const GgufType& type = *tensor_.type;
    const int64_t n = (end - begin) * tensor_.width();
    bytes_.resize(static_cast<size_t>(n / type.block * type.block_bytes));
    if (tensor_.copy) {
      tensor_.copy(begin, end, bytes_.data());
      return bytes_;
    }
    values_.resize(static_cast<size_t>(n));
    tensor_.fill(begin, end, values_.data());
    std::atomic<bool> sound = true;
    split_work(pool_, n / type.block, kGrain / type.block, [&](int64_t first, int64_t last) {
      if (!encode_ggml(type, values_.data() + first * type.block, (last - first) * type.block,
                       bytes_.data() + first * type.block_bytes)) {
        sound = false;
      }
    });
    if (!sound) {
      fail_value(tensor_);
    }
    return bytes_;
  }

 private:
  const GgufOutput& tensor_;
  ThreadPool* pool_;
  std::vector<float> values_;
  std::vector<std::byte> bytes_;
};

}  // namespace

uint64_t GgufOutput::bytes() const {
  return static_cast<uint64_t>(elements_of(shape) / type->block * type->block_bytes);
}

uint64_t gguf_bytes(const GgufMetadata& metadata, const std::vector<GgufOutput>& tensors) {
  uint64_t bytes = header(metadata, tensors).size();
  for (const GgufOutput& t : tensors) {
    bytes += padded(t.bytes());
  }
  return bytes;
}

WrittenFile write_gguf(const fs::path& path, const GgufMetadata& metadata,
                       const std::vector<GgufOutput>& tensors, ThreadPool* pool) {
  CountingWriter writer(path);
  writer.write(header(metadata, tensors));
  const std::string zeros(kAlignment, '\0');
  for (const GgufOutput& t : tensors) {
    SFT_ASSERT(t.width() % t.type->block == 0);
    Encoded encoded(t, pool);
    const int64_t step = std::max<int64_t>(1, kPiece / t.width() / t.together) * t.together;
    for (int64_t row = 0; row < t.rows(); row += step) {
      const auto bytes = encoded.rows(row, std::min(t.rows(), row + step));
      writer.write(bytes.data(), bytes.size());
    }
    writer.write(zeros.data(), padded(t.bytes()) - t.bytes());
  }
  return writer.commit();
}

}  // namespace sft
