// The attributes of ops: what they are told beside their tensors. Plain values, apart from the ops,
// so that a model's configuration holds them and knows no kernel.
#pragma once

#include <cstdint>
#include <vector>

namespace sft {

// How a row of the fused projection is laid out: heads queries, kv_heads keys, kv_heads values,
// each head_dim wide.
struct Heads {
  int heads = 0, kv_heads = 0, head_dim = 0;
  int64_t row() const { return int64_t{heads + 2 * kv_heads} * head_dim; }
};

// Of root-mean-square norms.
struct RmsNorm {
  float eps = 1e-6F;
  float weight_offset = 0.0F;  // Gemma multiplies by 1 + weight
};

// How positions turn into angles: angle(position, i) = position * inv_freq[i].
struct RopeFrequencies {
  std::vector<float> inv_freq;    // (rotated / 2)
  float attention_factor = 1.0F;  // yarn and longrope multiply cosine and sine by it
  // For documents of more than `short_length` tokens; empty: the same. Of longrope.
  std::vector<float> long_inv_freq{};
  // Above 0: documents of more than `short_length` tokens stretch the base by this factor and their
  // length (dynamic NTK): inv_freq[i] r^(-2i / (rotated - 2)), r = factor length / short - factor
  // + 1.
  float dynamic_factor = 0.0F;
  int64_t short_length = 0;
  // Above 0: queries are multiplied by 1 + query_beta log(1 + floor(position / query_period)),
  // Llama 4's and Ministral's scaling.
  float query_beta = 0.0F;
  int64_t query_period = 1;

  int64_t rotated() const { return 2 * static_cast<int64_t>(inv_freq.size()); }
  bool by_length() const { return !long_inv_freq.empty() || dynamic_factor > 0.0F; }
  bool operator==(const RopeFrequencies&) const = default;
};

// How the rows of qkv are turned.
struct Rotation {
  Heads heads;
  bool interleaved = false;  // pairs are neighbours
};

// How a row of queries, keys and values of the gated delta rule is laid out: key_heads queries of
// key_dim, as many keys, value_heads values of value_dim. A key head serves value_heads / key_heads
// value heads that follow each other.
struct DeltaHeads {
  int key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  // A row of rates has b and then a of all value heads; or of those of each key head, as Qwen3-Next
  // publishes all of its projections.
  bool by_key_head = false;

  constexpr int64_t keys() const { return int64_t{key_heads} * key_dim; }
  constexpr int64_t values() const { return int64_t{value_heads} * value_dim; }
  constexpr int64_t row() const { return 2 * keys() + values(); }
  constexpr int served() const { return value_heads / key_heads; }
  // Where b of a value head stands in a row of rates, and how far behind it a does.
  constexpr int b_at(int head) const {
    return by_key_head ? head + head / served() * served() : head;
  }
  constexpr int a_after() const { return by_key_head ? served() : value_heads; }
};

// Of a gated MLP.
enum class Activation { silu, gelu_tanh };

// The activation of gpt-oss's experts (ops/clamped_glu.h).
struct ClampedGlu {
  float alpha = 1.702F;
  float limit = 7.0F;
};

// How a router chooses experts.
struct Routing {
  enum class Scores { softmax, sigmoid };
  int experts = 0;  // 0: the model has none
  int chosen = 0;   // of them for each token: those of the highest scores
  Scores scores = Scores::softmax;
  bool normalise = false;  // weights are divided by their sum
  bool corrected = false;  // numbers of each expert are added to scores where they are chosen
  float scale = 1.0F;      // and multiplied by this
  // Experts stand in so many groups, of which those are looked at whose two best add up to most.
  int groups = 1, chosen_groups = 1;
};

enum class LossType {
  nll,  // -log p
  dft,  // -p log p with p held constant. Wu et al., "On the generalization of SFT" (2025)
};

// What a trained token costs.
struct TokenLoss {
  LossType type = LossType::nll;
  // Of nll: the share of the target's weight that all words of the vocabulary get alike, as
  // transformers' LabelSmoother has it: (1 - s) nll + s mean(-log p).
  float smoothing = 0.0F;
  // Of the logits, before all else: cap tanh(logit / cap), as in Gemma 2; 0: none.
  float cap = 0.0F;
  TokenLoss() = default;
  TokenLoss(LossType t, float s = 0.0F) : type(t), smoothing(s) {}  // NOLINT: implicit on purpose
};

}  // namespace sft
