#include "run/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/error.h"
#include "io/adapter_files.h"
#include "run/save_packed.h"
#include "state/config_sizes.h"

namespace sft {

namespace {

// The published tensor that a target's adapter changes.
std::string weight_of(const AdapterTarget& t) { return t.module + ".weight"; }

// Values [begin, end) of W + scale B A, row after row, given those of W.
void add_update(const AdapterTarget& t, const float* a, const float* b, int64_t begin, int64_t end,
                float* values) {
  for (int64_t at = begin; at < end;) {
    const int64_t row = at / t.in, column = at % t.in;
    const int64_t n = std::min(end - at, t.in - column);
    float* const to = values + (at - begin);
    for (int64_t k = 0; k < t.rank; ++k) {
      const float factor = t.scale * b[row * t.rank + k];
      const float* const from = a + k * t.in + column;
      for (int64_t i = 0; i < n; ++i) {
        to[i] += factor * from[i];
      }
    }
    at += n;
  }
}

void check_places(const MergeOptions& o, const ModelSource& base) {
  for (const fs::path& taken : {base.path(), fs::path(o.adapter)}) {
    std::error_code ignored;
    if (fs::equivalent(taken, o.output_dir, ignored)) {
      throw Error("C196",
                  fmt::format("--output_dir {} is the folder of what is merged", o.output_dir))
          .hint("choose another folder: the base and the adapter stay as they are");
    }
  }
}

}  // namespace

void merge_adapter(const MergeOptions& o, const HubEnvironment& hub, ThreadPool& pool,
                   const Logger& log) {
  const AdapterFiles adapter = AdapterFiles::read(o.adapter);
  const std::string base = o.base.empty() ? adapter.base() : o.base;
  const auto source = ModelSource::open(base, adapter.config.base_revision.value_or("main"), hub);
  check_places(o, *source);
  const Model model = described_model(*source);
  const std::vector<AdapterTarget> targets = adapter.targets(model);
  std::map<std::string, const AdapterTarget*> by_weight;
  for (const AdapterTarget& t : targets) {
    by_weight[weight_of(t)] = &t;
  }
  std::vector<StreamedTensor> weights;
  for (const ParamSpec& spec : model.trained) {
    for (const ParamPiece& piece : spec.pieces) {
      const auto found = by_weight.find(piece.name);
      const AdapterTarget* const target = found == by_weight.end() ? nullptr : found->second;
      const auto fill = [&, name = piece.name, target](uint64_t begin, std::span<std::byte> into) {
        const auto first = static_cast<int64_t>(begin / sizeof(float));
        const auto last = first + static_cast<int64_t>(into.size() / sizeof(float));
        auto* const values = reinterpret_cast<float*>(into.data());
        source->read_f32(name, {first, last}, values);
        if (target != nullptr) {
          add_update(*target, adapter.values.at(adapter_tensor(target->module, 'A')).data(),
                     adapter.values.at(adapter_tensor(target->module, 'B')).data(), first, last,
                     values);
        }
      };
      weights.push_back({piece.name, DType::f32, spec.shape_of(piece), fill});
    }
  }
  SaveOptions saving;
  saving.dtype =
      o.dtype == "auto" ? source->stored_dtype() : parse_dtype(o.dtype).value_or(DType::f32);
  saving.max_shard_bytes = o.max_shard_bytes;
  save_packed(o.output_dir, *source, model, std::move(weights), saving, o.quantization, &pool, log);
  log.note(fmt::format("merged the adapter of {} layers into {}: {} ({})", targets.size(), base,
                       o.output_dir, name_of(saving.dtype)));
}

}  // namespace sft
