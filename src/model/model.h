// A model as its family describes it: configuration, parameters, and a forward pass that is
// recorded once. Knows nothing of devices, ranks, memory or files.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/json_fwd.h"
#include "graph/parameter.h"
#include "graph/program.h"
#include "ops/attributes.h"
#include "ops/lora.h"

namespace sft {

struct Linear;  // ops/linear.h

inline bool operator==(const Heads& a, const Heads& b) {
  return a.heads == b.heads && a.kv_heads == b.kv_heads && a.head_dim == b.head_dim;
}

// How a decoder layer is put together, and what its tensors are called. Llama's is the default.
struct LayerForm {
  // Its norms, "" where there is none: of what attention and MLP read, and of what they give.
  const char* attention_in = "input_layernorm";
  const char* attention_out = "";
  const char* mlp_in = "post_attention_layernorm";
  const char* mlp_out = "";
  bool parallel = false;    // the MLP reads what attention reads
  bool layer_norm = false;  // the norms are layer norms
  bool norm_bias = false;
  // Norms of queries and keys, "" where there are none; of each head or of all heads together.
  const char* query_norm = "";
  const char* key_norm = "";
  bool norms_heads_together = false;
  bool norms_after_rope = false;
  const char* attention_output = "o_proj";
  bool one_qkv = false;      // q, k and v are published as one tensor, qkv_proj
  bool one_gate_up = false;  // gate and up as gate_up_proj
  const char* mlp = "mlp";
  const char* up = "";  // an MLP without a gate: its first matrix; "": gated
  const char* down = "down_proj";
  // Of a gated one, where gate and up are published as two.
  const char* mlp_gate = "gate_proj";
  const char* mlp_up = "up_proj";
  const char* last_norm = "model.norm";
  // Of layers with experts: where transformers 5 has these in a layer, what the published names of
  // their tensors begin with, and end with.
  const char* experts_block = "mlp.";
  const char* experts_in = "mlp.";
  const char* router = "gate";
  bool router_is_linear = false;  // a linear layer; elsewhere a module of its own kind
  bool experts_first = false;     // they stand before the router where transformers declares them
  bool experts_as_one = false;  // a tensor holds all experts, (experts, in, out), biases beside it
  // Each expert's matrices were layers once, whose names adapters may still have (PEFT).
  bool experts_were_layers = true;
  const char* expert_gate = "gate_proj";
  const char* expert_up = "up_proj";
  const char* expert_down = "down_proj";
  const char* shared = "shared_experts";  // the module of one that all tokens go to
  const char* shared_gate = "";           // whose sigmoid its output is multiplied by; "": none
};

// What a layer lets tokens see each other with (model/mixers.h).
enum class Mixer { attention, gated_delta, short_conv };

struct ModelConfig {
  std::string architecture;  // "Qwen2ForCausalLM"
  int64_t vocab = 0, hidden = 0, intermediate = 0;
  int layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int max_positions = 0;
  bool tied = false;  // the head is the embedding table
  int64_t padding =
      -1;  // token whose embedding is not trained through the input, as in transformers
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  bool sinks = false;  // heads have attention sinks (ops/attention_sinks.h)
  float embedding_scale = 1.0F;
  float attention_scale = 1.0F;
  float residual_scale = 1.0F;  // of what attention and MLP add
  float logit_scale = 1.0F;
  float score_cap = 0.0F, logit_cap = 0.0F;  // soft caps of attention scores and logits; 0: none
  float initializer_range = 0.02F;
  Activation activation = Activation::silu;
  RmsNorm norm;
  // Each layer's attention window (0 = all) and which of `ropes` it uses (-1: none).
  struct Layer {
    Mixer mixer = Mixer::attention;
    int window = 0;
    int rope = 0;
    bool experts = false;  // in the place of an MLP (model/experts.h)
    // Its own sizes, where layers differ; 0: the model's.
    int kv_heads = 0, head_dim = 0;
    int64_t intermediate = 0;
    int shares = -1;               // it looks at the keys and values of this layer; -1: at its own
    bool values_are_keys = false;  // before the norm of keys
  };
  std::vector<Layer> layer;
  std::vector<RopeFrequencies> ropes;
  bool interleaved_rope = false;  // pairs are neighbours
  // Each query is published with a gate behind it, whose sigmoid the head's output is multiplied
  // by.
  bool query_gates = false;
  // What a layer gets of a token's word beside its hidden state (Gemma 4): so many values, of a
  // table with so many words and `layers_of_words` times as many values; 0: nothing.
  int64_t layer_word = 0, layer_words = 0;
  int layers_of_words = 0;
  DeltaHeads delta;   // of layers with the gated delta rule
  int conv_taps = 0;  // tokens that a convolution sees, oneself included
  bool conv_bias = false;
  LayerForm form;
  Routing routing;                  // without experts where the model has none
  int64_t expert_intermediate = 0;  // of each of them
  int64_t shared_intermediate = 0;  // of an expert that all tokens go to beside theirs; 0: none
  bool router_bias = false;
  std::optional<ClampedGlu> clamped;  // the experts' activation, in the place of `activation`
  // Of the routers' auxiliary loss in the loss; 0: it is not computed; none: there is no such loss.
  std::optional<float> balance_coefficient;
  // What training drops, as shares: of attention's weights, of what attention and MLPs add, and of
  // the embeddings.
  struct Drops {
    float attention = 0.0F, residual = 0.0F, embedding = 0.0F;
    bool any() const { return attention > 0.0F || residual > 0.0F || embedding > 0.0F; }
  };
  Drops drops;
  bool balances() const { return balance_coefficient.value_or(0.0F) > 0.0F; }

  const Layer& at(int index) const { return layer[static_cast<size_t>(index)]; }
  Heads attention_heads(int index) const {
    const Layer& own = at(index);
    return {heads, own.kv_heads > 0 ? own.kv_heads : kv_heads,
            own.head_dim > 0 ? own.head_dim : head_dim};
  }
  int64_t wide(int index) const {
    return at(index).intermediate > 0 ? at(index).intermediate : intermediate;
  }
};

// The program's inputs, one micro-batch flat: see the ops for their meaning.
struct ModelInputs {
  Value tokens, positions;  // (tokens) i32
  Value documents;          // the document_table; generating: 0 and the text's length, or null
  // The document_table of each layer's heads, one for all layers with equal ones; `documents` is
  // the first. Empty where texts go on from a cache.
  std::vector<Value> tables;
  int64_t longest = 0;  // no document has more tokens
  Value noise;          // (tokens, hidden) f32, added to the embeddings; null: none
  Value kept;           // (count) i32: rows that count after the last attention; null: all
  std::vector<std::vector<Value>> caches;  // of each layer when generating: see CacheSpec
  Value past;                              // (texts, 2) i32 when generating: see cached_attention
  Value lanes;  // (texts) i32 when generating: see cached_conv; null: the model has no such layers
  // Where the auxiliary loss is asked for: what its gradient is multiplied by, and where it goes,
  // both (1) f32.
  Value balance_scale, balance_loss;
  DropoutInputs dropout;  // null: nothing is dropped
};

inline constexpr const char* kEmbeddingWeight = "model.embed_tokens.weight";
inline constexpr const char* kHeadWeight = "lm_head.weight";
// Embeddings that are trained while a head that was tied to them reads the table as it was.
inline constexpr const char* kEmbeddingCopy = "model.embed_tokens.copy.weight";

// The adapters of one weight that have the same rank (ops/lora.h), by the names of parameters.
struct LoraGroup {
  std::string a;  // "": none, B's rows take the place of rows of the weight that are zero
  std::string b;
  std::string magnitude;  // "": none
  std::vector<LoraPiece> pieces;
  float dropout = 0.0F;
  uint32_t site = 0;  // of the dropout
};

// Rows of a table that are trained while the others are frozen.
struct TrainedRows {
  std::string values;  // the parameter
  std::vector<int64_t> rows;
};

struct Model;

// A model's parameters inside one program, by name.
class Weights {
 public:
  // `dropout`: what adapters drop by; without it they drop nothing.
  Weights(Program& p, const Model& model, const DropoutInputs& dropout = {});
  Value operator()(const std::string& name) const;  // M030 when there is none
  Value optional(const std::string& name) const;    // null when there is none
  // The layer whose weight is "<prefix>weight", with its bias and its adapters where it has them.
  Linear linear(const std::string& prefix) const;
  // The table that words are looked up in, and the head, each with its adapters.
  Linear embedding() const;
  Linear head() const;

 private:
  std::vector<Lora> adapters(const std::string& weight) const;

  std::map<std::string, Value, std::less<>> values_;
  const Model& model_;
  DropoutInputs dropout_;
};

// A model that is published, and its billions of parameters.
struct PublishedModel {
  std::string_view name;
  double billions;
};

// A row of the table in families.cpp.
struct Family {
  std::string_view architecture;  // as in config.json's "architectures"
  std::string_view model_type;    // as in config.json's "model_type"
  ModelConfig (*read)(const Json& config);
  std::vector<ParamSpec> (*parameters)(const ModelConfig&);
  // -> the normed hidden states (tokens, or those of inputs.kept; hidden) that the head reads.
  Value (*forward)(Program&, const ModelConfig&, const Weights&, const ModelInputs&);
  std::vector<PublishedModel> models;  // some of them, for `sft models`
  // The layers that PEFT gives adapters where none are named; none: it refuses.
  std::vector<std::string_view> lora_targets{};
};

// The family of a config.json; M031 names an architecture that is not supported, with those that
// are.
const Family& find_family(const Json& config);
std::vector<std::string> supported_architectures();
const std::vector<Family>& all_families();

// What a config.json says; M031, or M032 to M036 for what a family does not support.
ModelConfig read_model_config(const Json& config);

// Programs number parameters through both lists: the trained ones first.
struct Model {
  const Family* family = nullptr;
  ModelConfig config;
  std::vector<ParamSpec> trained, frozen;
  ParamLayout layout;                                           // of the trained ones
  std::map<std::string, std::vector<LoraGroup>> adapters;       // by the weight's name
  std::map<std::string, TrainedRows> trained_rows;              // by the table's
  std::map<std::string, std::vector<ElementRange>> fixed_rows;  // of a bias: not trained
  std::set<std::string> zeroed;  // published tensors that read as zeros: others stand for them
  int64_t originals = 0;         // values that PEFT keeps beside modules trained whole
  // The weights that are several parameters, one for each published tensor, by the names of both:
  // where pieces are kept packed, or in types that differ, they are not joined.
  std::map<std::string, std::vector<std::string>> parts;
  float int8_threshold = 6.0F;      // of products with weights in 8 bits (ops/int8_linear.h)
  DType trained_type = DType::f32;  // of what the optimizer changes: float32 masters, or bfloat16
  DType packed_from = DType::f32;   // what published values are rounded to before they are packed
  bool has_dropout() const;         // of adapters or of the model

  // All of the family's parameters, as its `trained` says (all of them are, as a family makes
  // them).
  static Model from_config(const Json& config);
  // Takes these parameters instead, in the order of their blocks.
  void set_parameters(std::vector<ParamSpec> specs);
  bool has(std::string_view name) const;  // a parameter of that name
  std::string head_name() const;
  int blocks() const { return config.layers + 2; }
  size_t parameter_count() const { return trained.size() + frozen.size(); }
  // Of both lists, in the order of their numbers.
  std::vector<const ParamSpec*> parameters() const;
  // Values of both lists.
  int64_t values() const { return count_parameters(trained) + count_parameters(frozen); }
};

// --- programs ------------------------------------------------------------------------------------
// Inputs are named "tokens", "positions", "documents", "targets", "rows" (the trained ones),
// "loss_scale"; generation has "tokens", "positions", "past", "row", the caches (cache_specs) and,
// where some are states, "lanes". Where BatchSize.kept says so there is
// "kept" as well: the tokens whose rows the last block goes on with after its attention, -1 in what
// is left over; "targets" and "rows" then speak of these rows.

struct TrainingProgram {
  Program program;
  Value stats;         // LossStats
  Value balance_loss;  // (1); null where BatchSize does not ask for it
};
// What a program of a micro-batch is made for.
struct BatchSize {
  int64_t tokens = 0;
  int64_t documents = 0;  // some may be empty
  int64_t longest = 0;    // no document has more tokens; 0: tokens
  int64_t kept = 0;       // at most so many are trained, and the last block drops others; 0: none
  bool noise = false;     // there is an input "noise" (tokens, hidden) f32 for the embeddings
  bool dropout = false;   // there are inputs "dropout_keys", "dropout_seed" and, where rows are
                          // kept, "dropout_kept_keys"
  bool balance = false;   // the routers' auxiliary loss is part of the loss, and there is an input
                          // "balance_scale" (1): what it is multiplied by for the gradient
  auto operator<=>(const BatchSize&) const = default;
};
// `training` false leaves the backward pass out, for evaluation.
TrainingProgram record_training(const Model& model, const BatchSize& size, TokenLoss loss,
                                bool training, MemoryPolicy memory, Target target = {});

struct LogitsProgram {
  Program program;
  Value logits;
};
// All logits of all rows, (tokens, vocab): for tests and inspection of small inputs.
LogitsProgram record_logits(const Model& model, const BatchSize& size, Target target = {});
// The logits after `tokens` new tokens, (1, vocab), with a cache of `capacity` positions.
LogitsProgram record_generation(const Model& model, int64_t tokens, int64_t capacity,
                                Target target = {});

}  // namespace sft
