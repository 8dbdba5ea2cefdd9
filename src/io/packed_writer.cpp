#include "io/packed_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/json.h"
#include "formats/block8.h"
#include "formats/convert.h"
#include "formats/format.h"
#include "formats/four_bit.h"

namespace sft {

namespace {

constexpr int64_t kBlock = 64, kNested = 256;
constexpr std::string_view kWeight = ".weight";
// A file's header says how long a tensor is before its scales are known: the state is filled up
// with blanks, which JSON may end with.
constexpr size_t kStateBytes = 256;

// A tensor whose parts are being written.
class Packer {
 public:
  Packer(BnbConfig config, DType from, const ModelSource& source, ThreadPool* pool)
      : config_(std::move(config)), from_(from), source_(source), pool_(pool) {}

  const Tensor& pack(const StreamedTensor& plain) {
    if (name_ == plain.name) {
      return packed_;
    }
    const int64_t count = plain.shape.elements();
    std::vector<float> values(static_cast<size_t>(count)), other(values.size());
    fill(plain, values);
    source_.read_f32(plain.name, other.data());
    loss_->update += distance(values, other);
    round(values);
    bytes_.assign(bytes_of(config_.type, plain.shape), std::byte{0});
    packed_ = {bytes_.data(), plain.shape, config_.type};
    encode(values.data(), packed_, pool_);
    decode(packed_, other.data(), pool_);
    loss_->rounding += distance(values, other);
    loss_->weights += distance(values, std::vector<float>(values.size()));
    name_ = plain.name;
    return packed_;
  }
  const BnbConfig& config() const { return config_; }
  DType from() const { return from_; }
  std::shared_ptr<const PackingLoss> loss() const { return loss_; }

 private:
  static double distance(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const double apart = double{a[i]} - b[i];
      sum += apart * apart;
    }
    return sum;
  }
  void fill(const StreamedTensor& plain, std::vector<float>& values) const {
    constexpr size_t kPiece = size_t{1} << 20;
    const auto bytes = std::as_writable_bytes(std::span(values));
    for (size_t at = 0; at < bytes.size(); at += kPiece * sizeof(float)) {
      plain.fill(at, bytes.subspan(at, std::min(kPiece * sizeof(float), bytes.size() - at)));
    }
  }
  void round(std::vector<float>& values) const {
    if (from_ != DType::f32) {
      const auto count = static_cast<int64_t>(values.size());
      std::vector<std::byte> narrow(values.size() * size_of(from_));
      convert_from_f32(from_, values.data(), count, narrow.data(), pool_);
      convert_to_f32(from_, narrow.data(), count, values.data(), pool_);
    }
  }

  BnbConfig config_;
  DType from_;
  const ModelSource& source_;
  ThreadPool* pool_;
  std::string name_;
  std::vector<std::byte> bytes_;
  Tensor packed_;
  std::shared_ptr<PackingLoss> loss_ = std::make_shared<PackingLoss>();
};

// A tensor that is `bytes` of what `make` returns, from `offset` on.
using Fill = std::function<void(uint64_t begin, std::span<std::byte> into)>;
Fill part_of(const std::shared_ptr<Packer>& packer, const StreamedTensor& plain, size_t offset) {
  return [packer, plain, offset](uint64_t begin, std::span<std::byte> into) {
    const Tensor& packed = packer->pack(plain);
    std::memcpy(into.data(), packed.as<std::byte>() + offset + begin, into.size());
  };
}

Fill constants(std::vector<float> values) {
  return [values = std::move(values)](uint64_t begin, std::span<std::byte> into) {
    std::memcpy(into.data(), reinterpret_cast<const std::byte*>(values.data()) + begin,
                into.size());
  };
}

Fill state_of(const std::shared_ptr<Packer>& packer, const StreamedTensor& plain) {
  return [packer, plain](uint64_t begin, std::span<std::byte> into) {
    const Tensor& packed = packer->pack(plain);
    const bool fp4 = packed.dtype == DType::fp4 || packed.dtype == DType::fp4_nested;
    Json state = {{"quant_type", fp4 ? "fp4" : "nf4"},
                  {"blocksize", kBlock},
                  {"dtype", name_of(packer->from())},
                  {"shape", plain.shape.dims()}};
    if (packer->config().nested()) {
      float mean = 0;
      std::memcpy(&mean, packed.as<std::byte>() + packed.bytes() - sizeof(float), sizeof(float));
      state["nested_blocksize"] = kNested;
      state["nested_dtype"] = "float32";
      state["nested_offset"] = double{mean};
    }
    std::string text = to_text(state);
    SFT_ASSERT(text.size() <= kStateBytes);
    text.resize(kStateBytes, ' ');
    std::memcpy(into.data(), text.data() + begin, into.size());
  };
}

// The type that bitsandbytes shows bytes as, and how wide it is.
struct Storage {
  DType dtype = DType::u8;
  int64_t width = 1;
  std::string_view spelling = "U8";
};
Storage storage_of(const std::string& name) {
  if (name == "int8") {
    return {DType::u8, 1, "I8"};
  }
  if (name == "float64") {
    return {DType::i64, 8, "F64"};
  }
  const DType dtype = parse_dtype(name).value_or(DType::u8);
  const std::string_view spelling = dtype == DType::f32    ? "F32"
                                    : dtype == DType::f16  ? "F16"
                                    : dtype == DType::bf16 ? "BF16"
                                                           : "U8";
  return {dtype, static_cast<int64_t>(size_of(dtype)), spelling};
}

void add_four_bits(const std::shared_ptr<Packer>& packer, const StreamedTensor& plain,
                   std::vector<StreamedTensor>& to) {
  const BnbConfig& config = packer->config();
  const int64_t count = plain.shape.elements();
  const int64_t codes = (count + 1) / 2, blocks = (count + kBlock - 1) / kBlock;
  Storage storage = storage_of(config.storage);
  if (codes % storage.width != 0) {
    storage = {};  // what has an odd number of bytes stays bytes
  }
  const size_t behind = scales_at(config.type, plain.shape);
  const std::array<float, 16>& map = four_bit_codes(config.type);
  const bool fp4 = config.type == DType::fp4 || config.type == DType::fp4_nested;
  to.push_back({plain.name,
                storage.dtype,
                {codes / storage.width, 1},
                part_of(packer, plain, 0),
                storage.spelling});
  to.push_back({plain.name + ".absmax",
                config.nested() ? DType::u8 : DType::f32,
                {blocks},
                part_of(packer, plain, behind),
                config.nested() ? "U8" : "F32"});
  to.push_back(
      {plain.name + ".quant_map", DType::f32, {16}, constants({map.begin(), map.end()}), "F32"});
  if (config.nested()) {
    static const block8::Book book = block8::books()[0];
    to.push_back({plain.name + ".nested_absmax",
                  DType::f32,
                  {(blocks + kNested - 1) / kNested},
                  part_of(packer, plain, behind + static_cast<size_t>((blocks + 3) / 4 * 4)),
                  "F32"});
    to.push_back({plain.name + ".nested_quant_map",
                  DType::f32,
                  {static_cast<int64_t>(block8::kCodes)},
                  constants({std::begin(book.values), std::end(book.values)}),
                  "F32"});
  }
  to.push_back({fmt::format("{}.quant_state.bitsandbytes__{}", plain.name, fp4 ? "fp4" : "nf4"),
                DType::u8,
                {static_cast<int64_t>(kStateBytes)},
                state_of(packer, plain),
                "U8"});
}

void add_int8(const std::shared_ptr<Packer>& packer, const StreamedTensor& plain,
              std::vector<StreamedTensor>& to) {
  const std::string module = plain.name.substr(0, plain.name.size() - kWeight.size());
  to.push_back({plain.name, DType::u8, plain.shape, part_of(packer, plain, 0), "I8"});
  to.push_back({module + ".SCB",
                DType::f32,
                {plain.shape[0]},
                part_of(packer, plain, scales_at(DType::i8_rows, plain.shape)),
                "F32"});
  to.push_back({module + ".weight_format", DType::u8, Shape{},
                [](uint64_t, std::span<std::byte> into) { std::ranges::fill(into, std::byte{0}); },
                "U8"});
}

}  // namespace

PackedWeights packed_weights(std::vector<StreamedTensor> plain, const BnbConfig& config, DType from,
                             const std::function<bool(const std::string& name)>& packs,
                             const ModelSource& source, ThreadPool* pool) {
  const auto packer = std::make_shared<Packer>(config, from, source, pool);
  PackedWeights out;
  out.loss = packer->loss();
  for (StreamedTensor& t : plain) {
    if (!packs(t.name)) {
      out.tensors.push_back(std::move(t));
      continue;
    }
    SFT_ASSERT(t.dtype == DType::f32 && t.name.ends_with(kWeight));
    if (config.type == DType::i8_rows) {
      add_int8(packer, t, out.tensors);
    } else {
      add_four_bits(packer, t, out.tensors);
    }
  }
  return out;
}

}  // namespace sft
