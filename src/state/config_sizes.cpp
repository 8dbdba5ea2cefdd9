#include "state/config_sizes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"

namespace sft {

namespace {

constexpr std::string_view kLayer = "model.layers.";

// The layers that names tell: one more than the largest number; 0 when there is none.
int64_t layers_in(const std::vector<std::string>& names) {
  int64_t layers = 0;
  for (const std::string& name : names) {
    int64_t layer = -1;
    if (name.starts_with(kLayer)) {
      const char* const end = name.data() + name.size();
      const auto [rest, status] = std::from_chars(name.data() + kLayer.size(), end, layer);
      if (status == std::errc() && rest != end && *rest == '.' && layer >= 0 &&
          layer < kMostCount) {
        layers = std::max(layers, layer + 1);
      }
    }
  }
  return layers;
}

class SizeCheck {
 public:
  SizeCheck(const ModelSource& source, const ModelConfig& config)
      : source_(source), config_(config) {}

  void check() const {
    same("vocab_size", config_.vocab, rows("model.embed_tokens.weight"));
    same("hidden_size", config_.hidden, columns("model.embed_tokens.weight"));
    check_layers();
    if (config_.layer.front().experts) {
      check_experts();
    } else {
      same("intermediate_size", config_.wide(0), wide());
    }
    check_heads();
  }

 private:
  static std::string part(std::string_view name, int64_t layer = 0) {
    return fmt::format("{}{}.{}", kLayer, layer, name);
  }
  // The first layer with attention.
  int attention_layer() const {
    const auto first =
        std::ranges::find(config_.layer, Mixer::attention, &ModelConfig::Layer::mixer);
    return static_cast<int>(first - config_.layer.begin());
  }
  std::string attention_part(std::string_view name) const {
    return part(fmt::format("self_attn.{}.weight", name), attention_layer());
  }

  // The size of a tensor there; 0 when it is missing or no such thing, which is told later with its
  // name.
  int64_t rows(const std::string& name) const {
    const Shape shape = source_.has(name) ? source_.shape(name) : Shape{};
    return shape.rank() == 0 ? 0 : shape.dims().front();
  }
  int64_t columns(const std::string& name) const {
    const Shape shape = source_.has(name) ? source_.shape(name) : Shape{};
    return shape.rank() < 2 ? 0 : shape.dims().back();
  }

  // The middle one of three.
  int64_t inner(const std::string& name) const {
    const Shape shape = source_.has(name) ? source_.shape(name) : Shape{};
    return shape.rank() == 3 ? shape[1] : 0;
  }

  void same(const char* field, int64_t said, int64_t found, const std::string& note = "") const {
    if (found != 0 && found != said) {
      fail(field, said, fmt::format("{}{}", found, note));
    }
  }

  [[noreturn]] void fail(const char* field, int64_t said, const std::string& found) const {
    // What a family makes of the field is told beside what stands there.
    const Json& config = source_.config();
    const auto given = config.contains(field) ? json_whole(config[field], 0, kMostCount)
                                              : std::optional<int64_t>();
    const std::string is = given.value_or(said) == said
                               ? fmt::format("{}", said)
                               : fmt::format("{}, which makes {}", *given, said);
    throw Error("M258",
                fmt::format("config.json: \"{}\" is {}, the weights have {}", field, is, found))
        .at(source_.path().string())
        .hint("config.json and the weights are of different models: fetch both again");
  }

  void check_layers() const {
    const int64_t found = layers_in(source_.names());
    // Layers behind the last that guess further tokens are no part of the model (GLM-4.5).
    const auto guessing =
        json_whole(source_.config().value("num_nextn_predict_layers", Json(0)), 0, kMostCount);
    if (found > config_.layers && found <= config_.layers + guessing.value_or(0)) {
      return;
    }
    const bool asked_for = source_.overrides().contains("num_hidden_layers");
    if (config_.layers > found || !asked_for) {
      same("num_hidden_layers", config_.layers, found);
    }
  }

  // A query's rows are heads of head_dim, a key's kv_heads: the field that is wrong is the one
  // without which all of them fit.
  void check_heads() const {
    const Heads heads = config_.attention_heads(attention_layer());
    const int64_t dim = heads.head_dim;
    if (*config_.form.query_norm != '\0' && !config_.form.norms_heads_together) {
      same("head_dim", dim, rows(attention_part(config_.form.query_norm)));
    }
    const auto [q, k] = queries_and_keys();
    const bool queries_fit = q == 0 || q == config_.heads * dim;
    const bool keys_fit = k == 0 || k == heads.kv_heads * dim;
    if (!queries_fit && !keys_fit && q % config_.heads == 0 &&
        q / config_.heads * heads.kv_heads == k) {
      fail("head_dim", dim, fmt::format("{}", q / config_.heads));
    }
    if (!queries_fit) {
      fail("num_attention_heads", config_.heads, in_heads(q));
    }
    if (!keys_fit) {
      fail("num_key_value_heads", heads.kv_heads, in_heads(k));
    }
  }

  void check_experts() const {
    const std::string block = part(config_.form.experts_in);
    const auto named = [&](const char* field, const char* otherwise) {
      return source_.config().contains(field) ? field : otherwise;
    };
    same(named("n_routed_experts", named("num_local_experts", "num_experts")),
         config_.routing.experts, rows(fmt::format("{}{}.weight", block, config_.form.router)));
    const std::string first = fmt::format("{}experts.0.{}.weight", block, config_.form.expert_gate);
    same(named("moe_intermediate_size", "intermediate_size"), config_.expert_intermediate,
         config_.form.experts_as_one ? inner(block + "experts.down_proj") : rows(first));
  }

  // The rows of the MLP's first matrix, or of each of its halves.
  int64_t wide() const {
    if (*config_.form.up != '\0') {
      return rows(part(fmt::format("{}.{}.weight", config_.form.mlp, config_.form.up)));
    }
    if (config_.form.one_gate_up) {
      return rows(part(fmt::format("{}.gate_up_proj.weight", config_.form.mlp))) / 2;
    }
    return rows(part(fmt::format("{}.{}.weight", config_.form.mlp, config_.form.mlp_up)));
  }

  // The rows of queries, without their gates, and of keys. Where they are one tensor, the output
  // reads as many values as there are queries.
  std::pair<int64_t, int64_t> queries_and_keys() const {
    if (!config_.form.one_qkv) {
      return {rows(attention_part("q_proj")) / (config_.query_gates ? 2 : 1),
              rows(attention_part("k_proj"))};
    }
    const int64_t all = rows(attention_part("qkv_proj"));
    const int64_t q = columns(attention_part(config_.form.attention_output));
    return {q, all > q ? (all - q) / 2 : 0};
  }

  std::string in_heads(int64_t rows) const {
    const int64_t dim = config_.attention_heads(attention_layer()).head_dim;
    return rows % dim == 0 ? fmt::format("{} of head_dim {}", rows / dim, dim)
                           : fmt::format("{} rows, which are no heads of head_dim {}", rows, dim);
  }

  const ModelSource& source_;
  const ModelConfig& config_;
};

}  // namespace

void check_sizes(const ModelSource& source, const ModelConfig& config) {
  SizeCheck(source, config).check();
}

Model described_model(const ModelSource& source) {
  if (source.weights_are_here()) {
    check_sizes(source, read_model_config(source.config()));
  }
  return Model::from_config(source.config());
}

}  // namespace sft
