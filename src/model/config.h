// What the families' readers share: fields of config.json in both of transformers' generations.
#pragma once

#include "model/model.h"

namespace sft {

// The ends of what a number may be; both count.
struct Whole {
  int64_t least, most;
};
struct Real {
  double least, most;
};
// Whether a field is there and not null.
bool present(const Json& config, const char* field);
// A field that must be there, or `fallback` where it is absent or null; M034 when it is of another
// kind or beyond.
int whole(const Json& config, const char* field, Whole range);
double real(const Json& config, const char* field, Real range);
std::string word(const Json& config, const char* field, const std::string& fallback);
int whole_or(const Json& config, const char* field, int fallback, Whole range);
double real_or(const Json& config, const char* field, double fallback, Real range);
// What training drops, 0 where nothing is said; M034 above 0.99.
float share_dropped(const Json& config, const char* field);
bool flag_or(const Json& config, const char* field, bool fallback);

// The config with fields that it leaves out, as transformers' class of the family fills them in.
Json with_defaults(Json config, const Json& defaults);

// The fields that every family has; the reader then adds its own.
ModelConfig read_common(const Json& config);

// --- rope (model/rope_config.cpp) ----------------------------------------------------------------
// Rope parameters of the whole model: `rope_parameters` (transformers 5) or `rope_theta` with
// `rope_scaling` (before); types default, linear, dynamic, llama3, yarn, longrope and proportional.
// M032 for others, and for a partial_rotary_factor below 1 unless the family takes one: `partial`.
RopeFrequencies read_rope(const Json& config, int head_dim, bool partial = false);
// The same from one parameter object, for models with a set per layer type.
RopeFrequencies rope_from(const Json& parameters, const Json& config, int head_dim,
                          bool partial = false);
// The ropes of full (0) and of sliding (1) layers, from `rope_parameters` by layer type, or from
// the fields of transformers 4: `sliding` is then the parameters of the sliding ones.
// `sliding_head_dim`: of their heads, where these have other sizes.
std::vector<RopeFrequencies> read_ropes_by_layer(const Json& config, int head_dim,
                                                 const Json& sliding, int sliding_head_dim = 0);

// Sets every layer's window from `layer_types` where it is given, else from `slides(layer)`.
void read_windows(const Json& config, ModelConfig& model, bool (*slides)(const Json&, int layer));

// Sets every layer's mixer from `layer_types`, which lists "full_attention" and `name`, or else
// from `mixes(layer)`. M033 for other types.
void read_mixers(const Json& config, ModelConfig& model, const char* name, Mixer mixer,
                 const std::function<bool(int layer)>& mixes);

// Qwen's rule: off unless `use_sliding_window`, and then from layer `max_window_layers` on.
bool slides_as_qwen(const Json& config, int layer);

// Sliding layers but each `pattern`-th one ("sliding_window_pattern", or `fallback`).
bool slides_by_pattern(const Json& config, int layer, int fallback);

// A field that must be null or absent because we do not compute it; M033 otherwise.
void refuse_field(const Json& config, const char* field);

}  // namespace sft
