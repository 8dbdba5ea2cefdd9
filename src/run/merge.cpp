#include "run/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>

#include "core/error.h"
#include "io/adapter_files.h"
#include "model/experts.h"
#include "run/run_adapter.h"
#include "run/save_packed.h"
#include "run/saved_model.h"
#include "run/text_setup.h"
#include "state/adapter_start.h"
#include "state/config_sizes.h"

namespace sft {

namespace {

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

// The merged tensors of a model, made as they are written.
class Merger {
 public:
  Merger(const AdapterFiles& files, const ModelSource& source, ThreadPool& pool)
      : source_(source),
        pool_(pool),
        model_(described_model(source)),
        plan_(files.plan(model_)),
        start_(AdapterStart::given(files.config, plan_, files.values)) {
    Model adapted = model_;
    add_adapters(adapted, plan_, files.config);
    for (const auto& [name, shape] : adapter_tensors(adapted)) {
      own_.insert(name);
    }
    for (const AdapterTarget& t : plan_.targets) {
      targets_.emplace(
          t.kind == AdapterTarget::Kind::experts ? t.parameter + ".weight" : t.module + ".weight",
          &t);
    }
  }

  const Model& model() const { return model_; }
  size_t layers() const { return plan_.targets.size(); }

  // Whether the head stays the table that it was.
  bool parted() const {
    return model_.config.tied && !plan_.keeps_tied &&
           (is_own(kHeadWeight) || is_own(kEmbeddingWeight) || targets_.contains(kHeadWeight) ||
            targets_.contains(kEmbeddingWeight));
  }

  std::vector<StreamedTensor> tensors() {
    std::vector<StreamedTensor> out;
    for (const ParamSpec* const each : model_.parameters()) {
      const ParamSpec& spec = *each;
      if (spec.kind == ParamKind::table) {
        continue;
      }
      // An adapter is of all experts at once, where these stand one behind the other.
      const bool experts = holds_experts(spec.name);
      int64_t first = 0;  // value of the parameter that a piece has
      for (const ParamPiece& piece : spec.pieces) {
        const bool whole = experts || spec.pieces.size() == 1;
        out.push_back(tensor(piece.name, piece.name, spec.shape_of(piece),
                             whole ? spec.name : piece.name, experts ? first : 0));
        first += spec.shape_of(piece).elements();
      }
    }
    if (parted()) {
      out.push_back(tensor(kHeadWeight, kEmbeddingWeight,
                           {model_.config.vocab, model_.config.hidden}, kHeadWeight, 0));
    }
    std::ranges::move(untrained_tables(source_, model_), std::back_inserter(out));
    return out;
  }

 private:
  bool is_own(const std::string& name) const {
    return own_.contains(std::string(kAdapterPrefix) + name);
  }

  // `name` as it is merged, of what `base` is in the base. An adapter of `adapted` changes it; it
  // has that one's values from `offset` on.
  StreamedTensor tensor(const std::string& name, const std::string& base, const Shape& shape,
                        const std::string& adapted, int64_t offset) {
    std::string from = base;
    const std::string bias = name.ends_with(".bias") ? name.substr(0, name.size() - 5) : "";
    if (is_own(name)) {
      from = std::string(kAdapterPrefix) + name;
    } else if (!bias.empty() && is_own(bias + ".base_layer.bias")) {
      from = std::string(kAdapterPrefix) + bias + ".base_layer.bias";
    }
    const auto found = targets_.find(adapted);
    const AdapterTarget* const target = found == targets_.end() ? nullptr : found->second;
    return {name, DType::f32, shape,
            [this, name, from, target, offset](uint64_t begin, std::span<std::byte> into) {
              const auto first = static_cast<int64_t>(begin / sizeof(float));
              const auto last = first + static_cast<int64_t>(into.size() / sizeof(float));
              auto* const values = reinterpret_cast<float*>(into.data());
              start_.read(source_, from, {first, last}, values, pool_);
              if (target != nullptr) {
                start_.add_update(source_, *target, {offset + first, offset + last}, values, pool_);
              }
              start_.put_tokens(name.substr(0, name.rfind('.')), {first, last}, values);
            }};
  }

  const ModelSource& source_;
  ThreadPool& pool_;
  const Model model_;
  const AdapterPlan plan_;
  AdapterStart start_;
  std::set<std::string> own_;                            // published tensors of the adapter
  std::map<std::string, const AdapterTarget*> targets_;  // by the weight that they change
};

// The token that ends a text, as tokenizer_config.json has it: a text, or an object of it.
std::optional<std::string> eos_token(const Json& tokenizer_config) {
  const Json eos =
      tokenizer_config.is_object() ? tokenizer_config.value("eos_token", Json()) : Json();
  const Json text = eos.is_object() ? eos.value("content", Json()) : eos;
  return text.is_string() ? std::optional(text.get<std::string>()) : std::nullopt;
}

// As training saves a whole model. What it has made of the text lies with the adapter: another chat
// template, and an EOS of the tokenizer that is the end of a turn, which the model has learnt.
void take_text(const AdapterFiles& adapter, const ModelSource& source, const HubEnvironment& hub,
               SaveOptions& saving) {
  const fs::path chat = adapter.folder / "chat_template.jinja";
  if (is_file(chat) && source.chat_template() != read_text(chat)) {
    saving.chat_template = read_text(chat);
  }
  const TextSetup text = load_text(source, {}, hub);
  if (const auto id = text.tokenizer.eos_id()) {
    saving.eos = TokenRef{text.tokenizer.eos_token(), *id};
  }
  const fs::path config = adapter.folder / "tokenizer_config.json";
  const std::optional<std::string> eos =
      is_file(config) ? eos_token(read_json(config)) : std::nullopt;
  const std::optional<int32_t> id = eos ? text.tokenizer.id_of(*eos) : std::nullopt;
  if (id && id != text.tokenizer.eos_id()) {
    saving.turn_end = TokenRef{*eos, *id};
  }
}

}  // namespace

void merge_adapter(const MergeOptions& o, const HubEnvironment& hub, ThreadPool& pool,
                   const Logger& log) {
  const AdapterFiles adapter = AdapterFiles::read(o.adapter);
  const std::string base = o.base.empty() ? adapter.base() : o.base;
  const auto source = grown_for(
      ModelSource::open(base, adapter.config.base_revision.value_or("main"), hub), adapter);
  check_places(o, *source);
  Merger merger(adapter, *source, pool);
  SaveOptions saving;
  saving.dtype =
      o.dtype == "auto" ? source->stored_dtype() : parse_dtype(o.dtype).value_or(DType::f32);
  saving.max_shard_bytes = o.max_shard_bytes;
  saving.untied = merger.parted();
  take_text(adapter, *source, hub, saving);
  save_packed(o.output_dir, *source, merger.model(), merger.tensors(), saving, o.quantization,
              &pool, log);
  log.note(fmt::format("merged the adapter of {} layers into {}: {} ({}){}", merger.layers(), base,
                       o.output_dir, name_of(saving.dtype),
                       saving.untied ? "; its head is no longer its embeddings" : ""));
}

}  // namespace sft
