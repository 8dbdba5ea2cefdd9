#include "io/gguf/write/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "core/json_text.h"
#include "formats/convert.h"
#include "io/adapter_files.h"
#include "io/gguf/write/general.h"
#include "io/gguf/write/model_keys.h"
#include "io/model_files.h"
#include "model/adapters.h"

namespace sft {

namespace {

constexpr const char* kHead = "lm_head.weight";

// Rows of a head that stand as two halves, as pairs: row 2i + j of the file is row j half + i.
void pair_rows(const float* from, int64_t heads, int64_t head_rows, int64_t width, float* to) {
  const int64_t half = head_rows / 2;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t row = 0; row < head_rows; ++row) {
      const int64_t source = row % 2 * half + row / 2;
      std::copy_n(from + (head * head_rows + source) * width, width,
                  to + (head * head_rows + row) * width);
    }
  }
}

class ModelPlanner {
 public:
  ModelPlanner(const ModelSource& source, const GgufMix& mix)
      : source_(source),
        model_(Model::from_config(source.config())),
        family_(gguf_family_of(source.config())),
        mix_(mix) {}

  const GgufFamily& family() const { return family_; }
  const ModelConfig& config() const { return model_.config; }

  std::vector<GgufOutput> tensors() {
    std::vector<GgufOutput> all;
    add_rope_divisors(all);
    const std::map<std::string, Shape> wanted = published();
    for (const std::string& name : in_order(wanted)) {
      all.push_back(tensor(name, wanted.at(name)));
    }
    if (mix_.quantiser) {
      std::ranges::sort(all, quantiser_order, &GgufOutput::name);
    }
    std::vector<GgufTensorPlace> places;
    for (const GgufOutput& t : all) {
      places.push_back({t.name, t.shape});
    }
    const auto types = gguf_types(mix_, facts(all), places);
    for (size_t i = 0; i < all.size(); ++i) {
      all[i].type = types[i];
    }
    return all;
  }

 private:
  GgufModelFacts facts(const std::vector<GgufOutput>& all) const {
    const ModelConfig& c = model_.config;
    const std::string_view arch = family_.architecture;
    constexpr int kLayersOf70b = 80;
    return {c.layers,
            std::ranges::none_of(all, [](const auto& t) { return t.name == "output.weight"; }),
            c.layers == kLayersOf70b &&
                ((arch == "llama" && c.heads != c.kv_heads) || arch == "qwen2")};
  }

  // The tensors that the family has, by their published names.
  std::map<std::string, Shape> published() const {
    std::map<std::string, Shape> shapes;
    for (const ParamSpec& spec : model_.trained) {
      for (const ParamPiece& piece : spec.pieces) {
        auto dims = spec.shape.dims();
        dims[0] = piece.rows;
        shapes.emplace(piece.name, Shape(dims));
        source_.require(piece.name, Shape(dims));
      }
    }
    if (model_.config.tied) {
      shapes.erase(kHead);
    }
    return shapes;
  }

  // As the converter meets them: file by file, by name.
  std::vector<std::string> in_order(const std::map<std::string, Shape>& wanted) const {
    std::map<std::string, std::string> files;
    const Json index = json_of(source_.file_text(kWeightsIndex).value_or("{}"));
    if (index.is_object() && index.contains("weight_map") && index["weight_map"].is_object()) {
      for (const auto& [name, file] : index["weight_map"].items()) {
        files[name] = file.is_string() ? file.get<std::string>() : "";
      }
    }
    std::vector<std::string> names;
    for (const auto& [name, shape] : wanted) {
      names.push_back(name);
    }
    std::ranges::stable_sort(names, {}, [&](const std::string& name) {
      const auto it = files.find(name);
      return it == files.end() ? std::string() : it->second;
    });
    return names;
  }

  void add_rope_divisors(std::vector<GgufOutput>& all) const {
    if (!family_.rope_divisors) {
      return;
    }
    const auto divisors = llama3_divisors(source_.config(), model_.config.head_dim);
    if (!divisors.empty()) {
      all.push_back(
          {"rope_freqs.weight",
           {static_cast<int64_t>(divisors.size())},
           nullptr,
           [divisors](int64_t, int64_t, float* into) { std::ranges::copy(divisors, into); },
           1});
    }
  }

  GgufOutput tensor(const std::string& name, const Shape& shape) const {
    GgufOutput out{gguf_tensor_name(family_, name), shape.dims(), nullptr, {}, 1};
    const bool plus_one = family_.norms_plus_one && name.ends_with("norm.weight");
    const bool halves = plus_one && source_.stored_dtype() == DType::f16;
    const int64_t heads = heads_of(name);
    const int64_t width = out.width();
    if (heads > 0 && shape.rank() == 1) {
      out.fill = [this, name, heads, n = shape[0]](int64_t, int64_t, float* into) {
        std::vector<float> values(static_cast<size_t>(n));
        source_.read_f32(name, {0, n}, values.data());
        pair_rows(values.data(), heads, n / heads, 1, into);
      };
      return out;
    }
    if (heads > 0) {
      out.together = shape[0] / heads;
    }
    out.fill = [this, name, width, plus_one, halves, heads, rows = out.together](
                   int64_t begin, int64_t end, float* into) {
      const int64_t n = (end - begin) * width;
      if (heads > 0) {
        std::vector<float> values(static_cast<size_t>(n));
        source_.read_f32(name, {begin * width, end * width}, values.data());
        pair_rows(values.data(), (end - begin) / rows, rows, width, into);
        return;
      }
      source_.read_f32(name, {begin * width, end * width}, into);
      if (plus_one) {
        std::for_each(into, into + n, [&](float& x) {
          x = halves ? to_float(to_float16(x + 1)) : x + 1;  // the converter adds as it is stored
        });
      }
    };
    return out;
  }

  // The heads of a tensor whose rows are stored in pairs, 0 for any other.
  int64_t heads_of(const std::string& name) const {
    if (!family_.interleaved_rope) {
      return 0;
    }
    if (name.find(".self_attn.q_proj.") != std::string::npos) {
      return model_.config.heads;
    }
    return name.find(".self_attn.k_proj.") != std::string::npos ? model_.config.kv_heads : 0;
  }

  const ModelSource& source_;
  const Model model_;
  const GgufFamily& family_;
  const GgufMix& mix_;
};

// What the file does not say depends on the kind of tokenizer.
bool runtime_adds_bos(const WrittenVocabulary& v, int64_t vocab) {
  if (vocab == kSmolVocab) {
    return false;
  }
  const auto said = std::ranges::find(v.adds, "bos", [](const auto& a) { return a.first; });
  return said != v.adds.end() ? said->second
                              : v.model == "llama" || v.pre == "llama-bpe" || v.pre == "tekken";
}

[[noreturn]] void fail_adapter(const std::string& where, const char* what) {
  throw Error("M285", what).at(where).hint("merge it into its base: sft merge, then sft export");
}

int64_t values_in(const std::vector<GgufOutput>& tensors) {
  int64_t n = 0;
  for (const GgufOutput& t : tensors) {
    n += elements_of(t.shape);
  }
  return n;
}

}  // namespace

GgufPlan plan_gguf(const ModelSource& source, const fs::path& folder, const GgufMix& mix,
                   const std::string& pre) {
  const auto planner = std::make_shared<ModelPlanner>(source, mix);
  GgufPlan plan;
  plan.tensors = planner->tensors();
  for (GgufOutput& t : plan.tensors) {  // what fills them lives as long as they do
    t.fill = [planner, fill = std::move(t.fill)](int64_t begin, int64_t end, float* into) {
      fill(begin, end, into);
    };
  }
  GgufMetadata& m = plan.metadata;
  m.text("general.architecture", planner->family().architecture);
  m.text("general.type", "model");
  const GgufName name = set_general(m, general_of(source, folder), values_in(plan.tensors));
  plan.file_name = gguf_file_name(name, mix.suffix, false) + ".gguf";
  set_model_keys(m, planner->family(), source.config(), planner->config(), mix.file_type);
  const auto text = [&](const std::string& file) { return source.file_text(file); };
  const int64_t vocab = planner->config().vocab;
  const WrittenVocabulary vocabulary = vocabulary_for_gguf(text, source.config(), vocab, pre);
  const Json tokenizer_config = json_of(text("tokenizer_config.json").value_or("{}"));
  set_tokenizer_keys(m, planner->family(), vocabulary,
                     tokenizer_config.is_object() ? tokenizer_config : Json::object(), vocab);
  plan.adds_bos = runtime_adds_bos(vocabulary, vocab);
  set_template_keys(m, source.chat_templates());
  if (planner->family().is_gemma() && vocabulary.model == "llama") {
    m.flag("tokenizer.ggml.add_space_prefix", false);
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
  gguf_family_of(base);
  if (config.dora || !parts.whole.empty() || !parts.biases.empty() || !parts.tokens.empty()) {
    fail_adapter(where, "the adapter has more than A and B");
  }
  std::set<float> alphas;
  for (const AdapterTarget& t : parts.targets) {
    if (t.kind != AdapterTarget::Kind::linear) {
      fail_adapter(where, "the adapter is on an embedding or the head");
    }
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
  const ModelConfig& c = model.config;
  const AdapterPlan parts = owned->plan(model);
  check_gguf_adapter(owned->config, parts, base.config(), mix, adapter.folder.string());
  const float alpha = parts.targets[0].scale * static_cast<float>(parts.targets[0].rank);
  for (const AdapterTarget& t : parts.targets) {
    const std::string name = gguf_tensor_name(family, t.module + ".weight");
    const int64_t heads = !family.interleaved_rope                  ? 0
                          : t.module.ends_with(".self_attn.q_proj") ? c.heads
                          : t.module.ends_with(".self_attn.k_proj") ? c.kv_heads
                                                                    : 0;
    for (const char which : {'A', 'B'}) {
      const bool is_a = which == 'A';
      const int64_t rows = is_a ? t.rank : t.out, width = is_a ? t.in : t.rank;
      GgufOutput out{
          fmt::format("{}.lora_{}", name, is_a ? 'a' : 'b'), {rows, width}, nullptr, {}, 1};
      const DType type = width % find_gguf_type(mix.type)->block == 0 ? mix.type : DType::f16;
      out.type = find_gguf_type(type);
      out.together = !is_a && heads > 0 ? rows / heads : 1;
      const float* values = owned->values.at(is_a ? tensor_a(t) : tensor_b(t)).data();
      out.fill = [owned, values, width, rows_of_head = out.together](int64_t begin, int64_t end,
                                                                     float* into) {
        if (rows_of_head > 1) {
          pair_rows(values + begin * width, (end - begin) / rows_of_head, rows_of_head, width,
                    into);
        } else {
          std::copy_n(values + begin * width, (end - begin) * width, into);
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
  const GgufName name = set_general(m, general, -parameters);
  m.real("adapter.lora.alpha", alpha);
  m.number("general.quantization_version", 2);
  plan.file_name = gguf_file_name(name, mix.suffix, true) + ".gguf";
  return plan;
}

}  // namespace sft
