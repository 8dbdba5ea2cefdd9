#include "run/check/finding.h"

#include <algorithm>

namespace sft {

const char* name_of(Reader reader) {
  switch (reader) {
    case Reader::transformers4:
      return "transformers 4";
    case Reader::transformers5:
      return "transformers 5";
    case Reader::vllm:
      return "vLLM";
    case Reader::sglang:
      return "SGLang";
    case Reader::llama_cpp:
      return "llama.cpp";
    case Reader::ollama:
      return "Ollama";
    case Reader::mlx:
      return "MLX";
    case Reader::lm_eval:
      return "lm-eval";
  }
  return "";
}

const char* name_of(Effect effect) {
  switch (effect) {
    case Effect::sound:
      return "sound";
    case Effect::warns:
      return "warns";
    case Effect::wrong:
      return "wrong";
    case Effect::refuses:
      return "refuses";
  }
  return "";
}

const char* words_of(Effect effect) {
  switch (effect) {
    case Effect::sound:
      return "sound";
    case Effect::warns:
      return "works, with less";
    case Effect::wrong:
      return "loads, and is not this model";
    case Effect::refuses:
      return "does not load";
  }
  return "";
}

Effect Finding::worst() const {
  Effect worst = Effect::sound;
  for (const auto& [reader, effect] : effects) {
    worst = std::max(worst, effect);
  }
  return worst;
}

std::map<Reader, Effect> for_all(Effect effect) {
  std::map<Reader, Effect> out;
  for (int i = 0; i < kReaders; ++i) {
    out[static_cast<Reader>(i)] = effect;
  }
  return out;
}

std::map<Reader, Effect> effects(
    std::initializer_list<std::pair<Effect, std::vector<Reader>>> of_readers) {
  std::map<Reader, Effect> out;
  for (const auto& [effect, readers] : of_readers) {
    for (const Reader reader : readers) {
      out[reader] = effect;
    }
  }
  return out;
}

}  // namespace sft
