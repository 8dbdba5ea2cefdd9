// The tokenizer of a model, built from the tokenizer.json and tokenizer_config.json of a model
// folder. Used by data, io, train and cli.
//
// Ids are those of Hugging Face's `tokenizers` library. A Tokenizer does not change after it is
// made and may be used by many threads at once; a thread that encodes much keeps a Scratch of its
// own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error_code.h"
#include "core/json_fwd.h"
#include "text/span.h"

namespace sft {

inline constexpr Code kTextIsNotUtf8 = "M114";

struct Encoding {
  std::vector<int32_t> ids;
  // Where in the text given to `encode` each token comes from, in bytes, whole characters; {0, 0}
  // for special tokens that were put around the text.
  std::vector<Span> spans;
};

class Tokenizer {
 public:
  // Room for one thread to work in; remembers words it has met. Results never depend on it.
  class Scratch {
   public:
    explicit Scratch(const Tokenizer& tokenizer);
    ~Scratch();
    Scratch(Scratch&&) noexcept;
    Scratch& operator=(Scratch&&) noexcept;

   private:
    friend class Tokenizer;
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

  // From the text of tokenizer.json (fast: prefer it) and the parsed tokenizer_config.json (null or
  // {} where there is none). `name` stands in errors. M100-M115.
  static Tokenizer from_text(std::string_view tokenizer_json, const Json& tokenizer_config,
                             const std::string& name);
  // The same from a parsed tokenizer.json, which costs writing it out first. Never parse a large
  // tokenizer.json into Json for this: its key lookup makes that quadratic in the vocabulary.
  static Tokenizer from_json(const Json& tokenizer_json, const Json& tokenizer_config,
                             const std::string& name);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // `text` is valid UTF-8 (kTextIsNotUtf8 otherwise) of less than 4 GiB (M116).
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const;
  Encoding encode_with_spans(std::string_view text, bool add_special_tokens) const;
  // The same for a loop: the ids are appended to `ids`.
  void encode(std::string_view text, bool add_special_tokens, Scratch& scratch,
              std::vector<int32_t>& ids) const;
  void encode_with_spans(std::string_view text, bool add_special_tokens, Scratch& scratch,
                         Encoding& encoding) const;

  // Ids without a token are left out; bytes that are not UTF-8 become U+FFFD.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  std::optional<int32_t> id_of(std::string_view token) const;
  // The token as the vocabulary spells it (spaces may be written as U+0120 or U+2581); "" when
  // there is none. Valid as long as the tokenizer.
  std::string_view token(int32_t id) const;
  bool is_special(int32_t id) const;
  // One more than the largest id, added tokens included: what an embedding needs at least.
  int vocab_size() const;

  // From tokenizer_config.json; nullopt and "" where it names none or one that is not a token.
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> pad_id() const;
  std::optional<int32_t> unk_id() const;
  const std::string& bos_token() const;
  const std::string& eos_token() const;
  const std::string& pad_token() const;
  const std::string& unk_token() const;
  // Nothing when it is absent or as good as infinite.
  std::optional<int64_t> model_max_length() const;

 private:
  friend class StreamDecoder;
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

// Decodes ids one at a time, as they are generated. Holds back bytes of characters that are not
// complete yet. Outlives nothing: it keeps what it needs of the tokenizer alive.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens);

  // The text that this token adds, "" when it only begins a character.
  std::string push(int32_t id);
  // What is still held back, as U+FFFD; to be called at the end.
  std::string finish();

 private:
  std::string push_bytes(int32_t id);
  std::string push_window(int32_t id);

  std::shared_ptr<const Tokenizer::Impl> tokenizer_;
  bool skip_special_;
  std::string held_;             // byte-level: the beginning of a character
  std::vector<int32_t> window_;  // others: the ids of the last text given, and those since
  size_t window_given_ = 0;      // how many of them have had their text given
  std::string window_text_;      // the text of those
};

}  // namespace sft
