#include "model/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"
#include "model/generation.h"
#include "ops/attention.h"
#include "ops/few_rows.h"
#include "ops/linear.h"
#include "ops/linear_cross_entropy.h"
#include "ops/next_token.h"
#include "ops/replace_rows.h"
#include "ops/soft_cap.h"

namespace sft {

Weights::Weights(Program& p, const Model& model, const DropoutInputs& dropout)
    : model_(model), dropout_(dropout) {
  int index = 0;
  for (const ParamSpec* const spec : model.parameters()) {
    values_[spec->name] =
        p.parameter(index++, spec->name, spec->shape, read_type(*spec, p.target().compute),
                    spec->trained, spec->block);
  }
  for (const auto& [name, parts] : model.parts) {
    std::vector<Value> values;
    for (const std::string& part : parts) {
      values.push_back(values_.at(part));
    }
    values_[name] = p.group(name, std::move(values));
  }
  for (const auto& [table, trained] : model.trained_rows) {
    values_[table] = replace_rows(p, values_.at(table), values_.at(trained.values), trained.rows);
  }
}

Value Weights::optional(const std::string& name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? Value{} : found->second;
}

Value Weights::operator()(const std::string& name) const {
  const Value v = optional(name);
  if (!v) {
    throw Error("M030", fmt::format("the model's family describes no parameter {}", name));
  }
  return v;
}

std::vector<Lora> Weights::adapters(const std::string& weight) const {
  std::vector<Lora> out;
  if (const auto found = model_.adapters.find(weight); found != model_.adapters.end()) {
    for (const LoraGroup& group : found->second) {
      Lora lora{optional(group.a), (*this)(group.b), group.pieces};
      lora.magnitude = optional(group.magnitude);
      if (dropout_.keys) {
        lora.dropout = {group.dropout, group.site, dropout_};
      }
      out.push_back(std::move(lora));
    }
  }
  return out;
}

Linear Weights::linear(const std::string& prefix) const {
  Linear layer{(*this)(prefix + "weight"), optional(prefix + "bias"), adapters(prefix + "weight"),
               model_.int8_threshold};
  if (const auto found = model_.fixed_rows.find(prefix + "bias");
      found != model_.fixed_rows.end()) {
    layer.fixed_bias = found->second;
  }
  return layer;
}

Linear Weights::embedding() const {
  const char* const name = model_.has(kEmbeddingCopy) ? kEmbeddingCopy : kEmbeddingWeight;
  return {(*this)(name), {}, adapters(kEmbeddingWeight)};
}

Linear Weights::head() const { return {(*this)(model_.head_name()), {}, adapters(kHeadWeight)}; }

ModelConfig read_model_config(const Json& config) {
  try {
    const Family& family = find_family(config);
    ModelConfig read = family.read(config);
    read.architecture = family.architecture;
    for (const RopeFrequencies& rope : read.ropes) {  // a dynamic one is made to reach further
      const double reach = std::max(1.0, double{rope.dynamic_factor}) * read.max_positions;
      read.max_positions = static_cast<int>(std::min<double>(reach, kMostCount));
    }
    return read;
  } catch (const Json::exception& e) {  // "type must be string, but is number"
    throw Error("M034", fmt::format("config.json has a field of the wrong type: {}", e.what()))
        .hint("use the folder of a whole model, as published or as saved by transformers");
  }
}

Model Model::from_config(const Json& config) {
  Model m;
  m.config = read_model_config(config);
  m.family = &find_family(config);
  m.set_parameters(m.family->parameters(m.config));
  return m;
}

std::vector<const ParamSpec*> Model::parameters() const {
  std::vector<const ParamSpec*> out;
  for (const std::vector<ParamSpec>* const list : {&trained, &frozen}) {
    for (const ParamSpec& spec : *list) {
      out.push_back(&spec);
    }
  }
  return out;
}

namespace {

std::optional<DType> stored_type(const ParamSpec& spec, const ParamPiece& piece) {
  return piece.stored ? piece.stored : spec.stored;
}

// Whether what is kept packed, or in types that differ, must be kept as it is published.
bool is_kept_in_parts(const ParamSpec& spec) {
  const std::optional<DType> first = stored_type(spec, spec.pieces.front());
  return spec.pieces.size() > 1 && std::ranges::any_of(spec.pieces, [&](const ParamPiece& piece) {
           const std::optional<DType> stored = stored_type(spec, piece);
           return stored != first || (stored && is_packed(*stored));
         });
}

}  // namespace

void Model::set_parameters(std::vector<ParamSpec> specs) {
  trained.clear();
  frozen.clear();
  parts.clear();
  for (const ParamSpec& spec : specs) {
    if (spec.trained) {
      trained.push_back(spec);
      continue;
    }
    if (!is_kept_in_parts(spec)) {
      frozen.push_back(spec);
      frozen.back().stored = stored_type(spec, spec.pieces.front());
      continue;
    }
    for (const ParamPiece& piece : spec.pieces) {
      ParamSpec& part = frozen.emplace_back(spec);
      part.name = piece.name;
      part.shape = spec.shape_of(piece);
      part.pieces = {piece};
      part.stored = stored_type(spec, piece);
      parts[spec.name].push_back(part.name);
    }
  }
  layout = layout_parameters(trained, blocks());
}

bool Model::has_dropout() const {
  return config.drops.any() || std::ranges::any_of(adapters, [](const auto& weight) {
           return std::ranges::any_of(weight.second,
                                      [](const LoraGroup& g) { return g.dropout > 0; });
         });
}

bool Model::has(std::string_view name) const {
  const auto named = [&](const ParamSpec& spec) { return spec.name == name; };
  return std::ranges::any_of(trained, named) || std::ranges::any_of(frozen, named);
}

std::string Model::head_name() const {
  return config.tied && !has(kHeadWeight) ? kEmbeddingWeight : kHeadWeight;
}

namespace {

// An adapter's first half on what the head reads, with its backward pass, which the loss begins.
HeadUpdate head_update(Program& p, Value hidden, const Linear& head) {
  if (head.lora.empty()) {
    return {};
  }
  const Lora lora = head.lora[0];
  const Value low = emit_lora_down(p, hidden, lora);
  p.on_backward([=](Program& b) {
    if (const Value grad = b.grad(low)) {
      emit_lora_down_backward(b, grad, hidden, lora);
    }
  });
  return {low, lora.b, lora.pieces[0].scale};
}

// See ModelInputs::tables.
std::vector<Value> document_tables(Program& p, Value documents, const ModelConfig& c,
                                   int64_t tokens) {
  std::vector<Value> tables;
  for (int layer = 0; layer < c.layers; ++layer) {
    const Heads heads = c.attention_heads(layer);
    int same = 0;
    while (same < layer && c.attention_heads(same) != heads) {
      ++same;
    }
    tables.push_back(same < layer ? tables[static_cast<size_t>(same)]
                                  : document_table(p, documents, heads, tokens));
  }
  return tables;
}

ModelInputs batch_inputs(Program& p, const Model& model, const BatchSize& size) {
  ModelInputs inputs;
  inputs.tokens = p.input("tokens", {size.tokens}, DType::i32);
  inputs.positions = p.input("positions", {size.tokens}, DType::i32);
  const Value documents = p.input("documents", {size.documents + 1}, DType::i32);
  inputs.tables = document_tables(p, documents, model.config, size.tokens);
  inputs.documents = inputs.tables.front();
  inputs.longest = size.longest > 0 ? size.longest : size.tokens;
  if (size.noise) {
    inputs.noise = p.input("noise", {size.tokens, model.config.hidden}, DType::f32);
  }
  if (size.kept > 0) {
    inputs.kept = p.input("kept", {size.kept}, DType::i32);
  }
  if (size.balance) {
    inputs.balance_scale = p.input("balance_scale", {1}, DType::f32);
    inputs.balance_loss = p.make("router.loss", {1});
  }
  return inputs;
}

}  // namespace

TrainingProgram record_training(const Model& model, const BatchSize& size, TokenLoss loss,
                                bool training, MemoryPolicy memory, Target target) {
  Program p(training ? Program::Purpose::training : Program::Purpose::inference, memory, target);
  const int64_t kept = size.kept > 0 ? size.kept : size.tokens;
  loss.cap = model.config.logit_cap;
  DropoutInputs dropout;
  if (size.dropout) {
    dropout.keys = p.input("dropout_keys", {size.tokens, 2}, DType::i32);
    dropout.seed = p.input("dropout_seed", {2}, DType::i32);
    if (size.kept > 0) {
      dropout.kept_keys = p.input("dropout_kept_keys", {size.kept, 2}, DType::i32);
    }
  }
  const Weights w(p, model, dropout);
  ModelInputs inputs = batch_inputs(p, model, size);
  inputs.dropout = dropout;
  const Value targets = p.input("targets", {kept}, DType::i32);
  const Value rows = p.input("rows", {kept}, DType::i32, true);
  const Value loss_scale = p.input("loss_scale", {1}, DType::f32);
  const Value hidden = model.family->forward(p, model.config, w, inputs);
  const Linear head = w.head();
  const Value stats = linear_cross_entropy(p, hidden, head.weight, targets, rows, loss_scale, loss,
                                           head_update(p, hidden, head));
  p.keep(stats);
  if (inputs.balance_loss) {
    p.keep(inputs.balance_loss);
  }
  if (training) {
    p.differentiate();
  }
  return {std::move(p), stats, inputs.balance_loss};
}

LogitsProgram record_logits(const Model& model, const BatchSize& size, Target target) {
  Program p(Program::Purpose::inference, Recompute::none, target);
  const Weights w(p, model);
  const Value hidden = model.family->forward(p, model.config, w, batch_inputs(p, model, size));
  const Value logits = soft_cap(p, linear(p, hidden, w.head()), model.config.logit_cap);
  p.keep(logits);
  return {std::move(p), logits};
}

LogitsProgram record_generation(const Model& model, int64_t tokens, int64_t capacity,
                                Target target) {
  return record_lanes(model, {.tokens = tokens, .room = {capacity, 1}}, target);
}

LogitsProgram record_lanes(const Model& model, const LanesSize& size, Target target) {
  Program p(Program::Purpose::inference, Recompute::none, target);
  const Weights w(p, model);
  ModelInputs inputs;
  inputs.tokens = p.input("tokens", {size.tokens}, DType::i32);
  inputs.positions = p.input("positions", {size.tokens}, DType::i32);
  inputs.past = p.input("past", {size.lanes, 2}, DType::i32);
  if (has_states(model.config)) {
    inputs.lanes = p.input("lanes", {size.lanes}, DType::i32);
  }
  if (size.from_start || std::ranges::any_of(model.config.ropes, &RopeFrequencies::by_length)) {
    inputs.documents = p.input("documents", {2}, DType::i32);  // of one text
  }
  if (size.from_start) {
    inputs.tables = document_tables(p, inputs.documents, model.config, size.tokens);
    inputs.documents = inputs.tables.front();
    inputs.longest = size.tokens;
  }
  for (const std::vector<CacheSpec>& specs : cache_specs(model.config, size.room, target.compute)) {
    std::vector<Value>& caches = inputs.caches.emplace_back();
    for (const CacheSpec& spec : specs) {
      caches.push_back(p.input(spec.name, spec.shape, spec.dtype));
    }
  }
  inputs.kept = p.input("row", {size.lanes}, DType::i32);
  const Value hidden = model.family->forward(p, model.config, w, inputs);
  const Value logits = soft_cap(p, few_rows_linear(p, hidden, w.head()), model.config.logit_cap);
  p.keep(logits);
  if (size.picks) {
    const Value written = p.input("written", {size.room.rows}, DType::i32);
    emit_next_token(p, logits, {inputs.tokens, inputs.positions, inputs.past, written});
  }
  return {std::move(p), logits};
}

}  // namespace sft
