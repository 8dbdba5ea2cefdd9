#include "io/gguf/write/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/json_text.h"
#include "io/adapter_files.h"
#include "io/gguf/arrangement.h"
#include "io/gguf/names.h"
#include "io/gguf/write/general.h"
#include "io/gguf/write/model_checks.h"
#include "io/gguf/write/model_keys.h"
#include "io/gguf/write/model_tensors.h"
#include "io/gguf/write/tokenizer_keys.h"
#include "model/adapters.h"

namespace sft {

namespace {

// What the file does not say depends on the kind of tokenizer.
bool runtime_adds_bos(const WrittenVocabulary& v, int64_t vocab) {
  if (vocab == kSmolVocab || v.model == "gemma4") {
    return vocab != kSmolVocab;
  }
  const auto said = std::ranges::find(v.adds, "bos", [](const auto& a) { return a.first; });
  return said != v.adds.end() ? said->second
                              : v.model == "llama" || v.pre == "llama-bpe" || v.pre == "tekken";
}

[[noreturn]] void fail_adapter(const std::string& where, const char* what) {
  throw Error("M285", what).at(where).hint("merge it into its base: sft merge, then sft export");
}

// How large the model is, all in all and with one of its experts.
GgufSize size_of(const std::vector<GgufOutput>& tensors) {
  GgufSize size;
  for (const GgufOutput& t : tensors) {
    const int64_t n = elements_of(t.shape);
    const bool of_experts = t.name.find("_exps.") != std::string::npos && t.shape.size() == 3;
    size.all += n;
    size.with_one_expert += of_experts ? n / t.shape[0] : n;
    size.experts = of_experts ? t.shape[0] : size.experts;
  }
  return size;
}

}  // namespace

GgufPlan plan_gguf(const ModelSource& source, const fs::path& folder, const GgufMix& mix,
                   const std::string& pre) {
  const Json& config = source.config();
  const GgufFamily& family = gguf_family_of(config);
  const Model model = Model::from_config(config);
  GgufPlan plan;
  GgufMetadata& m = plan.metadata;
  m.text("general.architecture", family.architecture);
  set_first_keys(m, family, config);
  m.text("general.type", "model");
  check_gguf_model(family, config, model.config);
  plan.tensors = gguf_tensors(source, family, mix);
  const GgufName name = set_general(m, general_of(source, folder), size_of(plan.tensors));
  // Experts that are published in MXFP4 stay so, and beside plain numbers they name the file.
  constexpr GgufMix kMxfp4{"mxfp4", "MXFP4_MOE", 38, DType::mxfp4, false};
  const bool packed = std::ranges::any_of(plan.tensors, [](const auto& t) { return bool(t.copy); });
  const GgufMix& named = packed && !is_packed(mix.type) ? kMxfp4 : mix;
  plan.file_name = gguf_file_name(name, named.suffix, false) + ".gguf";
  set_model_keys(m, family, config, model.config, named.file_type);
  const auto text = [&](const std::string& file) { return source.file_text(file); };
  const int64_t vocab = model.config.vocab;
  WrittenVocabulary vocabulary = vocabulary_for_gguf(text, config, vocab, pre);
  add_family_tokens(family, vocabulary);
  Json tokenizer_config = json_of(text("tokenizer_config.json").value_or("{}"));
  if (!tokenizer_config.is_object()) {
    tokenizer_config = Json::object();
  }
  set_tokenizer_keys(m, family, vocabulary, tokenizer_config, vocab);
  plan.adds_bos = runtime_adds_bos(vocabulary, vocab);
  set_template_keys(m, source.chat_templates());
  set_last_tokenizer_keys(m, family, config, source.generation_config().value_or(Json::object()),
                          tokenizer_config);
  if (vocabulary.model == "gemma4" || (family.is_gemma() && vocabulary.model == "llama")) {
    m.flag("tokenizer.ggml.add_space_prefix", false);
  }
  if (vocabulary.model == "gemma4") {
    m.flag("tokenizer.ggml.add_bos_token", true);
  }
  if (mix.quantiser) {
    m.move_to_end("general.quantization_version");
    m.move_to_end("general.file_type");
  }
  return plan;
}

void check_gguf_adapter(const LoraConfig& config, const AdapterPlan& parts, const Json& base,
                        const GgufMix& mix, const std::string& where) {
  if (mix.quantiser) {
    throw Error("M285", fmt::format("an adapter cannot be {}", mix.suffix))
        .at(where)
        .hint("take f32, f16, bf16 or q8_0, or merge it first: sft merge");
  }
  const GgufFamily& family = gguf_family_of(base);
  if (config.dora || !parts.whole.empty() || !parts.biases.empty() || !parts.tokens.empty()) {
    fail_adapter(where, "the adapter has more than A and B");
  }
  std::set<float> alphas;
  for (const AdapterTarget& t : parts.targets) {
    if (t.kind == AdapterTarget::Kind::experts) {
      fail_adapter(where, "the adapter is on experts, and GGUF adapters have none of these");
    }
    if (t.kind != AdapterTarget::Kind::linear) {
      fail_adapter(where, "the adapter is on an embedding or the head");
    }
    gguf_tensor_name(family, t.module + ".weight");
    alphas.insert(t.scale * static_cast<float>(t.rank));
  }
  if (alphas.size() != 1) {
    fail_adapter(where, "the adapter's layers have different alpha, and a GGUF file has one");
  }
}

GgufPlan plan_gguf_adapter(const AdapterFiles& adapter, const ModelSource& base,
                           const GgufMix& mix) {
  const GgufFamily& family = gguf_family_of(base.config());
  const Model model = Model::from_config(base.config());
  const auto owned = std::make_shared<AdapterFiles>(adapter);
  GgufPlan plan;
  const AdapterPlan parts = owned->plan(model);
  check_gguf_adapter(owned->config, parts, base.config(), mix, adapter.folder.string());
  const float alpha = parts.targets[0].scale * static_cast<float>(parts.targets[0].rank);
  for (const AdapterTarget& t : parts.targets) {
    const std::string name = gguf_tensor_name(family, t.module + ".weight");
    const Arrangement order = arrangement_of(family, base.config(), t.module + ".weight", t.out);
    for (const char which : {'A', 'B'}) {
      const bool is_a = which == 'A';
      const int64_t rows = is_a ? t.rank : t.out, width = is_a ? t.in : t.rank;
      GgufOutput out{
          fmt::format("{}.lora_{}", name, is_a ? 'a' : 'b'), {rows, width}, nullptr, {}, 1};
      const DType type = width % find_gguf_type(mix.type)->block == 0 ? mix.type : DType::f16;
      out.type = find_gguf_type(type);
      const float* values = owned->values.at(is_a ? tensor_a(t) : tensor_b(t)).data();
      out.fill = [owned, values, width, rows_as = is_a ? AxisSwap{} : order.rows,
                  columns = is_a ? order.columns : AxisSwap{}](int64_t begin, int64_t end,
                                                               float* into) {
        for (int64_t row = begin; row < end; ++row) {
          const float* const from = values + rows_as.published(row) * width;
          for (int64_t i = 0; i < width; ++i) {
            into[(row - begin) * width + i] = from[columns.published(i)];
          }
        }
      };
      plan.tensors.push_back(std::move(out));
    }
  }
  int64_t parameters = 0;
  for (size_t i = 0; i < plan.tensors.size(); i += 2) {
    parameters += plan.tensors[i + 1].shape[0] * plan.tensors[i].shape[1];
  }
  GgufMetadata& m = plan.metadata;
  m.text("general.architecture", family.architecture);
  m.text("general.type", "adapter");
  m.text("adapter.type", "lora");
  GgufGeneral general;
  general.folder = fs::absolute(adapter.folder / "").lexically_normal().parent_path().filename();
  std::error_code ignored;
  if (fs::is_regular_file(adapter.folder / "README.md", ignored)) {
    general.card = card_of(read_text(adapter.folder / "README.md"));
  }
  const GgufName name = set_general(m, general, {-parameters});
  m.real("adapter.lora.alpha", alpha);
  m.number("general.quantization_version", 2);
  plan.file_name = gguf_file_name(name, mix.suffix, true) + ".gguf";
  return plan;
}

}  // namespace sft
