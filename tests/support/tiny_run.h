// Runs a model's programs on small inputs, for tests: weights from a folder, documents end to end.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "graph/executor.h"
#include "io/joined_experts.h"
#include "io/safetensors.h"
#include "model/model.h"
#include "ops/linear_cross_entropy.h"

namespace sft::testing {

struct Document {
  std::vector<int32_t> ids, labels;
};

// A model with weights and gradients in flat buffers, and a flat batch of documents.
class TinyRun {
 public:
  // `layers`: only the first so many; 0: all.
  TinyRun(const std::filesystem::path& folder, int threads = 2, int layers = 0)
      : TinyRun(
            first_layers(read_json(folder / "config.json"), layers),
            [file = std::make_shared<SafetensorsFile>(folder / "model.safetensors")](
                const std::string& name, const Tensor& into) {
              const int64_t values = into.shape.elements();
              const StoredTensor* stored = file->find(name);
              int64_t first = 0, all = values;
              if (const auto place = expert_place(name); place && stored == nullptr) {
                stored = file->find(place->tensor);
                first = place->index * values;
                all = stored == nullptr ? 0 : stored->shape[0] * place->parts * values;
              }
              if (stored == nullptr || stored->elements() != all || first >= all) {
                throw std::runtime_error("no or wrong tensor " + name);
              }
              file->read_f32(*stored, {first, first + values}, Tensor(into).f32());
            },
            threads) {}

  // `read` fills a published tensor.
  TinyRun(Model described, const std::function<void(const std::string&, const Tensor&)>& read,
          int threads = 2)
      : device(Device::cpu(threads)),
        arena(*device),
        model(std::move(described)),
        weights(static_cast<size_t>(model.layout.elements) * sizeof(float)),
        gradients(static_cast<size_t>(model.layout.elements) * sizeof(float)) {
    for (const NamedTensor& t : named_tensors(model.trained, model.layout, weights.f32())) {
      read(t.name, t.tensor);
    }
    for (size_t i = 0; i < model.trained.size(); ++i) {
      bindings.parameters.push_back(
          {weights.f32() + model.layout.offsets[i], model.trained[i].shape, DType::f32});
      bindings.gradients.push_back(
          {gradients.f32() + model.layout.offsets[i], model.trained[i].shape, DType::f32});
    }
    for (const ParamSpec& spec : model.frozen) {  // of one piece, in float32
      frozen.emplace_back(static_cast<size_t>(spec.shape.elements()) * sizeof(float));
      bindings.parameters.push_back({frozen.back().data(), spec.shape, DType::f32});
      bindings.gradients.emplace_back();
      read(spec.pieces.front().name, bindings.parameters.back());
    }
  }

  static Model first_layers(const Json& config, int layers) {
    Model model = Model::from_config(config);
    if (layers > 0) {
      model.config.layers = layers;
      model.config.layer.resize(static_cast<size_t>(layers));
      model.set_parameters(model.family->parameters(model.config));
    }
    return model;
  }

  // Lays the documents end to end in `capacity` tokens (0: as many as there are); returns the
  // number of trained tokens.
  int64_t set_documents(const std::vector<Document>& documents, int64_t capacity = 0) {
    tokens.clear(), positions.clear(), targets.clear(), starts = {0};
    int64_t trained = 0;
    for (const Document& d : documents) {
      for (size_t i = 0; i < d.ids.size(); ++i) {
        tokens.push_back(d.ids[i]);
        positions.push_back(static_cast<int32_t>(i));
        targets.push_back(i + 1 < d.ids.size() ? d.labels[i + 1] : -100);
        trained += targets.back() >= 0 ? 1 : 0;
      }
      starts.push_back(static_cast<int32_t>(tokens.size()));
    }
    for (auto n = static_cast<int64_t>(tokens.size()); n < capacity; ++n) {
      tokens.push_back(0), positions.push_back(0), targets.push_back(-100);
    }
    scale = 1.0F / static_cast<float>(std::max<int64_t>(trained, 1));
    const auto bind = [&](const char* name, std::vector<int32_t>& v) {
      bindings.inputs[name] = {v.data(), {static_cast<int64_t>(v.size())}, DType::i32};
    };
    bind("tokens", tokens), bind("positions", positions), bind("targets", targets);
    bind("documents", starts);
    rows.clear();
    for (size_t i = 0; i < targets.size(); ++i) {
      if (targets[i] >= 0) {
        rows.push_back(static_cast<int32_t>(i));
      }
    }
    bind("rows", rows);
    bindings.inputs["loss_scale"] = {&scale, {1}, DType::f32};
    kept.clear();
    return trained;
  }

  // From now on the last block goes on with the trained rows alone, `count` with those left over.
  void drop_untrained(int64_t count) {
    kept = rows;
    kept_targets.clear(), places.clear();
    for (const int32_t row : rows) {
      places.push_back(static_cast<int32_t>(places.size()));
      kept_targets.push_back(targets[static_cast<size_t>(row)]);
    }
    kept.resize(static_cast<size_t>(count), -1);
    kept_targets.resize(static_cast<size_t>(count), -100);
    bindings.inputs["kept"] = {kept.data(), {count}, DType::i32};
    bindings.inputs["targets"] = {kept_targets.data(), {count}, DType::i32};
    bindings.inputs["rows"] = {places.data(), {static_cast<int64_t>(places.size())}, DType::i32};
  }

  // One forward (and backward) pass; gradients land in `gradients`.
  LossStats train(LossType type = LossType::nll, MemoryPolicy memory = {}, bool first = true) {
    auto recorded = record_training(model, size(), type, true, memory);
    Executor executor(*device, arena, std::move(recorded.program));
    bindings.first_micro_batch = first;
    executor.run(bindings);
    arena_bytes = executor.plan().bytes;
    const float* s = executor.tensor(recorded.stats).f32();
    return {s[0], s[1], s[2], s[3]};
  }

  BatchSize size() const {
    return {static_cast<int64_t>(tokens.size()), static_cast<int64_t>(starts.size()) - 1, 0,
            static_cast<int64_t>(kept.size())};
  }

  // (tokens, vocab)
  std::vector<float> logits() {
    auto recorded = record_logits(model, size());
    Executor executor(*device, arena, std::move(recorded.program));
    executor.run(bindings);
    const Tensor t = executor.tensor(recorded.logits);
    return {t.f32(), t.f32() + t.shape.elements()};
  }

  std::unique_ptr<Device> device;
  Arena arena;
  Model model;
  Buffer weights, gradients;
  std::vector<Buffer> frozen;
  Bindings bindings;
  std::vector<int32_t> tokens, positions, targets, starts, rows;
  std::vector<int32_t> kept, kept_targets, places;  // see drop_untrained
  float scale = 1.0F;
  int64_t arena_bytes = 0;
};

}  // namespace sft::testing
