// The block of experts that takes an MLP's place in some layers: what families of mixtures share.
#pragma once

#include <string>
#include <string_view>

#include "model/model.h"
#include "ops/experts.h"

namespace sft {

// Reads how many experts there are and how many of them a token goes to, where nothing is said
// `count` and `chosen`; M034 where more are chosen than there are. `chosen_field` is what
// config.json calls the latter.
void read_experts(const Json& config, ModelConfig& model, int count, int chosen,
                  const char* chosen_field = "num_experts_per_tok");
// Qwen's expert for all tokens, which has a gate: its width, where nothing is said `intermediate`.
void read_shared_expert(const Json& config, ModelConfig& model, int intermediate);
// Which layers keep an MLP: those of `mlp_only_layers`, and all but each `decoder_sparse_step`-th.
void read_dense_layers(const Json& config, ModelConfig& model);
// router_aux_loss_coef
void read_balance(const Json& config, ModelConfig& model, double coefficient);

// Whether a parameter of ours is of all experts, one behind the other.
bool holds_experts(std::string_view parameter);
// Whether it is a router's matrix.
bool is_router(std::string_view parameter, const ModelConfig& config);
// Whether it is a linear layer's in transformers: experts are none, nor are routers but some.
bool is_linear(std::string_view parameter, const ModelConfig& config);

// In the layer's module `form.experts_block`, say "mlp.":
// The router, "mlp.gate.weight" (experts, hidden), and of all experts one behind the other:
// "mlp.experts.gate_up_proj.weight" (experts * 2 intermediate, hidden), of each gate's rows before
// up's, and "mlp.experts.down_proj.weight" (experts * hidden, intermediate). Where a tensor holds
// all of them (LayerForm::experts_as_one): (experts, hidden, 2 intermediate), gate and up in turns,
// (experts, intermediate, hidden), and biases (experts, 2 intermediate) and (experts, hidden). Then
// an MLP "mlp.shared_experts." where all tokens go to one as well, and its gate (1, hidden).
void add_experts(std::vector<ParamSpec>& specs, const ModelConfig& config, int layer);

// One recording of a model's blocks of experts: what their routers do adds up over the layers.
class Mixture {
 public:
  Mixture(Program& p, const ModelConfig& config, const Weights& w, const ModelInputs& inputs);
  // x (tokens, hidden) -> the weighted sum of its experts (tokens, hidden)
  Value block(int layer, Value x);
  // The same of a router of the family's own, which gives x's rows these scores (tokens, experts),
  // and without what all tokens go to. Each expert's weights are multiplied by its own of `scales`
  // (experts), where there are any.
  Value routed(int layer, Value x, Value logits, Value scales = {});
  // Emits the auxiliary loss of all blocks, where it is asked for.
  void finish();

 private:
  // What all tokens go to.
  Value shared(int layer, Value x);

  Program& p_;
  const ModelConfig& config_;
  const Weights& w_;
  const ModelInputs& inputs_;
  Balance balance_;
  Value load_;
  int layers_ = 0;
};

}  // namespace sft
