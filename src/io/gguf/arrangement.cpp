#include "io/gguf/arrangement.h"

#include <algorithm>
#include <cmath>

#include "formats/convert.h"

namespace sft {

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

// Value heads of the gated delta rule: the published ones stand by the key head that they share.
Arrangement value_heads(const Json& config, std::string_view name) {
  const int64_t keys = count_of(config, "linear_num_key_heads", 16);
  const int64_t values = count_of(config, "linear_num_value_heads", 32);
  const int64_t key_dim = count_of(config, "linear_key_head_dim", 128);
  const int64_t value_dim = count_of(config, "linear_value_head_dim", 128);
  Arrangement out;
  constexpr int64_t kMost = int64_t{1} << 20;  // products of two and a few fit 64 bits
  if (keys <= 0 || values <= keys || key_dim <= 0 || value_dim <= 0 ||
      std::max({values, key_dim, value_dim}) > kMost) {
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
    out = value_heads(config, name.substr(linear + kLinear.size()));
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
