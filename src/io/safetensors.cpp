#include "io/safetensors.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/lfs_pointer.h"
#include "formats/convert.h"
#include "io/safetensors_header.h"

namespace sft {

namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit

// Bits per element, by the format's names; 0 for a name we do not know.
uint64_t bits_of(std::string_view dtype) {
  static constexpr std::array<std::pair<std::string_view, uint64_t>, 21> kBits{
      {{"F64", 64},   {"I64", 64},        {"U64", 64},    {"C64", 64},    {"F32", 32},
       {"I32", 32},   {"U32", 32},        {"F16", 16},    {"BF16", 16},   {"I16", 16},
       {"U16", 16},   {"F8_E5M2", 8},     {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E5M2FNUZ", 8},
       {"I8", 8},     {"F8_E4M3FNUZ", 8}, {"U8", 8},      {"BOOL", 8},    {"F4", 4},
       {"F6_E2M3", 6}}};
  for (const auto& [name, bits] : kBits) {
    if (name == dtype) {
      return bits;
    }
  }
  return dtype == "F6_E3M2" ? 6 : 0;
}

// Product of the dimensions, or nothing when it does not fit into 62 bits.
std::optional<uint64_t> count_elements(const std::vector<int64_t>& shape) {
  uint64_t n = 1;
  for (const int64_t d : shape) {
    if (__builtin_mul_overflow(n, static_cast<uint64_t>(d), &n) || n > uint64_t{1} << 56) {
      return std::nullopt;
    }
  }
  return n;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

[[noreturn]] void fail_damaged(Code code, const fs::path& path, const std::string& what) {
  throw Error(code, fmt::format("{}: {}", path.string(), what))
      .hint("the file is damaged; fetch or write it again");
}

void check_size(const StoredTensor& t, const fs::path& path) {
  const uint64_t bits = bits_of(t.dtype);
  if (bits == 0) {
    fail_damaged("M207", path,
                 fmt::format("tensor \"{}\" has the unknown dtype \"{}\"", t.name, t.dtype));
  }
  const auto elements = count_elements(t.shape);
  if (!elements || (*elements * bits) % 8 != 0 || *elements * bits / 8 != t.end - t.begin) {
    fail_damaged("M204", path,
                 fmt::format("tensor \"{}\" of shape {} and dtype {} does not take the {} bytes "
                             "that the header gives it",
                             t.name, shape_text(t.shape), t.dtype, t.end - t.begin));
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const fs::path& path) : file_(path) {
  refuse_lfs_pointer(kPointerForModel, path, file_.text());
  const uint64_t size = file_.size();
  uint64_t header_bytes = 0;
  if (size >= 8) {
    std::memcpy(&header_bytes, file_.data(), 8);
  }
  if (size < 8) {
    throw Error("M200", fmt::format("{} is cut short: {} bytes found, where a safetensors file "
                                    "begins with 8 bytes for the size of its header",
                                    path.string(), size))
        .hint("fetch or write the file again");
  }
  if (header_bytes > kMaxHeader) {
    throw Error("M206", fmt::format("{} is not a safetensors file: its header would take {} bytes, "
                                    "more than the format's {}",
                                    path.string(), header_bytes, kMaxHeader))
        .hint("the file is damaged, or of another format; fetch it again");
  }
  if (header_bytes > size - 8) {
    throw Error("M200", fmt::format("{} is cut short: its header needs {} bytes, the file has {}",
                                    path.string(), header_bytes + 8, size))
        .hint("fetch or write the file again");
  }
  data_start_ = 8 + header_bytes;
  SafetensorsHeader header =
      parse_safetensors_header(file_.text().substr(8, header_bytes), path.string());
  tensors_ = std::move(header.tensors);
  metadata_ = std::move(header.metadata);
  std::stable_sort(tensors_.begin(), tensors_.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_layout();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    by_name_.emplace(tensors_[i].name, i);
  }
}

// The tensors must fill the data section without overlaps, holes or left-over bytes, as the
// reference implementation demands: anything else is a header that was tampered with or cut.
void SafetensorsFile::check_layout() const {
  uint64_t expected = 0;
  for (const StoredTensor& t : tensors_) {
    check_size(t, path());
    if (t.begin != expected) {
      fail_damaged("M205", path(),
                   fmt::format("tensor \"{}\" begins at byte {} of the data, where {} was expected",
                               t.name, t.begin, expected));
    }
    expected = t.end;
  }
  const uint64_t found = file_.size() - data_start_;
  if (found < expected) {
    throw Error("M200", fmt::format("{} is cut short: expected {} bytes, found {}", path().string(),
                                    data_start_ + expected, file_.size()))
        .hint("fetch or write the file again");
  }
  if (found > expected) {
    fail_damaged("M205", path(),
                 fmt::format("expected {} bytes, found {}: something stands after the last tensor",
                             data_start_ + expected, file_.size()));
  }
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

std::span<const std::byte> SafetensorsFile::raw(const StoredTensor& tensor) const {
  return file_.bytes().subspan(data_start_ + tensor.begin, tensor.end - tensor.begin);
}

namespace {

// Pages of a mapped file that have been read count as memory of this process until they are let go.
void let_go(std::span<const std::byte> bytes) {
  constexpr uintptr_t kPage = 4096;
  const auto begin = (reinterpret_cast<uintptr_t>(bytes.data()) + kPage - 1) / kPage * kPage;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size()) / kPage * kPage;
  if (begin < end) {
    ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
}

}  // namespace

void SafetensorsFile::read_f32(const StoredTensor& tensor, ElementRange part, float* destination,
                               ThreadPool* pool) const {
  const auto dtype = parse_dtype(tensor.dtype);
  if (!dtype || !is_weight_dtype(*dtype)) {
    throw Error("M246", fmt::format("tensor \"{}\" is stored as {}, expected F32, F16 or BF16",
                                    tensor.name, tensor.dtype))
        .at(path().string())
        .hint("use the model's unquantised weights");
  }
  const size_t width = size_of(*dtype);
  const auto bytes = raw(tensor).subspan(static_cast<size_t>(part.begin) * width,
                                         static_cast<size_t>(part.size()) * width);
  convert_to_f32(*dtype, bytes.data(), part.size(), destination, pool);
  let_go(bytes);
}

}  // namespace sft
