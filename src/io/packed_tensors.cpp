#include "io/packed_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "core/error.h"
#include "core/json.h"
#include "formats/block8.h"
#include "formats/convert.h"
#include "formats/format.h"
#include "formats/four_bit.h"
#include "formats/mxfp4.h"

namespace sft {

namespace {

constexpr int64_t kBlock = 64, kNested = 256;
constexpr std::string_view kWeight = ".weight", kMxfp4Codes = "_blocks";

std::string module_of(const std::string& name) {
  return name.substr(0, name.size() - kWeight.size());
}

// "..._blocks" -> "..._scales"
std::string exponents_of(const std::string& codes) {
  return codes.substr(0, codes.size() - kMxfp4Codes.size()) + "_scales";
}

// A state's number; -1 for none.
int64_t whole(const Json& state, const char* key) {
  return state.contains(key) && state[key].is_number_integer() ? state[key].get<int64_t>() : -1;
}

bool equal_bits(const std::vector<float>& a, const float* b) {
  return std::memcmp(a.data(), b, a.size() * sizeof(float)) == 0;
}

}  // namespace

PackedTensors::PackedTensors(const SafetensorsFolder& files) : files_(files) {
  for (const std::string& name : files.names()) {
    if (name.ends_with(kMxfp4Codes) && files.find(exponents_of(name))) {
      add_mxfp4(name);
    }
    if (!name.ends_with(kWeight)) {
      continue;
    }
    const std::string& dtype = files.find(name)->tensor->dtype;
    for (const char* kind : {"nf4", "fp4"}) {
      const std::string state = fmt::format("{}.quant_state.bitsandbytes__{}", name, kind);
      if (files.find(state)) {
        add_four_bit(name, state);
      }
    }
    if (dtype == "I8" && files.find(module_of(name) + ".SCB")) {
      add_int8(name);
    } else if (dtype == "F8_E4M3" && files.find(name + "_scale_inv")) {
      add_float8(name);
    }
  }
  for (const auto& [name, entry] : entries_) {
    for (const auto& [what, other] : entry.beside) {
      beside_.insert(other);
    }
  }
}

void PackedTensors::fail(const std::string& name, const std::string& what) const {
  throw Error("M273",
              fmt::format("tensor \"{}\" is quantised in a way that is not read: {}", name, what))
      .at(files_.find(name)->file->path().string())
      .hint("use the model's unquantised weights, or quantise them anew: --load_in_4bit");
}

const PackedTensors::Entry* PackedTensors::find(const std::string& name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

std::string PackedTensors::published_name(const std::string& name) const {
  const Entry* const entry = find(name);
  return entry != nullptr && entry->type == DType::mxfp4
             ? name.substr(0, name.size() - kMxfp4Codes.size())
             : name;
}

std::vector<float> PackedTensors::floats(const std::string& name, int64_t count) const {
  const SafetensorsFolder::Entry entry = *files_.find(name);
  if (entry.tensor->elements() != count) {
    fail(name, fmt::format("it has {} values, and {} are wanted", entry.tensor->elements(), count));
  }
  std::vector<float> values(static_cast<size_t>(count));
  if (entry.tensor->dtype == "F8_E8M0") {  // powers of two
    const auto bytes = entry.file->raw(*entry.tensor);
    std::ranges::transform(bytes, values.begin(), [](std::byte b) {
      const auto exponent = std::to_integer<uint32_t>(b);
      return exponent == 0 ? 0x1p-127F : std::bit_cast<float>(exponent << 23);
    });
  } else {
    entry.file->read_f32(*entry.tensor, values.data());
  }
  return values;
}

void PackedTensors::copy_bytes(const std::string& name, int64_t count, std::byte* to) const {
  const SafetensorsFolder::Entry entry = *files_.find(name);
  const auto bytes = entry.file->raw(*entry.tensor);
  if (static_cast<int64_t>(bytes.size()) != count) {
    fail(name, fmt::format("it has {} bytes, and {} are wanted", bytes.size(), count));
  }
  std::ranges::copy(bytes, to);
}

void PackedTensors::add_four_bit(const std::string& name, const std::string& state_name) {
  const SafetensorsFolder::Entry found = *files_.find(state_name);
  const auto bytes = found.file->raw(*found.tensor);
  const Json state =
      Json::parse(reinterpret_cast<const char*>(bytes.data()),
                  reinterpret_cast<const char*>(bytes.data()) + bytes.size(), nullptr, false);
  if (!state.is_object() || !state.contains("shape") || !state["shape"].is_array() ||
      state["shape"].size() != 2 || !state["shape"][0].is_number_unsigned() ||
      !state["shape"][1].is_number_unsigned()) {
    fail(state_name, "it is no JSON object with a shape of two numbers");
  }
  if (whole(state, "blocksize") != kBlock) {
    fail(state_name, fmt::format("blocks of {} values, where blocks of {} are read",
                                 whole(state, "blocksize"), kBlock));
  }
  Entry entry;
  const auto rows = state["shape"][0].get<int64_t>(), columns = state["shape"][1].get<int64_t>();
  const SafetensorsFolder::Entry codes = *files_.find(name);
  const auto stored = static_cast<int64_t>(codes.file->raw(*codes.tensor).size());
  if (rows <= 0 || columns <= 0 || rows > 2 * stored / columns ||
      (rows * columns + 1) / 2 != stored) {
    fail(name, fmt::format("{} bytes for the shape ({}, {}), which takes half a byte a value",
                           stored, rows, columns));
  }
  entry.shape = {rows, columns};
  const bool fp4 = state_name.ends_with("fp4");
  const bool nested = whole(state, "nested_blocksize") != -1;
  entry.type =
      fp4 ? (nested ? DType::fp4_nested : DType::fp4) : (nested ? DType::nf4_nested : DType::nf4);
  entry.beside = {{"state", state_name}};
  for (const char* what : {"absmax", "quant_map", "nested_absmax", "nested_quant_map"}) {
    const std::string other = fmt::format("{}.{}", name, what);
    if (files_.find(other)) {
      entry.beside[what] = other;
    } else if (nested || !std::string_view(what).starts_with("nested")) {
      fail(name, fmt::format("there is no {}", other));
    }
  }
  if (!equal_bits(floats(entry.beside["quant_map"], 16), four_bit_codes(entry.type).data())) {
    fail(entry.beside["quant_map"], "its numbers are not those of bitsandbytes");
  }
  if (nested) {
    if (whole(state, "nested_blocksize") != kNested) {
      fail(state_name, fmt::format("nested blocks of {} scales, where blocks of {} are read",
                                   whole(state, "nested_blocksize"), kNested));
    }
    if (!state.contains("nested_offset") || !state["nested_offset"].is_number()) {
      fail(state_name, "it has no nested_offset");
    }
    means_[name] = state["nested_offset"].get<float>();
    const block8::Book book = block8::books()[0];
    if (!equal_bits(floats(entry.beside["nested_quant_map"], block8::kCodes), book.values)) {
      fail(entry.beside["nested_quant_map"], "its numbers are not those of bitsandbytes");
    }
  }
  entries_[name] = std::move(entry);
}

void PackedTensors::check_matrix(const std::string& name, const StoredTensor& t) const {
  if (t.shape.size() != 2 || t.elements() == 0) {
    fail(name,
         fmt::format("its shape is {}, where it has rows and columns", Shape(t.shape).text()));
  }
}

void PackedTensors::add_int8(const std::string& name) {
  const StoredTensor& t = *files_.find(name)->tensor;
  check_matrix(name, t);
  Entry entry{DType::i8_rows, Shape(t.shape), {{"scales", module_of(name) + ".SCB"}}};
  const std::string format = module_of(name) + ".weight_format";
  if (const auto found = files_.find(format)) {
    const auto bytes = found->file->raw(*found->tensor);
    if (bytes.empty() || bytes[0] != std::byte{0}) {
      fail(format, "rows are not in their order");
    }
    entry.beside["format"] = format;
  }
  entries_[name] = std::move(entry);
}

void PackedTensors::add_float8(const std::string& name) {
  const StoredTensor& t = *files_.find(name)->tensor;
  const std::string scales = name + "_scale_inv";
  const StoredTensor& s = *files_.find(scales)->tensor;
  check_matrix(name, t);
  const std::vector<int64_t> tiles{scale_tiles(t.shape[0]), scale_tiles(t.shape[1])};
  // A scale for all of it is one for each row.
  if (s.shape != tiles && s.elements() != 1) {
    fail(scales, fmt::format("its shape is {}, where {} has a scale for each {} x {}",
                             Shape(s.shape).text(), Shape(tiles).text(), kScaleTile, kScaleTile));
  }
  Entry entry{s.shape == tiles ? DType::f8_blocks : DType::f8_rows, Shape(t.shape), {}};
  entry.beside = {{"scales", scales}};
  for (const char* what : {"activation_scale", "input_scale"}) {
    const std::string other = fmt::format("{}.{}", module_of(name), what);
    if (files_.find(other)) {
      entry.beside[what] = other;
    }
  }
  entries_[name] = std::move(entry);
}

// Codes (experts, out, in / 32, 16) and exponents (experts, out, in / 32) of a tensor (experts, in,
// out).
void PackedTensors::add_mxfp4(const std::string& name) {
  const StoredTensor& codes = *files_.find(name)->tensor;
  const std::string exponents = exponents_of(name);
  const StoredTensor& e = *files_.find(exponents)->tensor;
  if (codes.dtype != "U8" || codes.shape.size() != 4 || codes.shape[3] != kMxfp4Block / 2) {
    fail(name, fmt::format("its type is {} and its shape {}, where blocks of {} bytes are U8 in 4 "
                           "dimensions",
                           codes.dtype, fmt::join(codes.shape, " x "), kMxfp4Block / 2));
  }
  if (e.dtype != "U8" || !std::ranges::equal(e.shape, std::span(codes.shape).first(3))) {
    fail(exponents,
         fmt::format("its type is {} and its shape {}, where {} has a byte for each block", e.dtype,
                     fmt::join(e.shape, " x "), name));
  }
  entries_[name] = {DType::mxfp4,
                    {codes.shape[0], codes.shape[2] * kMxfp4Block, codes.shape[1]},
                    {{"scales", exponents}}};
}

void PackedTensors::read(const std::string& name, Tensor& packed) const {
  const Entry& entry = *find(name);
  SFT_ASSERT(packed.dtype == entry.type && packed.shape == entry.shape);
  auto* const to = packed.as<std::byte>();
  std::fill_n(to, packed.bytes(), std::byte{0});
  const int64_t count = entry.shape.elements();
  if (entry.type == DType::mxfp4) {
    copy_bytes(name, count / 2, to);
    return copy_bytes(entry.beside.at("scales"), count / kMxfp4Block,
                      to + scales_at(entry.type, entry.shape));
  }
  const bool four_bit = packing_of(entry.type).values == kBlock;
  copy_bytes(name, four_bit ? (count + 1) / 2 : count, to);
  std::byte* const behind = to + scales_at(entry.type, entry.shape);
  const auto put = [&](const std::vector<float>& values, std::byte* where) {
    std::memcpy(where, values.data(), values.size() * sizeof(float));
  };
  const int64_t blocks = (count + kBlock - 1) / kBlock;
  switch (entry.type) {
    case DType::nf4:
    case DType::fp4:
      return put(floats(entry.beside.at("absmax"), blocks), behind);
    case DType::nf4_nested:
    case DType::fp4_nested: {
      copy_bytes(entry.beside.at("absmax"), blocks, behind);
      std::vector<float> outer =
          floats(entry.beside.at("nested_absmax"), (blocks + kNested - 1) / kNested);
      outer.push_back(means_.at(name));
      return put(outer, behind + (blocks + 3) / 4 * 4);
    }
    case DType::f8_rows: {
      const float scale = floats(entry.beside.at("scales"), 1)[0];
      return put(std::vector<float>(static_cast<size_t>(entry.shape[0]), scale), behind);
    }
    case DType::f8_blocks:
      return put(floats(entry.beside.at("scales"),
                        scale_tiles(entry.shape[0]) * scale_tiles(entry.shape[1])),
                 behind);
    default:
      return put(floats(entry.beside.at("scales"), entry.shape[0]), behind);
  }
}

void PackedTensors::read_f32(const std::string& name, ElementRange part, float* destination,
                             ThreadPool* pool) const {
  std::shared_ptr<const Held> held;
  {
    const std::lock_guard lock(reading_);
    if (held_ == nullptr || held_->name != name) {
      const Entry& entry = *find(name);
      auto fresh = std::make_shared<Held>();
      fresh->name = name;
      fresh->bytes.resize(bytes_of(entry.type, entry.shape));
      fresh->tensor = {fresh->bytes.data(), entry.shape, entry.type};
      read(name, fresh->tensor);
      held_ = fresh;
    }
    held = held_;
  }
  constexpr int64_t kGrain = int64_t{1} << 16;
  split_work(pool, part.size(), kGrain, [&](int64_t begin, int64_t end) {
    decode(held->tensor, part.begin + begin, part.begin + end, destination + begin);
  });
}

}  // namespace sft
