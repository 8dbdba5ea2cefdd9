#include "run/check/known_models.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "core/strings.h"

namespace sft {

namespace {

// Decoder models of transformers 5.24, by its table of language models.
constexpr KnownModel kModels[] = {
    {"apertus", "ApertusForCausalLM"},
    {"arcee", "ArceeForCausalLM"},
    {"bamba", "BambaForCausalLM"},
    {"bitnet", "BitNetForCausalLM"},
    {"bloom", "BloomForCausalLM"},
    {"codegen", "CodeGenForCausalLM"},
    {"cohere", "CohereForCausalLM"},
    {"cohere2", "Cohere2ForCausalLM"},
    {"dbrx", "DbrxForCausalLM"},
    {"deepseek_v2", "DeepseekV2ForCausalLM"},
    {"deepseek_v3", "DeepseekV3ForCausalLM"},
    {"ernie4_5", "Ernie4_5ForCausalLM"},
    {"ernie4_5_moe", "Ernie4_5_MoeForCausalLM"},
    {"exaone4", "Exaone4ForCausalLM"},
    {"falcon", "FalconForCausalLM"},
    {"falcon_h1", "FalconH1ForCausalLM"},
    {"gemma", "GemmaForCausalLM"},
    {"gemma2", "Gemma2ForCausalLM"},
    {"gemma3", "Gemma3ForConditionalGeneration"},
    {"gemma3_text", "Gemma3ForCausalLM"},
    {"gemma3n", "Gemma3nForConditionalGeneration"},
    {"gemma3n_text", "Gemma3nForCausalLM"},
    {"gemma4", "Gemma4ForConditionalGeneration"},
    {"gemma4_text", "Gemma4ForCausalLM"},
    {"glm", "GlmForCausalLM"},
    {"glm4", "Glm4ForCausalLM"},
    {"glm4_moe", "Glm4MoeForCausalLM"},
    {"gpt2", "GPT2LMHeadModel"},
    {"gpt_bigcode", "GPTBigCodeForCausalLM"},
    {"gpt_neo", "GPTNeoForCausalLM"},
    {"gpt_neox", "GPTNeoXForCausalLM"},
    {"gpt_oss", "GptOssForCausalLM"},
    {"gptj", "GPTJForCausalLM"},
    {"granite", "GraniteForCausalLM"},
    {"granitemoe", "GraniteMoeForCausalLM"},
    {"granitemoehybrid", "GraniteMoeHybridForCausalLM"},
    {"hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM"},
    {"hunyuan_v1_moe", "HunYuanMoEV1ForCausalLM"},
    {"jamba", "JambaForCausalLM"},
    {"lfm2", "Lfm2ForCausalLM"},
    {"llama", "LlamaForCausalLM"},
    {"llama4", "Llama4ForConditionalGeneration"},
    {"llama4_text", "Llama4ForCausalLM"},
    {"mamba", "MambaForCausalLM"},
    {"mamba2", "Mamba2ForCausalLM"},
    {"minimax", "MiniMaxForCausalLM"},
    {"ministral", "MinistralForCausalLM"},
    {"ministral3", "Ministral3ForCausalLM"},
    {"mistral", "MistralForCausalLM"},
    {"mistral3", "Mistral3ForConditionalGeneration"},
    {"mixtral", "MixtralForCausalLM"},
    {"mpt", "MptForCausalLM"},
    {"nemotron", "NemotronForCausalLM"},
    {"olmo", "OlmoForCausalLM"},
    {"olmo2", "Olmo2ForCausalLM"},
    {"olmo3", "Olmo3ForCausalLM"},
    {"olmoe", "OlmoeForCausalLM"},
    {"opt", "OPTForCausalLM"},
    {"persimmon", "PersimmonForCausalLM"},
    {"phi", "PhiForCausalLM"},
    {"phi3", "Phi3ForCausalLM"},
    {"phimoe", "PhimoeForCausalLM"},
    {"qwen2", "Qwen2ForCausalLM"},
    {"qwen2_moe", "Qwen2MoeForCausalLM"},
    {"qwen3", "Qwen3ForCausalLM"},
    {"qwen3_5", "Qwen3_5ForConditionalGeneration"},
    {"qwen3_5_moe", "Qwen3_5MoeForConditionalGeneration"},
    {"qwen3_5_moe_text", "Qwen3_5MoeForCausalLM"},
    {"qwen3_5_text", "Qwen3_5ForCausalLM"},
    {"qwen3_moe", "Qwen3MoeForCausalLM"},
    {"qwen3_next", "Qwen3NextForCausalLM"},
    {"seed_oss", "SeedOssForCausalLM"},
    {"smollm3", "SmolLM3ForCausalLM"},
    {"stablelm", "StableLmForCausalLM"},
    {"starcoder2", "Starcoder2ForCausalLM"},
    {"vaultgemma", "VaultGemmaForCausalLM"},
    {"xglm", "XGLMForCausalLM"},
    {"zamba2", "Zamba2ForCausalLM"},
};

// What language models have, without "Fast".
constexpr std::string_view kTokenizers[] = {
    "PreTrained", "BloomTokenizer", "CodeGen",   "CodeLlama", "Cohere",  "GPT2",
    "GPTNeoX",    "Gemma",          "Llama",     "OpenAIGPT", "Qwen2",   "T5",
    "XGLM",       "Bert",           "ByT5",      "Nllb",      "Pegasus", "Roberta",
    "Whisper",    "XLMRoberta",     "DebertaV2", "Albert",    "Bart",    "Camembert"};

std::string digits_of(std::string_view name) {
  std::string digits;
  std::ranges::copy_if(name, std::back_inserter(digits),
                       [](char c) { return c >= '0' && c <= '9'; });
  return digits;
}

// Another number is another model, not a slip.
std::string meant(const std::string& name, const char* KnownModel::* member) {
  std::string found;
  int nearest = name.size() < 6 ? 1 : 2;
  for (const KnownModel& model : kModels) {
    if (name == model.*member) {
      return "";
    }
    const int distance = edit_distance(name, model.*member);
    if (distance <= nearest && digits_of(name) == digits_of(model.*member)) {
      nearest = distance;
      found = model.*member;
    }
  }
  return found;
}

}  // namespace

const KnownModel* known_by_type(const std::string& model_type) {
  const auto* const found = std::ranges::find_if(
      kModels, [&](const KnownModel& m) { return model_type == m.model_type; });
  return found == std::end(kModels) ? nullptr : found;
}

const KnownModel* known_by_architecture(const std::string& architecture) {
  const auto* const found = std::ranges::find_if(
      kModels, [&](const KnownModel& m) { return architecture == m.architecture; });
  return found == std::end(kModels) ? nullptr : found;
}

std::string meant_type(const std::string& model_type) {
  return meant(model_type, &KnownModel::model_type);
}

std::string meant_architecture(const std::string& architecture) {
  return meant(architecture, &KnownModel::architecture);
}

bool knows_tokenizer_class(const std::string& name) {
  return std::ranges::any_of(kTokenizers, [&](std::string_view known) {
    const std::string whole =
        std::string(known) + (known.ends_with("Tokenizer") ? "" : "Tokenizer");
    return name == whole || name == whole + "Fast";
  });
}

}  // namespace sft
