#include "run/saved_model.h"

#include <algorithm>
#include <iterator>

#include "core/file.h"
#include "formats/convert.h"
#include "model/adapters.h"
#include "state/trained_types.h"

namespace sft {

namespace {

std::string published(const char* name) { return std::string(kAdapterPrefix) + name; }

// The same tensor, of float32, in a type that holds all of its numbers.
StreamedTensor narrowed(const StreamedTensor& tensor, DType type) {
  return {
      tensor.name, type, tensor.shape, [tensor, type](uint64_t begin, std::span<std::byte> into) {
        const size_t n = into.size() / size_of(type);
        std::vector<float> wide(n);
        tensor.fill(begin / size_of(type) * sizeof(float), std::as_writable_bytes(std::span(wide)));
        convert_from_f32(type, wide.data(), static_cast<int64_t>(n), into.data());
      }};
}

SaveOptions save_options(OpenRun& run) {
  const TrainOptions& o = run.options();
  const TextSetup& text = run.text();
  SaveOptions s;
  s.dtype = o.save_dtype == "auto" ? run.source().stored_dtype()
                                   : parse_dtype(o.save_dtype).value_or(DType::f32);
  s.max_shard_bytes = static_cast<uint64_t>(o.max_shard_bytes());
  s.turn_end = text.turn_end;
  if (text.tokenizer.eos_id()) {
    s.eos = TokenRef{text.tokenizer.eos_token(), *text.tokenizer.eos_id()};
  }
  s.chat_template = text.replaced_template;
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

std::vector<StreamedTensor> untrained_tables(const ModelSource& source, const Model& model) {
  std::vector<StreamedTensor> out;
  for (const ParamSpec& spec : model.frozen) {
    if (spec.kind != ParamKind::table) {
      continue;
    }
    const std::string& name = spec.pieces.front().name;
    out.push_back(
        {name, DType::f32, spec.shape, [&source, name](uint64_t begin, std::span<std::byte> into) {
           const auto first = static_cast<int64_t>(begin / sizeof(float));
           const auto count = static_cast<int64_t>(into.size() / sizeof(float));
           source.read_f32(name, {first, first + count}, reinterpret_cast<float*>(into.data()));
         }});
    out.back().spelling = "F32";
  }
  return out;
}

SavedModel::SavedModel(OpenRun& run)
    : source_(run.source()),
      adapter_(run.adapter()),
      options_(save_options(run)),
      chats_(run.rows(Part::train).chat) {
  if (!adapter_) {
    routers_ = untrained_tables(source_, run.shape());
  }
  if (run.text().chat_is_default) {
    own_template_ = run.text().chat->source();
  }
  if (adapter_) {
    tables_ = adapter_->tables(run.shape(), !source_.added_tokens().empty());
    if (holds_narrower(run.shape())) {
      narrower_ = run.shape().trained_type;
    }
  }
}

SaveReport SavedModel::write_adapter(const fs::path& folder,
                                     std::span<const StreamedTensor> weights,
                                     const SaveOptions& options, ThreadPool* pool) const {
  std::vector<StreamedTensor> all;
  for (const StreamedTensor& w : weights) {
    if (w.name.starts_with(kAdapterPrefix)) {  // not the rest of a bias that is trained in part
      all.push_back(!w.name.ends_with(kMagnitudeName) && narrower_ ? narrowed(w, *narrower_) : w);
      if (adapter_->plan.keeps_tied && w.name == published(kEmbeddingWeight)) {
        all.push_back(all.back());  // PEFT has the table under both its names
        all.back().name = published(kHeadWeight);
      }
    }
  }
  for (const auto& [name, base] : tables_) {
    all.push_back({name, DType::f32, source_.shape(base),
                   [this, base = base](uint64_t begin, std::span<std::byte> into) {
                     const auto first = static_cast<int64_t>(begin / sizeof(float));
                     const auto count = static_cast<int64_t>(into.size() / sizeof(float));
                     source_.read_f32(base, {first, first + count},
                                      reinterpret_cast<float*>(into.data()));
                   }});
  }
  return save_adapter(folder, source_, adapter_->json(), all, options, pool);
}

SaveReport SavedModel::write(const fs::path& folder, const TrainedModel& model,
                             ThreadPool* pool) const {
  SaveOptions options = options_;
  if (!model.ends_turns) {  // it has not learnt to end them, so its EOS stays as it was
    options.turn_end.reset();
  }
  if (own_template_ && (chats_ || model.chats)) {
    options.chat_template = own_template_;  // what the model now knows must come with it
  }
  if (adapter_) {
    return write_adapter(folder, model.weights, options, pool);
  }
  std::vector<StreamedTensor> kept;
  for (const StreamedTensor& w : model.weights) {  // those in neither float32 nor the files' type
    kept.push_back(w.dtype == DType::f32 || w.dtype == options.dtype ? w : widened(w));
  }
  std::ranges::copy(routers_, std::back_inserter(kept));
  return save_model(folder, source_, kept, options, pool);
}

}  // namespace sft
