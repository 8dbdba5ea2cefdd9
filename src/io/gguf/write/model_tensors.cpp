#include "io/gguf/write/model_tensors.h"

#include <algorithm>
#include <map>
#include <memory>

#include "core/json_text.h"
#include "formats/mxfp4.h"
#include "io/gguf/arrangement.h"
#include "io/gguf/names.h"
#include "io/gguf/write/rope_keys.h"
#include "io/joined_experts.h"
#include "io/model_files.h"
#include "model/model.h"

namespace sft {

namespace {

// Lives as long as the outputs that it has made.
class Planner : public std::enable_shared_from_this<Planner> {
 public:
  Planner(const ModelSource& source, const GgufFamily& family)
      : source_(source), model_(Model::from_config(source.config())), family_(family) {}

  std::vector<GgufOutput> tensors(const GgufMix& mix) {
    add_rope_factors();
    const std::map<std::string, Shape> wanted = published();
    const std::vector<std::string> names = in_order(wanted);
    for (const std::string& name : names) {
      if (is_mxfp4(name)) {
        add_mxfp4(name, wanted.at(name));
      }
    }
    for (const std::string& name : names) {
      if (!is_mxfp4(name)) {
        add(name, wanted.at(name));
      }
    }
    if (mix.quantiser) {
      std::ranges::sort(all_, quantiser_order, &GgufOutput::name);
    }
    std::vector<GgufTensorPlace> places;
    for (const GgufOutput& t : all_) {
      places.push_back({t.name, t.shape});
    }
    const auto types = gguf_types(mix, facts(), places);
    for (size_t i = 0; i < all_.size(); ++i) {
      all_[i].type = all_[i].copy ? all_[i].type : types[i];
    }
    return std::move(all_);
  }

 private:
  GgufModelFacts facts() const {
    const ModelConfig& c = model_.config;
    const std::string_view arch = family_.architecture;
    constexpr int kLayersOf70b = 80;
    return {
        c.layers,
        std::ranges::none_of(all_, [](const auto& t) { return t.name == "output.weight"; }),
        c.layers == kLayersOf70b && ((arch == "llama" && c.heads != c.kv_heads) || arch == "qwen2"),
        c.routing.experts};
  }

  // The tensors that the family has, by their published names.
  std::map<std::string, Shape> published() const {
    std::map<std::string, Shape> shapes;
    for (const ParamSpec* const spec : model_.parameters()) {
      for (const ParamPiece& piece : spec->pieces) {
        const Shape shape = spec->shape_of(piece);
        shapes.emplace(piece.name, shape);
        source_.require(piece.name, shape);
      }
    }
    if (model_.config.tied) {
      shapes.erase(kHeadWeight);
    }
    return shapes;
  }

  // As the converter meets them: file by file, by name.
  std::vector<std::string> in_order(const std::map<std::string, Shape>& wanted) const {
    std::map<std::string, std::string> files;
    const Json index = json_of(source_.file_text(kWeightsIndex).value_or("{}"));
    if (index.is_object() && index.contains("weight_map") && index["weight_map"].is_object()) {
      for (const auto& [name, file] : index["weight_map"].items()) {
        files[name] = file.is_string() ? file.get<std::string>() : "";
      }
    }
    std::vector<std::string> names;
    for (const auto& [name, shape] : wanted) {
      names.push_back(name);
    }
    std::ranges::stable_sort(names, {}, [&](const std::string& name) {
      auto it = files.find(name);
      if (const auto joined = expert_place(name); joined && it == files.end()) {
        it = files.find(joined->tensor);
      }
      return it == files.end() ? std::string() : it->second;
    });
    return names;
  }

  void add_vector(const char* name, const std::vector<float>& values) {
    all_.push_back({name,
                    {static_cast<int64_t>(values.size())},
                    nullptr,
                    [values](int64_t, int64_t, float* into) { std::ranges::copy(values, into); }});
  }

  void add_rope_factors() {
    const Json rope = rope_of(source_.config());
    if (family_.rope_divisors) {
      const auto divisors = llama3_divisors(source_.config(), model_.config.head_dim);
      if (!divisors.empty()) {
        add_vector("rope_freqs.weight", divisors);
      }
    } else if (family_.is("gemma4_text")) {
      constexpr float kStands = 1e30F;  // divides a frequency until nothing is left of it
      std::vector<float> divisors;
      for (const float frequency : model_.config.ropes[0].inv_freq) {
        divisors.push_back(frequency > 0 ? 1.0F : kStands);
      }
      add_vector("rope_freqs.weight", divisors);
    } else if (family_.is("phi3") && rope.contains("long_factor")) {
      add_vector("rope_factors_long.weight", rope["long_factor"].get<std::vector<float>>());
      add_vector("rope_factors_short.weight", rope["short_factor"].get<std::vector<float>>());
    }
  }

  void add(const std::string& name, const Shape& shape) {
    const std::vector<GgufPlace> places = gguf_places(family_, name);
    if (places[0].expert >= 0) {
      return add_expert(name, shape, places[0]);
    }
    if (places.size() > 1 && places[0].turns == 1) {
      const int64_t first = arrangement_of(family_, source_.config(), name, shape[0]).first_rows;
      all_.push_back(matrix(name, shape, places[0].tensor, {0, first}));
      all_.push_back(matrix(name, shape, places[1].tensor, {first, shape[0]}));
      return;
    }
    for (const GgufPlace& place : places) {
      all_.push_back(place.turned       ? turned(name, shape, place)
                     : place.turns > 1  ? every(name, shape, place)
                     : shape.rank() > 1 ? matrix(name, shape, place.tensor, {0, shape[0]})
                                        : vector(name, shape, place.tensor));
    }
  }

  // All of a layer's experts are three tensors of the file, or two, which stand where the last one
  // is met.
  void add_expert(const std::string& name, const Shape& shape, const GgufPlace& place) {
    const int64_t count = model_.config.routing.experts;
    const std::string layer = place.tensor.substr(0, place.tensor.rfind(".ffn_"));
    auto& matrices = experts_[layer];
    const std::string kind =
        place.parts > 1 ? ".gate_up"
                        : name.substr(name.rfind('.', name.size() - 8));  // ".up_proj.weight"
    Experts& experts = matrices[kind];
    experts.tensor = place.tensor;
    experts.shape = shape;
    experts.parts = place.parts;
    experts.names.resize(static_cast<size_t>(count * place.parts));
    experts.names[static_cast<size_t>(place.expert * place.parts + place.part)] = name;
    if (++experts_seen_[layer] < 3 * count) {
      return;
    }
    for (const auto& [ignored, e] : matrices) {
      const int64_t rows = e.shape[0], width = e.shape[1];
      all_.push_back({e.tensor,
                      {count, e.parts * rows, width},
                      nullptr,
                      [self = shared_from_this(), names = e.names, rows, width](
                          int64_t begin, int64_t end, float* into) {
                        for (int64_t row = begin; row < end;) {
                          const int64_t first = row % rows;
                          const int64_t n = std::min(end - row, rows - first);
                          self->source_.read_f32(names[static_cast<size_t>(row / rows)],
                                                 {first * width, (first + n) * width},
                                                 into + (row - begin) * width);
                          row += n;
                        }
                      }});
    }
    experts_.erase(layer);
  }

  bool in_halves() const { return source_.stored_dtype() == DType::f16; }

  GgufOutput vector(const std::string& name, const Shape& shape, const std::string& tensor) {
    const int64_t n = shape[0];
    const Arrangement order = arrangement_of(family_, source_.config(), name, n);
    return {tensor,
            {n},
            nullptr,
            [self = shared_from_this(), name, n, order](int64_t, int64_t, float* into) {
              std::vector<float> values(static_cast<size_t>(n));
              self->source_.read_f32(name, {0, n}, values.data());
              for (int64_t i = 0; i < n; ++i) {
                into[i] = values[static_cast<size_t>(order.rows.published(i))];
              }
              to_stored(order.value, self->in_halves(), {into, static_cast<size_t>(n)});
            }};
  }

  // Of the rows as they are stored those of `part`. A convolution's filters are published in three
  // dimensions, the middle one of 1.
  GgufOutput matrix(const std::string& name, const Shape& shape, const std::string& tensor,
                    ElementRange part) {
    const int64_t rows = shape[0], width = shape.elements() / rows;
    const Arrangement order = arrangement_of(family_, source_.config(), name, rows);
    return {tensor,
            {part.size(), width},
            nullptr,
            [self = shared_from_this(), name, width, order, first = part.begin](
                int64_t begin, int64_t end, float* into) {
              self->read_rows(name, width, order, first + begin, first + end, into);
            }};
  }

  // Rows that follow each other in both are read together.
  void read_rows(const std::string& name, int64_t width, const Arrangement& order, int64_t begin,
                 int64_t end, float* into) const {
    for (int64_t row = begin; row < end;) {
      const int64_t from = order.rows.published(row);
      int64_t n = order.rows.any() ? 1 : end - row;
      while (row + n < end && order.rows.published(row + n) == from + n) {
        ++n;
      }
      source_.read_f32(name, {from * width, (from + n) * width}, into + (row - begin) * width);
      row += n;
    }
    std::vector<float> one(static_cast<size_t>(order.columns.any() ? width : 0));
    for (int64_t row = 0; row < end - begin && !one.empty(); ++row) {
      float* const values = into + row * width;
      std::copy_n(values, width, one.data());
      for (int64_t i = 0; i < width; ++i) {
        values[i] = one[static_cast<size_t>(order.columns.published(i))];
      }
    }
  }

  // The bias (experts, turns * n) of which a tensor has every so many-th column.
  GgufOutput every(const std::string& name, const Shape& shape, const GgufPlace& place) {
    const int64_t wide = shape[1], n = wide / place.turns;
    return {
        place.tensor,
        {shape[0], n},
        nullptr,
        [self = shared_from_this(), name, place, wide, n](int64_t begin, int64_t end, float* into) {
          std::vector<float> values(static_cast<size_t>((end - begin) * wide));
          self->source_.read_f32(name, {begin * wide, end * wide}, values.data());
          for (int64_t i = 0; i < (end - begin) * n; ++i) {
            into[i] = values[static_cast<size_t>(i * place.turns + place.turn)];
          }
        }};
  }

  // One expert's matrix (in, turns * out) at a time, turned over to (out, in).
  GgufOutput turned(const std::string& name, const Shape& shape, const GgufPlace& place) {
    const int64_t in = shape[1], wide = shape[2], out = wide / place.turns;
    return {place.tensor,
            {shape[0], out, in},
            nullptr,
            [self = shared_from_this(), name, place, in, wide, out](int64_t begin, int64_t end,
                                                                    float* into) {
              std::vector<float> values(static_cast<size_t>(in * wide));
              for (int64_t e = begin / out; e < end / out; ++e) {
                self->source_.read_f32(name, {e * in * wide, (e + 1) * in * wide}, values.data());
                for (int64_t o = 0; o < out; ++o) {
                  for (int64_t i = 0; i < in; ++i) {
                    *into++ = values[static_cast<size_t>(i * wide + o * place.turns + place.turn)];
                  }
                }
              }
            },
            out};
  }

  bool is_mxfp4(const std::string& name) const { return source_.stored_type(name) == DType::mxfp4; }

  // What is published in MXFP4 stays in it, whatever the rest becomes.
  void add_mxfp4(const std::string& name, const Shape& shape) {
    const int64_t in = shape[1], wide = shape[2];
    for (const GgufPlace& place : gguf_places(family_, name)) {
      const int64_t out = wide / place.turns;
      all_.push_back({place.tensor,
                      {shape[0], out, in},
                      find_gguf_type(DType::mxfp4),
                      {},
                      1,
                      [self = shared_from_this(), name, shape, place, in](
                          int64_t begin, int64_t end, std::byte* into) {
                        self->copy_mxfp4(name, shape, place, in, begin, end, into);
                      }});
    }
  }

  void copy_mxfp4(const std::string& name, const Shape& shape, const GgufPlace& place, int64_t in,
                  int64_t begin, int64_t end, std::byte* into) {
    const Tensor packed = held(name, shape);
    const auto* const codes = packed.as<uint8_t>();
    const uint8_t* const exponents = codes + scales_at(packed.dtype, packed.shape);
    auto* block = reinterpret_cast<uint8_t*>(into);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = (row * place.turns + place.turn) * in / kMxfp4Block;
      for (int64_t i = 0; i < in / kMxfp4Block; ++i, block += kGgmlMxfp4Bytes) {
        *block = exponents[at + i];
        mxfp4_to_ggml(codes + (at + i) * (kMxfp4Block / 2), block + 1);
      }
    }
  }

  // The packed tensor that was read last is kept: two of the file's are made of it.
  Tensor held(const std::string& name, const Shape& shape) {
    Tensor packed{nullptr, shape, DType::mxfp4};
    const bool fresh = held_name_ != name;
    held_.resize(packed.bytes());
    packed.data = held_.data();
    if (fresh) {
      held_name_ = name;
      source_.read_packed(name, packed);
    }
    return packed;
  }

  struct Experts {
    std::string tensor;
    Shape shape;
    int64_t parts = 1;
    std::vector<std::string> names;  // by the expert's number, and its part
  };

  const ModelSource& source_;
  const Model model_;
  const GgufFamily& family_;
  std::vector<GgufOutput> all_;
  std::map<std::string, std::map<std::string, Experts>> experts_;  // by layer and published matrix
  std::map<std::string, int64_t> experts_seen_;                    // by layer
  std::string held_name_;
  std::vector<std::byte> held_;
};

}  // namespace

std::vector<GgufOutput> gguf_tensors(const ModelSource& source, const GgufFamily& family,
                                     const GgufMix& mix) {
  return std::make_shared<Planner>(source, family)->tensors(mix);
}

}  // namespace sft
