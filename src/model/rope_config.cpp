// What config.json says of rotary positions, in both of transformers' generations.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"
#include "model/config.h"

namespace sft {

namespace {

constexpr Whole kPositions{1, kMostCount};
constexpr Real kShare{0, 1}, kTheta{1, 1e15}, kLength{1, 1e10};
constexpr Real kFactor{1e-6, 1e9}, kRotations{1e-6, 1e6};

constexpr const char* kOriginal = "original_max_position_embeddings";

// What the kinds of rope are made of.
struct Source {
  const Json& parameters;
  double theta;
  int rotated;  // values of a head
  int max_positions;
  double original;  // positions that the model was first trained with
  bool has_original;

  double required_original() const {
    return has_original ? original : real(parameters, kOriginal, kLength);
  }
  double factor() const { return real(parameters, "factor", kFactor); }
  // Where none is given it is how much longer the model's positions have become.
  double factor_or_growth() const {
    return real_or(parameters, "factor", max_positions / original, kFactor);
  }
};

std::vector<float> base_frequencies(double theta, int rotated) {
  std::vector<float> f(static_cast<size_t>(rotated / 2));
  for (size_t i = 0; i < f.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rotated);
    f[i] = 1.0F / std::pow(static_cast<float>(theta), exponent);
  }
  return f;
}

void scale_linear(RopeFrequencies& rope, const Source& s) {
  const auto factor = static_cast<float>(s.factor());
  for (float& f : rope.inv_freq) {
    f /= factor;
  }
}

// Stretched where a document is longer than the model's positions.
void scale_dynamic(RopeFrequencies& rope, const Source& s) {
  if (s.rotated < 4) {
    throw Error("M034", fmt::format("config.json: the rope type dynamic needs 4 rotated values of "
                                    "a head, there are {}",
                                    s.rotated));
  }
  rope.dynamic_factor = static_cast<float>(s.factor());
  rope.short_length = s.max_positions;
}

// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between blended.
void scale_llama3(RopeFrequencies& rope, const Source& s) {
  const auto factor = static_cast<float>(s.factor());
  const auto low = static_cast<float>(real(s.parameters, "low_freq_factor", kFactor));
  const auto high = static_cast<float>(real(s.parameters, "high_freq_factor", kFactor));
  const auto original = static_cast<float>(s.required_original());
  for (float& f : rope.inv_freq) {
    const float wavelength = 2.0F * static_cast<float>(M_PI) / f;
    if (wavelength > original / low) {
      f /= factor;
    } else if (wavelength >= original / high) {
      const float smooth = (original / wavelength - low) / (high - low);
      f = (1.0F - smooth) * f / factor + smooth * f;
    }
  }
}

// Peng et al., "YaRN" (2023), with transformers' choice of the ramp's ends.
void scale_yarn(RopeFrequencies& rope, const Source& s) {
  const double factor = s.factor_or_growth();
  const auto rotations = [&](const char* field, double fallback) {
    const double given = real_or(s.parameters, field, 0.0, {0.0, kRotations.most});
    return given == 0.0 ? fallback : given;
  };
  const double beta_fast = rotations("beta_fast", 32.0);
  const double beta_slow = rotations("beta_slow", 1.0);
  const auto dimension = [&](double turns) {
    return s.rotated * std::log(s.original / (turns * 2.0 * M_PI)) / (2.0 * std::log(s.theta));
  };
  double low = dimension(beta_fast);
  double high = dimension(beta_slow);
  if (flag_or(s.parameters, "truncate", true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(s.rotated - 1));
  if (low == high) {
    high += 0.001;
  }
  for (size_t i = 0; i < rope.inv_freq.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double f = rope.inv_freq[i];
    rope.inv_freq[i] = static_cast<float>(f / factor * ramp + f * (1.0 - ramp));
  }
  const auto mscale = [&](double m) {
    return factor <= 1.0 ? 1.0 : 0.1 * m * std::log(factor) + 1.0;
  };
  // One that is 0 counts as not given.
  const double of_one = real_or(s.parameters, "mscale", 0.0, {0.0, kFactor.most});
  const double of_all = real_or(s.parameters, "mscale_all_dim", 0.0, {0.0, kFactor.most});
  const double attention =
      of_one > 0.0 && of_all > 0.0 ? mscale(of_one) / mscale(of_all) : mscale(1.0);
  rope.attention_factor =
      static_cast<float>(real_or(s.parameters, "attention_factor", attention, kFactor));
}

// Ding et al., "LongRoPE" (2024): a factor for each frequency, other ones for long documents.
void scale_longrope(RopeFrequencies& rope, const Source& s) {
  const auto scaled = [&](const char* field) {
    const size_t wanted = rope.inv_freq.size();
    const Json& list = s.parameters.contains(field) ? s.parameters[field] : Json();
    if (!list.is_array() || list.size() != wanted) {
      throw Error("M034", fmt::format("config.json: the rope's \"{}\" is no list of {} numbers: {}",
                                      field, wanted, to_text(list).substr(0, 80)))
          .hint("use the folder of a whole model, as published or as saved by transformers");
    }
    std::vector<float> frequencies(wanted);
    for (size_t i = 0; i < wanted; ++i) {
      const Json entry = {{field, list[i]}};
      const float exponent = static_cast<float>(2 * i) / static_cast<float>(s.rotated);
      frequencies[i] = 1.0F / (static_cast<float>(real(entry, field, kFactor)) *
                               std::pow(static_cast<float>(s.theta), exponent));
    }
    return frequencies;
  };
  rope.long_inv_freq = scaled("long_factor");
  rope.inv_freq = scaled("short_factor");
  rope.short_length = static_cast<int64_t>(s.original);
  const double factor = s.factor_or_growth();
  const double attention =
      factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(factor) / std::log(s.original));
  rope.attention_factor =
      static_cast<float>(real_or(s.parameters, "attention_factor", attention, kFactor));
}

// Gemma 4's: the first share of a head's pairs turn, as they do in a head that turns whole.
void scale_proportional(RopeFrequencies& rope, const Source& s) {
  const double share = real_or(s.parameters, "partial_rotary_factor", 1.0, kShare);
  const auto turned = static_cast<size_t>(share * s.rotated / 2);
  const auto factor = static_cast<float>(real_or(s.parameters, "factor", 1.0, kFactor));
  for (size_t i = 0; i < rope.inv_freq.size(); ++i) {
    rope.inv_freq[i] = i < turned ? rope.inv_freq[i] / factor : 0.0F;
  }
}

struct Kind {
  std::string_view name;
  void (*scale)(RopeFrequencies&, const Source&);
};
constexpr std::string_view kProportional = "proportional";
constexpr Kind kKinds[] = {{"default", [](RopeFrequencies&, const Source&) {}},
                           {"linear", scale_linear},
                           {"dynamic", scale_dynamic},
                           {"llama3", scale_llama3},
                           {"yarn", scale_yarn},
                           {"longrope", scale_longrope},
                           {kProportional, scale_proportional}};

int rotated_values(const Json& parameters, const Json& config, int head_dim, bool partial) {
  const double share = real_or(parameters, "partial_rotary_factor",
                               real_or(config, "partial_rotary_factor", 1.0, kShare), kShare);
  if (share != 1.0 && !partial) {
    throw Error("M032", fmt::format("config.json: a partial_rotary_factor of {} is not supported "
                                    "in this family, only 1 is",
                                    share))
        .hint("take another model");
  }
  const int rotated = static_cast<int>(head_dim * share);
  if (rotated < 2 || rotated % 2 != 0) {
    throw Error("M034", fmt::format("config.json: a partial_rotary_factor of {} turns {} of {} "
                                    "values of a head, it must be an even number",
                                    share, rotated, head_dim))
        .hint("use the folder of a whole model, as published or as saved by transformers");
  }
  return rotated;
}

}  // namespace

RopeFrequencies rope_from(const Json& parameters, const Json& config, int head_dim, bool partial) {
  if (!parameters.is_object()) {
    throw Error("M034", fmt::format("config.json: the rope's parameters are {}, they must be an "
                                    "object with \"rope_type\" and \"rope_theta\"",
                                    to_text(parameters)))
        .hint("use the folder of a whole model, as published or as saved by transformers");
  }
  const double theta =
      real_or(parameters, "rope_theta", real_or(config, "rope_theta", 10000.0, kTheta), kTheta);
  const std::string type = word(parameters, "rope_type", word(parameters, "type", "default"));
  const int max_positions = whole_or(config, "max_position_embeddings", 2048, kPositions);
  const double original =
      real_or(config, kOriginal, real_or(parameters, kOriginal, max_positions, kLength), kLength);
  const Source source{
      parameters,
      theta,
      type == kProportional ? head_dim : rotated_values(parameters, config, head_dim, partial),
      max_positions,
      original,
      present(config, kOriginal) || present(parameters, kOriginal)};
  const auto* const kind = std::ranges::find(kKinds, type, &Kind::name);
  if (kind == std::end(kKinds)) {
    throw Error("M032", fmt::format("config.json: the rope type \"{}\" is not supported (default, "
                                    "linear, dynamic, llama3, yarn, longrope and proportional "
                                    "are)",
                                    type));
  }
  RopeFrequencies rope{base_frequencies(theta, source.rotated)};
  kind->scale(rope, source);
  const auto finite = [](float f) { return std::isfinite(f); };
  if (!std::isfinite(rope.attention_factor) || !std::ranges::all_of(rope.inv_freq, finite) ||
      !std::ranges::all_of(rope.long_inv_freq, finite)) {
    throw Error("M034",
                fmt::format("config.json: the rope's parameters give no finite frequencies: "
                            "{} with rope_theta {}",
                            to_text(parameters).substr(0, 200), theta))
        .hint("use the folder of a whole model, as published or as saved by transformers");
  }
  return rope;
}

RopeFrequencies read_rope(const Json& config, int head_dim, bool partial) {
  if (present(config, "rope_parameters")) {
    return rope_from(config["rope_parameters"], config, head_dim, partial);
  }
  return rope_from(present(config, "rope_scaling") ? config["rope_scaling"] : Json::object(),
                   config, head_dim, partial);
}

std::vector<RopeFrequencies> read_ropes_by_layer(const Json& config, int head_dim,
                                                 const Json& sliding, int sliding_head_dim) {
  const int narrow = sliding_head_dim > 0 ? sliding_head_dim : head_dim;
  if (config.contains("rope_parameters") && config["rope_parameters"].is_object() &&
      config["rope_parameters"].contains("full_attention")) {
    const Json& both = config["rope_parameters"];
    if (!both.contains("sliding_attention")) {
      throw Error("M034", "config.json: rope_parameters has no \"sliding_attention\"")
          .hint("use the folder of a whole model, as published or as saved by transformers");
    }
    return {rope_from(both["full_attention"], config, head_dim),
            rope_from(both["sliding_attention"], config, narrow)};
  }
  return {read_rope(config, head_dim), rope_from(sliding, config, narrow)};
}

}  // namespace sft
