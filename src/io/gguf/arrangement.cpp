#include "io/gguf/arrangement.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "formats/convert.h"

namespace sft {

int64_t AxisSwap::end() const {
  const int64_t each = std::accumulate(widths.begin(), widths.end(), int64_t{0});
  return first + blocks * a * (each > 0 ? each : b * unit);
}

int64_t AxisSwap::published(int64_t stored) const {
  if (widths[0] == 0 || stored >= end()) {
    return moved(stored, a, b);
  }
  int64_t before = 0;
  for (const int64_t width : widths) {
    if (stored < a * width) {
      return stored / width * (end() / a) + before + stored % width;
    }
    stored -= a * width;
    before += width;
  }
  return stored;
}

int64_t AxisSwap::stored(int64_t published) const {
  if (widths[0] == 0 || published >= end()) {
    return moved(published, b, a);
  }
  const int64_t group = published / (end() / a);
  int64_t in_group = published % (end() / a), before = 0;
  for (const int64_t width : widths) {
    if (in_group < width) {
      return before + group * width + in_group;
    }
    in_group -= width;
    before += a * width;
  }
  return published;
}

int64_t AxisSwap::moved(int64_t at, int64_t inner, int64_t outer) const {
  if (at < first || at >= end()) {
    return at;
  }
  const int64_t in_block = (at - first) % (a * b * unit);
  const int64_t group = in_block / unit;
  return at - in_block + (group % inner * outer + group / inner) * unit + in_block % unit;
}

namespace {

int64_t count_of(const Json& config, const char* field, int64_t fallback) {
  return config.contains(field) && config[field].is_number_integer() ? config[field].get<int64_t>()
                                                                     : fallback;
}

// The gated delta rule's heads: the published values stand by the key head that they share, and in
// one projection its query and its key beside them.
Arrangement delta_heads(const GgufFamily& family, const Json& config, std::string_view name) {
  const int64_t keys = count_of(config, "linear_num_key_heads", 16);
  const int64_t values = count_of(config, "linear_num_value_heads", 32);
  const int64_t key_dim = count_of(config, "linear_key_head_dim", 128);
  const int64_t value_dim = count_of(config, "linear_value_head_dim", 128);
  Arrangement out;
  constexpr int64_t kMost = int64_t{1} << 20;  // products of two and a few fit 64 bits
  if (keys <= 0 || values < keys || key_dim <= 0 || value_dim <= 0 ||
      std::max({values, key_dim, value_dim}) > kMost) {
    return out;
  }
  if (name == "in_proj_qkvz.weight") {
    const int64_t served = values / keys * value_dim;
    out.rows = {0, 1, keys, 4, 1, {key_dim, key_dim, served, served}};
    out.first_rows = keys * (2 * key_dim + served);
  }
  if (family.is("qwen3_next") || values == keys) {
    return out;
  }
  const AxisSwap by_key{0, 1, keys, values / keys, value_dim};
  if (name == "in_proj_qkv.weight" || name == "conv1d.weight") {
    out.rows = by_key;
    out.rows.first = 2 * keys * key_dim;
  } else if (name == "in_proj_z.weight") {
    out.rows = by_key;
  } else if (name == "out_proj.weight") {
    out.columns = by_key;
  } else if (name != "norm.weight") {
    out.rows = by_key;
    out.rows.unit = 1;
  }
  return out;
}

}  // namespace

Arrangement arrangement_of(const GgufFamily& family, const Json& config, std::string_view name,
                           int64_t rows) {
  constexpr std::string_view kLinear = ".linear_attn.";
  Arrangement out;
  const size_t linear = name.find(kLinear);
  if (linear != std::string_view::npos) {
    out = delta_heads(family, config, name.substr(linear + kLinear.size()));
    if (name.ends_with(".A_log")) {
      out.value = StoredAs::minus_exp;
    }
    return out;
  }
  if (family.norms_plus_one && name.ends_with("norm.weight")) {
    out.value = StoredAs::plus_one;
  }
  if (family.interleaved_rope) {
    // The two halves of each head become pairs.
    const bool query = name.find(".self_attn.q_proj.") != std::string_view::npos;
    const bool key = name.find(".self_attn.k_proj.") != std::string_view::npos;
    const int64_t heads =
        query ? count_of(config, "num_attention_heads", 0)
        : key ? count_of(config, "num_key_value_heads", count_of(config, "num_attention_heads", 0))
              : 0;
    if (heads > 0) {
      out.rows = {0, heads, 2, rows / heads / 2, 1};
    }
  }
  return out;
}

void to_stored(StoredAs form, bool in_halves, std::span<float> values) {
  for (float& x : values) {
    const float y = form == StoredAs::plus_one    ? x + 1
                    : form == StoredAs::minus_exp ? -std::exp(x)
                                                  : x;
    x = in_halves && form != StoredAs::same ? to_float(to_float16(y)) : y;
  }
}

void to_published(StoredAs form, std::span<float> values) {
  for (float& x : values) {
    x = form == StoredAs::plus_one ? x - 1 : form == StoredAs::minus_exp ? std::log(-x) : x;
  }
}

}  // namespace sft
