// The rules of a tokenizer.json as JSON (normalizer, pre_tokenizer, post_processor, decoder,
// added_tokens) and, behind a NUL byte, the text that they work on; the vocabulary is bytes.
#include <algorithm>

#include "core/json.h"
#include "core/json_text.h"
#include "fuzz/support.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), input.size());
  const Json rules = json_of(input.substr(0, end));
  if (!rules.is_object()) {
    return 0;
  }
  Json vocab = Json::object();
  for (const char* token : {"a", "b", " ", "ab", "\xE2\x96\x81", "\xC4\xA0", "<unk>"}) {
    vocab[token] = vocab.size();
  }
  Json file = {{"added_tokens", Json::array()},
               {"model",
                {{"type", "BPE"},
                 {"vocab", vocab},
                 {"merges", Json::array({"a b"})},
                 {"unk_token", "<unk>"}}}};
  for (const char* key :
       {"normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens"}) {
    if (rules.contains(key)) {
      file[key] = rules[key];
    }
  }
  return fuzz::accepts([&] {
    const Tokenizer tokenizer = Tokenizer::from_json(file, Json::object(), "tokenizer.json");
    const std::string text(end < size ? input.substr(end + 1) : "banana ab");
    tokenizer.decode(tokenizer.encode(text, true), false);
    tokenizer.encode_with_spans(text, false);
  });
}
