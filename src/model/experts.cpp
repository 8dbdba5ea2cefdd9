#include "model/experts.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"
#include "model/blocks.h"
#include "model/config.h"
#include "ops/add_scaled.h"
#include "ops/clamped_glu.h"
#include "ops/expert_scales.h"
#include "ops/gated_activation.h"
#include "ops/router.h"
#include "ops/sigmoid_gate.h"

namespace sft {

namespace {

constexpr const char* kCorrection = "e_score_correction_bias";

// What transformers 5 calls a layer's block of experts, whatever its tensors are called where they
// are published; PEFT's names are made of it.
std::string block_of(const ModelConfig& c, int layer) {
  return layer_prefix(layer) + c.form.experts_block;
}

}  // namespace

void read_experts(const Json& config, ModelConfig& m, int count, int chosen,
                  const char* chosen_field) {
  constexpr Whole kExperts{1, 1 << 14};
  // As models are published, and as transformers 5 saves them; others have the latter alone.
  const int published = whole_or(config, "num_experts", count, kExperts);
  m.routing.experts = whole_or(config, "num_local_experts", published, kExperts);
  m.routing.chosen = whole_or(config, chosen_field, chosen, kExperts);
  if (m.routing.chosen > m.routing.experts) {
    throw Error("M034", fmt::format("config.json: \"{}\" is {}, it must be at most the number of "
                                    "experts, {}",
                                    chosen_field, m.routing.chosen, m.routing.experts))
        .hint("use the folder of a whole model, as published or as saved by transformers");
  }
  m.expert_intermediate = m.intermediate;
  for (ModelConfig::Layer& layer : m.layer) {
    layer.experts = true;
  }
}

void read_shared_expert(const Json& config, ModelConfig& m, int intermediate) {
  m.shared_intermediate =
      whole_or(config, "shared_expert_intermediate_size", intermediate, {1, 1 << 24});
  m.form.shared = "shared_expert";
  m.form.shared_gate = "shared_expert_gate";
}

void read_dense_layers(const Json& config, ModelConfig& m) {
  const int step = whole_or(config, "decoder_sparse_step", 1, {1, 1000});
  for (int i = 0; i < m.layers; ++i) {
    m.layer[static_cast<size_t>(i)].experts = (i + 1) % step == 0;
  }
  if (!present(config, "mlp_only_layers")) {
    return;
  }
  const Json& listed = config["mlp_only_layers"];
  for (const Json& layer : listed.is_array() ? listed : Json::array({listed})) {
    const auto number = json_whole(layer, 0, kMostCount);
    if (!number) {
      throw Error("M034", fmt::format("config.json: \"mlp_only_layers\" has {}, it must list the "
                                      "numbers of layers",
                                      to_text(layer)))
          .hint("use the folder of a whole model, as published or as saved by transformers");
    }
    if (*number < m.layers) {
      m.layer[static_cast<size_t>(*number)].experts = false;
    }
  }
}

void read_balance(const Json& config, ModelConfig& m, double coefficient) {
  m.balance_coefficient =
      static_cast<float>(real_or(config, "router_aux_loss_coef", coefficient, {0, 1e6}));
}

bool holds_experts(std::string_view parameter) {
  return parameter.find(".experts.") != std::string_view::npos;
}

bool is_router(std::string_view parameter, const ModelConfig& config) {
  return config.routing.experts > 0 &&
         parameter.ends_with(fmt::format(".{}.weight", config.form.router));
}

bool is_linear(std::string_view parameter, const ModelConfig& config) {
  return !holds_experts(parameter) &&
         (config.form.router_is_linear || !is_router(parameter, config));
}

namespace {

void add_router(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer) {
  const int64_t count = c.routing.experts;
  const std::string router = std::string(c.form.router) + ".";
  const auto add = [&](const char* kind, const Shape& shape, ParamKind of) {
    specs.push_back({block_of(c, layer) + router + kind,
                     shape,
                     {{layer_prefix(layer) + c.form.experts_in + router + kind, count}},
                     layer + 1,
                     of,
                     Init::normal});
  };
  add("weight", {count, c.hidden}, ParamKind::matrix);
  if (c.router_bias) {
    add("bias", {count}, ParamKind::bias);
  }
  if (c.routing.corrected) {
    add(kCorrection, {count}, ParamKind::table);
    specs.back().trained = false;
    specs.back().init = Init::zeros;
  }
}

// Two tensors for all experts, and their biases.
void add_experts_as_one(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer) {
  const int64_t count = c.routing.experts;
  const auto add = [&](const char* name, int64_t in, int64_t out) {
    const std::string ours = block_of(c, layer) + "experts." + name;
    const std::string published = layer_prefix(layer) + c.form.experts_in + "experts." + name;
    specs.push_back({ours + ".weight",
                     {count, in, out},
                     {{published, count}},
                     layer + 1,
                     ParamKind::matrix,
                     Init::normal});
    specs.push_back({ours + ".bias",
                     {count, out},
                     {{published + "_bias", count}},
                     layer + 1,
                     ParamKind::bias,
                     Init::zeros});
  };
  add("gate_up_proj", c.hidden, 2 * c.expert_intermediate);
  add("down_proj", c.expert_intermediate, c.hidden);
}

void add_experts_apart(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer) {
  const std::string published = layer_prefix(layer) + c.form.experts_in;
  const std::string block = block_of(c, layer);
  const int64_t count = c.routing.experts;
  std::vector<ParamPiece> gate_up, down;
  for (int64_t e = 0; e < count; ++e) {
    const auto piece = [&](const char* name, int64_t rows) {
      return ParamPiece{fmt::format("{}experts.{}.{}.weight", published, e, name), rows};
    };
    gate_up.push_back(piece(c.form.expert_gate, c.expert_intermediate));
    gate_up.push_back(piece(c.form.expert_up, c.expert_intermediate));
    down.push_back(piece(c.form.expert_down, c.hidden));
  }
  specs.push_back({block + "experts.gate_up_proj.weight",
                   {count * 2 * c.expert_intermediate, c.hidden},
                   std::move(gate_up),
                   layer + 1,
                   ParamKind::matrix,
                   Init::normal});
  specs.push_back({block + "experts.down_proj.weight",
                   {count * c.hidden, c.expert_intermediate},
                   std::move(down),
                   layer + 1,
                   ParamKind::matrix,
                   Init::normal});
}

}  // namespace

void add_experts(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer) {
  if (!c.form.experts_first) {
    add_router(specs, c, layer);
  }
  (c.form.experts_as_one ? add_experts_as_one : add_experts_apart)(specs, c, layer);
  if (c.form.experts_first) {
    add_router(specs, c, layer);
  }
  if (c.shared_intermediate == 0) {
    return;
  }
  add_mlp(specs, c, layer, std::string(c.form.experts_block) + c.form.shared,
          c.shared_intermediate);
  if (*c.form.shared_gate != '\0') {
    add_linear(specs, block_of(c, layer) + c.form.shared_gate + ".", 1, c.hidden, false, layer + 1);
  }
}

Mixture::Mixture(Program& p, const ModelConfig& config, const Weights& w, const ModelInputs& inputs)
    : p_(p), config_(config), w_(w), inputs_(inputs) {
  if (inputs.balance_loss) {
    balance_ = {inputs.documents, p.make("router.balance", {config.routing.experts})};
  }
}

Value Mixture::block(int layer, Value x) {
  const size_t first = p_.instructions().size();
  const std::string router = block_of(config_, layer) + config_.form.router + ".";
  const Value logits = linear(p_, x, w_.linear(router));
  p_.recompute_from(Recompute::mlp, first);
  const Value out = routed(layer, x, logits);
  return config_.shared_intermediate == 0 ? out : add_scaled(p_, out, shared(layer, x), 1.0F);
}

Value Mixture::routed(int layer, Value x, Value logits, Value scales) {
  const std::string block = block_of(config_, layer);
  const int experts = config_.routing.experts;
  const bool turned = config_.form.experts_as_one;
  const Value correction =
      config_.routing.corrected ? w_(block + config_.form.router + "." + kCorrection) : Value{};
  Routed routed = route(p_, logits, correction, config_.routing, balance_);
  if (balance_) {
    load_ = expert_load(p_, logits, routed.experts, balance_.documents, load_);
    ++layers_;
  }
  if (scales) {
    routed = scale_experts(p_, routed, scales);
  }
  const Dispatch d = dispatch(p_, routed, experts);
  const size_t wide = p_.instructions().size();
  const Value gate_up =
      grouped_linear(p_, to_experts(p_, x, d), d.starts,
                     {w_.linear(block + "experts.gate_up_proj."), turned}, experts);
  p_.recompute_from(Recompute::mlp, wide);
  const Value y = config_.clamped ? clamped_glu(p_, gate_up, *config_.clamped)
                                  : gated_activation(p_, gate_up, config_.activation);
  const GroupedLinear down{w_.linear(block + "experts.down_proj."), turned};
  return from_experts(p_, grouped_linear(p_, y, d.starts, down, experts), d);
}

Value Mixture::shared(int layer, Value x) {
  const Value y = mlp_block(p_, config_, w_, inputs_, layer,
                            std::string(config_.form.experts_block) + config_.form.shared, x);
  if (*config_.form.shared_gate == '\0') {
    return y;
  }
  const std::string gate = block_of(config_, layer) + config_.form.shared_gate + ".";
  return sigmoid_gate(p_, y, linear(p_, x, w_.linear(gate)));
}

void Mixture::finish() {
  if (load_) {
    emit_balance_loss(p_, load_, layers_, inputs_.balance_scale, balance_, inputs_.balance_loss);
  }
}

}  // namespace sft
