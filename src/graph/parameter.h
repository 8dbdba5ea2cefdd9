// What a model's parameters are: one list per model, written by its family, that loading, saving,
// the optimizer, initialisation and the program all walk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace sft {

// A tensor of the published model that makes up `rows` rows of a parameter of ours.
struct ParamPiece {
  std::string name;  // Hugging Face's name
  int64_t rows;
  std::optional<DType> stored{};  // of one that is kept in another type than its parameter
};

enum class Init { normal, ones, zeros };

// Matrices of linear layers and their magnitudes (DoRA), the filters of convolutions, the rates at
// which states decay, attention sinks and a router's scales do decay, as transformers'
// decay_parameters decides; norms, magnitudes, rates, sinks, scales and tables are read in float32
// always. A table is what a router keeps beside its matrix and never trains.
enum class ParamKind { matrix, bias, norm, magnitude, filter, rate, sink, scale, table };
inline bool in_float32(ParamKind kind) {
  return kind != ParamKind::matrix && kind != ParamKind::bias && kind != ParamKind::filter;
}

struct ParamSpec {
  std::string name;  // ours; equal to Hugging Face's where there is one piece
  Shape shape;       // (out, in) or (n)
  std::vector<ParamPiece> pieces;
  int block = 0;  // bucket: 0 embeddings, 1..layers the blocks, layers + 1 what follows
  ParamKind kind = ParamKind::matrix;
  Init init = Init::normal;
  bool words = false;  // its rows are looked up: an embedding where it is published
  // False: it has no gradient, no optimizer state, and no place in checkpoints.
  bool trained = true;
  // How a frozen parameter is kept, which is what programs read; none: in their compute type, norms
  // in float32. (Trained ones are all alike: LoadedModel::weight_type.)
  std::optional<DType> stored{};

  Shape shape_of(const ParamPiece& piece) const;
};

// The type that programs computing in `compute` read a parameter in.
inline DType read_type(const ParamSpec& spec, DType compute) {
  if (!spec.trained && spec.stored) {
    return *spec.stored;
  }
  return in_float32(spec.kind) ? DType::f32 : compute;
}

inline bool decays(const ParamSpec& spec) {
  return spec.kind != ParamKind::bias && spec.kind != ParamKind::norm &&
         spec.kind != ParamKind::table;
}

// Elements of the flat buffers are handled in tiles of so many: every parameter starts at a
// multiple of it, and so do the shards of ZeRO.
constexpr int64_t kTile = 256;

// A stretch of the flat buffers, in elements.
struct ElementRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

// Where each parameter lies in one flat buffer: contiguous by block, each at a whole tile. Units
// are elements for trained parameters and bytes for frozen ones, which differ in type.
struct ParamLayout {
  std::vector<int64_t> offsets;        // per parameter
  std::vector<int64_t> block_offsets;  // per block, and the end
  int64_t elements = 0;                // of all, padding included
};
// In elements. `specs` are in the order of their blocks, of which there are `blocks` (0: up to the
// last one's).
ParamLayout layout_parameters(const std::vector<ParamSpec>& specs, int blocks = 0);
// In bytes, of parameters as programs that compute in `compute` read them.
ParamLayout layout_frozen(const std::vector<ParamSpec>& specs, int blocks, DType compute);

// The published tensors as views into a flat buffer of `type` laid out as above.
std::vector<NamedTensor> named_tensors(const std::vector<ParamSpec>& specs,
                                       const ParamLayout& layout, void* base,
                                       DType type = DType::f32);

// The number of values (padding between parameters not counted).
int64_t count_parameters(const std::vector<ParamSpec>& specs);

}  // namespace sft
