#include "run/saved_model.h"

#include <algorithm>

#include "core/file.h"
#include "formats/convert.h"

namespace sft {

namespace {

// Whether training ever ends a turn with the template's token; only then may the model's EOS
// change.
bool trains_turn_end(const PreparedDataset& data, const TextSetup& text) {
  if (!text.turn_end) {
    return false;
  }
  const int64_t sample = std::min<int64_t>(data.size(), 100);
  for (int64_t i = 0; i < sample; ++i) {
    const Example e = data.example(i);
    if (std::ranges::find(e.labels, static_cast<int32_t>(text.turn_end->id)) != e.labels.end()) {
      return true;
    }
  }
  return false;
}

SaveOptions save_options(OpenRun& run) {
  const TrainOptions& o = run.options();
  const TextSetup& text = run.text();
  SaveOptions s;
  s.dtype = o.save_dtype == "auto" ? run.source().stored_dtype()
                                   : parse_dtype(o.save_dtype).value_or(DType::f32);
  s.max_shard_bytes = static_cast<uint64_t>(o.max_shard_bytes());
  if (trains_turn_end(run.train(), text)) {
    s.turn_end = text.turn_end;
  }
  if (text.tokenizer.eos_id()) {
    s.eos = TokenRef{text.tokenizer.eos_token(), *text.tokenizer.eos_id()};
  }
  s.chat_template = text.replaced_template;
  if (text.chat_is_default && run.rows(Part::train).chat) {
    s.chat_template = text.chat->source();  // what the model now knows must come with it
  }
  if (o.data.eos_token) {
    s.tokenizer_config["eos_token"] = *o.data.eos_token;
  }
  s.sft_version = run.surroundings().version;
  if (o.data.dataset_name && is_hub_id(*o.data.dataset_name) && !is_there(*o.data.dataset_name)) {
    s.datasets.push_back(*o.data.dataset_name);
  }
  return s;
}

}  // namespace

SavedModel::SavedModel(OpenRun& run)
    : source_(run.source()), adapter_(run.adapter()), options_(save_options(run)) {}

SaveReport SavedModel::write(const fs::path& folder, std::span<const StreamedTensor> weights,
                             ThreadPool* pool) const {
  if (adapter_) {
    return save_adapter(folder, source_, adapter_->json(), weights, options_, pool);
  }
  std::vector<StreamedTensor> kept;
  for (const StreamedTensor& w : weights) {  // those in neither float32 nor the files' type
    kept.push_back(w.dtype == DType::f32 || w.dtype == options_.dtype ? w : widened(w));
  }
  return save_model(folder, source_, kept, options_, pool);
}

}  // namespace sft
