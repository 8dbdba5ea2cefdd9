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
// A field, or `fallback` where it is absent or null; M034 when it is of another kind or beyond.
int whole_or(const Json& config, const char* field, int fallback, Whole range);
double real_or(const Json& config, const char* field, double fallback, Real range);
bool flag_or(const Json& config, const char* field, bool fallback);

// The fields that every family has; the reader then adds its own.
ModelConfig read_common(const Json& config);

// Rope parameters of the whole model: `rope_parameters` (transformers 5) or `rope_theta` with
// `rope_scaling` (before); types default, linear, llama3, yarn. M032 for others.
RopeFrequencies read_rope(const Json& config, int head_dim);
// The same from one parameter object, for models with a set per layer type.
RopeFrequencies rope_from(const Json& parameters, const Json& config, int head_dim);

// Sets every layer's window from `layer_types` where it is given, else from `slides(layer)`.
void read_windows(const Json& config, ModelConfig& model, bool (*slides)(const Json&, int layer));

// Qwen's rule: off unless `use_sliding_window`, and then from layer `max_window_layers` on.
bool slides_as_qwen(const Json& config, int layer);

// A field that must be null or absent because we do not compute it; M033 otherwise.
void refuse_field(const Json& config, const char* field);

}  // namespace sft
