// What is wrong with a model's files, and for whom. Used by `sft check`.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/json.h"

namespace sft {

// Who reads a model's folder.
enum class Reader { transformers4, transformers5, vllm, sglang, llama_cpp, ollama, mlx, lm_eval };
inline constexpr int kReaders = 8;
const char* name_of(Reader reader);

// What a fault does to one of them, from bad to worse.
enum class Effect { sound, warns, wrong, refuses };
const char* name_of(Effect effect);
// Of a finding in words: "works, with less", "loads, and is not this model", "does not load".
const char* words_of(Effect effect);

// A change of one top-level key of a JSON file; a null value takes it away. With a file that has no
// keys, `value` is its whole text.
struct Edit {
  std::string file, key;
  Json value;
};

struct Finding {
  std::string id;      // "rope-old-form"
  std::string where;   // "config.json: rope_theta"
  std::string what;    // one sentence
  std::string change;  // what to change, one line
  std::map<Reader, Effect> effects;
  std::vector<Edit> fix{};  // none: not by the program

  Effect worst() const;
};

// The same effect for several readers.
std::map<Reader, Effect> for_all(Effect effect);
std::map<Reader, Effect> effects(
    std::initializer_list<std::pair<Effect, std::vector<Reader>>> of_readers);

}  // namespace sft
