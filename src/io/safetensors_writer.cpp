#include "io/safetensors_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "core/error.h"
#include "core/json.h"
#include "core/strings.h"
#include "formats/convert.h"
#include "io/model_files.h"

namespace sft {

namespace {

constexpr int64_t kChunk = int64_t{1} << 20;  // elements converted at a time

DType stored_as(const StreamedTensor& tensor, DType dtype) {
  return tensor.dtype == DType::f32 && tensor.spelling.empty() ? dtype : tensor.dtype;
}

uint64_t stored_bytes(const StreamedTensor& tensor, DType dtype) {
  return static_cast<uint64_t>(tensor.shape.elements()) * size_of(stored_as(tensor, dtype));
}

std::string_view safetensors_name(DType t) {
  switch (t) {
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::i32:
      return "I32";
    case DType::i64:
      return "I64";
    case DType::u8:
      return "U8";
    default:
      break;  // packed formats are no types of safetensors
  }
  return "";
}

// The header, padded with spaces so that the data begins at a multiple of eight.
std::string make_header(std::span<const StreamedTensor> tensors, DType dtype) {
  std::string json = R"({"__metadata__":{"format":"pt"})";
  uint64_t offset = 0;
  for (const StreamedTensor& t : tensors) {
    const uint64_t end = offset + stored_bytes(t, dtype);
    json +=
        fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", to_text(t.name),
                    t.spelling.empty() ? safetensors_name(stored_as(t, dtype)) : t.spelling,
                    t.spelled_shape.empty() ? fmt::format("{}", fmt::join(t.shape.dims(), ","))
                                            : fmt::format("{}", fmt::join(t.spelled_shape, ",")),
                    offset, end);
    offset = end;
  }
  json += "}";
  json.append((8 - json.size() % 8) % 8, ' ');
  return json;
}

// A part of a tensor on its way into a file.
struct Piece {
  const StreamedTensor* tensor = nullptr;
  int64_t begin = 0, count = 0;  // elements
};

// What a piece passes through.
struct Buffers {
  std::vector<std::byte> filled, converted;
};

std::vector<Piece> pieces_of(std::span<const StreamedTensor> tensors) {
  std::vector<Piece> pieces;
  for (const StreamedTensor& tensor : tensors) {
    const int64_t n = tensor.shape.elements();
    for (int64_t i = 0; i < n; i += kChunk) {
      pieces.push_back({&tensor, i, std::min(kChunk, n - i)});
    }
  }
  return pieces;
}

// The piece's bytes as they are stored.
std::span<const std::byte> make_piece(const Piece& piece, DType dtype, Buffers& buffers,
                                      ThreadPool* pool) {
  const StreamedTensor& tensor = *piece.tensor;
  const size_t width = size_of(tensor.dtype);
  const auto count = static_cast<size_t>(piece.count);
  buffers.filled.resize(count * width);
  tensor.fill(static_cast<uint64_t>(piece.begin) * width, buffers.filled);
  const DType stored = stored_as(tensor, dtype);
  if (stored == tensor.dtype) {
    return buffers.filled;
  }
  buffers.converted.resize(count * size_of(stored));
  convert_from_f32(stored, reinterpret_cast<const float*>(buffers.filled.data()), piece.count,
                   buffers.converted.data(), pool);
  return buffers.converted;
}

// Begins to make a large piece on another thread, so that it is ready when the one before has been
// written; a small one is made when it is asked for.
std::future<std::span<const std::byte>> begin_piece(const Piece& piece, DType dtype,
                                                    Buffers& buffers, ThreadPool* pool) {
  const auto make = [&piece, dtype, &buffers, pool] {
    return make_piece(piece, dtype, buffers, pool);
  };
  if (piece.count >= kChunk / 4) {
    try {
      return std::async(std::launch::async, make);
    } catch (const std::system_error&) {  // the system gives no thread
    }
  }
  return std::async(std::launch::deferred, make);
}

std::unique_ptr<CountingWriter> write_uncommitted(const fs::path& path,
                                                  std::span<const StreamedTensor> tensors,
                                                  DType dtype, ThreadPool* pool) {
  auto writer = std::make_unique<CountingWriter>(path);
  const std::string header = make_header(tensors, dtype);
  const uint64_t bytes = header.size();
  writer->write(&bytes, 8);
  writer->write(header);
  const std::vector<Piece> pieces = pieces_of(tensors);
  std::array<Buffers, 2> buffers;  // of the piece being written and of the next
  std::future<std::span<const std::byte>> next;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const std::span<const std::byte> made =
        i == 0 ? make_piece(pieces[0], dtype, buffers[0], pool) : next.get();
    if (i + 1 < pieces.size()) {
      next = begin_piece(pieces[i + 1], dtype, buffers[(i + 1) % 2], pool);
    }
    writer->write(made.data(), made.size());
  }
  return writer;
}

// The tensors in their order, cut where the next one would not fit any more.
std::vector<std::span<const StreamedTensor>> cut_shards(std::span<const StreamedTensor> tensors,
                                                        DType dtype, uint64_t max_bytes) {
  std::vector<std::span<const StreamedTensor>> shards;
  size_t begin = 0;
  uint64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const uint64_t size = stored_bytes(tensors[i], dtype);
    if (i > begin && bytes + size > max_bytes) {
      shards.push_back(tensors.subspan(begin, i - begin));
      begin = i;
      bytes = 0;
    }
    bytes += size;
  }
  shards.push_back(tensors.subspan(begin));
  return shards;
}

std::string make_index(const std::vector<std::span<const StreamedTensor>>& shards,
                       const std::vector<std::string>& files, DType dtype) {
  nlohmann::json map = nlohmann::json::object();  // sorted by name, as transformers writes it
  uint64_t size = 0;
  int64_t parameters = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const StreamedTensor& t : shards[i]) {
      map[t.name] = files[i];
      size += stored_bytes(t, dtype);
      parameters += t.shape.elements();
    }
  }
  const nlohmann::json index{{"metadata", {{"total_parameters", parameters}, {"total_size", size}}},
                             {"weight_map", std::move(map)}};
  return index.dump(2) + "\n";
}

bool is_weight_file(const std::string& name) {
  const bool shard = name.starts_with("model-") && name.find("-of-") != std::string::npos;
  return name == kWeights || name == kWeightsIndex || (shard && name.ends_with(".safetensors"));
}

void remove_other_weights(const fs::path& folder, const std::set<std::string>& keep) {
  std::error_code ignored;
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (is_weight_file(name) && !keep.contains(name)) {
      stale.push_back(entry.path());
    }
  }
  for (const fs::path& path : stale) {
    fs::remove(path, ignored);
  }
}

}  // namespace

std::vector<StreamedTensor> streamed(std::span<const NamedTensor> tensors) {
  std::vector<StreamedTensor> out;
  for (const NamedTensor& t : tensors) {
    out.push_back(
        {t.name, t.tensor.dtype, t.tensor.shape,
         [data = t.tensor.as<const std::byte>()](uint64_t begin, std::span<std::byte> into) {
           std::memcpy(into.data(), data + begin, into.size());
         }});
  }
  return out;
}

StreamedTensor widened(const StreamedTensor& tensor) {
  return {tensor.name, DType::f32, tensor.shape,
          [tensor, narrow = std::vector<std::byte>()](uint64_t begin,
                                                      std::span<std::byte> into) mutable {
            const size_t width = size_of(tensor.dtype);
            const size_t n = into.size() / sizeof(float);
            narrow.resize(n * width);
            tensor.fill(begin / sizeof(float) * width, narrow);
            convert_to_f32(tensor.dtype, narrow.data(), static_cast<int64_t>(n),
                           reinterpret_cast<float*>(into.data()), nullptr);
          }};
}

WrittenFile write_safetensors(const fs::path& path, std::span<const StreamedTensor> tensors,
                              DType dtype, ThreadPool* pool) {
  SFT_ASSERT(is_weight_dtype(dtype));
  return write_uncommitted(path, tensors, dtype, pool)->commit();
}

std::vector<WrittenFile> write_safetensors_shards(const fs::path& folder,
                                                  std::span<const StreamedTensor> tensors,
                                                  DType dtype, uint64_t max_shard_bytes,
                                                  ThreadPool* pool) {
  SFT_ASSERT(is_weight_dtype(dtype));
  const auto shards = cut_shards(tensors, dtype, max_shard_bytes);
  std::vector<std::string> names;
  for (size_t i = 0; i < shards.size(); ++i) {
    names.push_back(shards.size() == 1
                        ? kWeights
                        : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()));
  }
  std::vector<std::unique_ptr<CountingWriter>> writers;
  for (size_t i = 0; i < shards.size(); ++i) {
    writers.push_back(write_uncommitted(folder / names[i], shards[i], dtype, pool));
  }
  if (shards.size() > 1) {
    names.emplace_back(kWeightsIndex);
    writers.push_back(std::make_unique<CountingWriter>(folder / names.back()));
    writers.back()->write(make_index(shards, names, dtype));
  }
  std::vector<WrittenFile> written;
  for (auto& writer : writers) {
    written.push_back(writer->commit());
  }
  remove_other_weights(folder, {names.begin(), names.end()});
  return written;
}

uint64_t parse_byte_size(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 10> kUnits{{{"", 1},
                                                                               {"B", 1},
                                                                               {"KB", 1e3},
                                                                               {"MB", 1e6},
                                                                               {"GB", 1e9},
                                                                               {"TB", 1e12},
                                                                               {"KIB", 0x1p10},
                                                                               {"MIB", 0x1p20},
                                                                               {"GIB", 0x1p30},
                                                                               {"TIB", 0x1p40}}};
  const std::string lower = to_lower(trim(text));
  double number = 0;
  const auto [rest, status] = std::from_chars(lower.data(), lower.data() + lower.size(), number);
  const std::string_view unit =
      trim(std::string_view(rest, static_cast<size_t>(lower.data() + lower.size() - rest)));
  if (status == std::errc() && std::isfinite(number)) {
    for (const auto& [name, factor] : kUnits) {
      if (to_lower(name) == unit && number * factor >= 1 && number * factor < 0x1p62) {
        return static_cast<uint64_t>(number * factor);
      }
    }
  }
  throw Error("C090", fmt::format("\"{}\" is not a size", text))
      .hint("write it like 5GB, 500MB or 2GiB");
}

}  // namespace sft
