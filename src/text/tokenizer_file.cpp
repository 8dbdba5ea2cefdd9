#include "text/tokenizer_file.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <optional>

#include "core/error.h"
#include "text/json_fields.h"
#include "text/unigram.h"
#include "text/word_models.h"

namespace sft {
namespace {

namespace sj = simdjson::ondemand;

struct TextPair {
  std::string_view left, right;
};

class TokenizerParser {
 public:
  TokenizerParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  TokenizerFile run() {
    try {
      parse();
    } catch (const simdjson::simdjson_error& e) {
      parse_json(text_, name_);  // says where, when it is not JSON at all
      malformed(fmt::format("has a part of an unexpected kind ({})", e.what()));
    }
    make_model();
    return std::move(file_);
  }

 private:
  [[noreturn]] void malformed(std::string_view what) const {
    throw Error("M100", fmt::format("the tokenizer file {} {}", name_, what))
        .at(name_)
        .hint("the file is damaged or not a tokenizer.json; fetch it again");
  }

  Json generic(sj::value value) const {
    return parse_json(simdjson::to_json_string(value).value(), name_);
  }

  void parse() {
    padded_ = simdjson::padded_string(text_);
    sj::document document = parser_.iterate(padded_);
    file_.components = Json::object();
    for (auto field : document.get_object()) {
      const std::string key(field.unescaped_key().value());
      if (key == "model") {
        parse_model(field.value());
      } else {
        file_.components[key] = generic(field.value());
      }
    }
    if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
      malformed("goes on behind its end");
    }
  }

  void parse_model(sj::value value) {
    Json model = Json::object();
    for (auto field : value.get_object()) {
      const std::string key(field.unescaped_key().value());
      sj::value part = field.value();
      if (key == "vocab" && part.type() == sj::json_type::object) {
        parse_vocabulary(part);
      } else if (key == "merges") {
        parse_merges(part);
      } else if (key == "vocab") {
        vocab_is_list_ = true;
        parse_scores(part);
      } else {
        model[key] = generic(part);
      }
    }
    file_.components["model"] = std::move(model);
  }

  void parse_vocabulary(sj::value value) {
    vocabulary_.reserve(text_.size() / 48, text_.size() / 4);
    for (auto field : value.get_object()) {
      const std::string_view token = field.unescaped_key();
      int64_t id = 0;
      if (field.value().get_int64().get(id) != simdjson::SUCCESS || !vocabulary_.add(token, id)) {
        throw Error("M109",
                    fmt::format("the token \"{}\" of {} has no id of its own between 0 and {}",
                                token, name_, Vocabulary::kMaxId))
            .at(name_)
            .hint("the file is damaged or not a tokenizer.json; fetch it again");
      }
    }
  }

  // Unigram's: [["text", score], ...], the ids in order.
  void parse_scores(sj::value value) {
    for (auto item : value.get_array()) {
      std::string_view token;
      double score = 0;
      size_t count = 0;
      for (auto part : item.get_array()) {
        if (count == 0) {
          token = part.get_string();
        } else {
          score = part.get_double();
        }
        ++count;
      }
      if (count != 2) {
        malformed(
            fmt::format("has a token of {} parts where a text and a score are wanted", count));
      }
      if (!vocabulary_.append(token, static_cast<int64_t>(scores_.size()))) {
        malformed(fmt::format("has more than {} tokens", Vocabulary::kMaxId));
      }
      scores_.push_back(score);
    }
  }

  void parse_merges(sj::value value) {
    pairs_.reserve(text_.size() / 48);
    for (auto item : value.get_array()) {
      sj::value merge = item.value();
      if (merge.type() == sj::json_type::array) {
        parse_pair(merge.get_array());
      } else {
        parse_line(merge.get_string());
      }
    }
  }

  void parse_pair(sj::array merge) {
    std::string_view parts[2];
    size_t count = 0;
    for (auto part : merge) {
      const std::string_view text = part.get_string();
      if (count < 2) {
        parts[count] = text;
      }
      ++count;
    }
    if (count != 2) {
      malformed(fmt::format("has a merge of {} parts where 2 are wanted", count));
    }
    pairs_.push_back({parts[0], parts[1]});
  }

  void parse_line(std::string_view line) {
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
      malformed(
          fmt::format("has the merge \"{}\", which is not two tokens with a space between", line));
    }
    pairs_.push_back({line.substr(0, space), line.substr(space + 1)});
  }

  // Old files name no type; then the fields tell.
  std::string model_type(const Json& model) const {
    const auto has = [&](const char* key) { return model.contains(key); };
    const std::string guess = !pairs_.empty()                    ? "BPE"
                              : vocab_is_list_                   ? "Unigram"
                              : has("continuing_subword_prefix") ? "WordPiece"
                                                                 : "WordLevel";
    return string_field(model, "type", guess, name_);
  }

  void make_model() {
    const Json& model = required_field(file_.components, "model", name_);
    const std::string type = model_type(model);
    if (type != "BPE" && type != "Unigram" && type != "WordPiece" && type != "WordLevel") {
      throw Error("M101", fmt::format("the tokenizer model \"{}\" is not supported", type))
          .at(name_)
          .hint("supported: BPE Unigram WordPiece WordLevel");
    }
    if (vocabulary_.count() == 0) {
      malformed("has no vocabulary");
    }
    if (vocab_is_list_ != (type == "Unigram")) {
      malformed(fmt::format("has a vocabulary that is not of the kind {} has", type));
    }
    if (type == "BPE") {
      make_bpe(model);
    } else if (type == "Unigram") {
      make_unigram(model);
    } else if (type == "WordPiece") {
      WordPieceOptions options;
      options.unk_token = string_field(model, "unk_token", options.unk_token, name_);
      options.continuing_subword_prefix = string_field(model, "continuing_subword_prefix",
                                                       options.continuing_subword_prefix, name_);
      options.max_input_chars_per_word =
          int_field(model, "max_input_chars_per_word", options.max_input_chars_per_word, name_);
      file_.model = std::make_unique<WordPiece>(std::move(vocabulary_), options, name_);
    } else {
      file_.model = std::make_unique<WordLevel>(
          std::move(vocabulary_), string_field(model, "unk_token", "<unk>", name_), name_);
    }
  }

  void make_unigram(const Json& model) {
    const int64_t unk_id = int_field(model, "unk_id", Vocabulary::kNone, name_);
    if (model.contains("unk_id") && !model["unk_id"].is_null() &&
        (unk_id < 0 || unk_id >= vocabulary_.id_end())) {
      throw Error("M111", fmt::format("the unk_id {} of {} is not one of its {} tokens", unk_id,
                                      name_, vocabulary_.id_end()))
          .at(name_)
          .hint("the file is damaged; fetch it again");
    }
    file_.model = std::make_unique<Unigram>(
        std::move(vocabulary_), std::move(scores_), static_cast<int32_t>(unk_id),
        bool_field(model, "byte_fallback", false, name_), name_);
  }

  void make_bpe(const Json& model) {
    if (const auto dropout = model.find("dropout");
        dropout != model.end() && dropout->is_number() && dropout->get<double>() != 0) {
      throw Error("M106",
                  fmt::format("BPE with dropout {} is not supported", dropout->get<double>()))
          .at(name_)
          .hint("set \"dropout\" to null: token ids must not be random");
    }
    BpeOptions options;
    options.unk_token = string_field(model, "unk_token", "", name_);
    options.continuing_subword_prefix = string_field(model, "continuing_subword_prefix", "", name_);
    options.end_of_word_suffix = string_field(model, "end_of_word_suffix", "", name_);
    options.fuse_unk = bool_field(model, "fuse_unk", false, name_);
    options.byte_fallback = bool_field(model, "byte_fallback", false, name_);
    options.ignore_merges = bool_field(model, "ignore_merges", false, name_);
    const std::vector<Merge> merges = resolve_merges(options.continuing_subword_prefix.size());
    file_.model = std::make_unique<Bpe>(std::move(vocabulary_), merges, options, name_);
  }

  std::vector<Merge> resolve_merges(size_t prefix) const {
    if (pairs_.size() > Bpe::kMaxMerges) {
      malformed(fmt::format("has {} merges, more than the {} that are supported", pairs_.size(),
                            Bpe::kMaxMerges));
    }
    std::vector<Merge> merges;
    merges.reserve(pairs_.size());
    std::string joined;
    for (const TextPair& pair : pairs_) {
      joined = pair.left;
      joined += pair.right.substr(std::min(prefix, pair.right.size()));
      const Merge merge{vocabulary_.find(pair.left), vocabulary_.find(pair.right),
                        vocabulary_.find(joined)};
      if (merge.left < 0 || merge.right < 0 || merge.result < 0) {
        const std::string_view lost = merge.left < 0    ? pair.left
                                      : merge.right < 0 ? pair.right
                                                        : std::string_view(joined);
        throw Error("M107",
                    fmt::format("the merge \"{} {}\" of {} needs the token \"{}\", which is not "
                                "in the vocabulary",
                                pair.left, pair.right, name_, lost))
            .at(name_)
            .hint("the file is damaged; fetch it again");
      }
      merges.push_back(merge);
    }
    return merges;
  }

  std::string_view text_;
  const std::string& name_;
  simdjson::padded_string padded_;
  sj::parser parser_;  // owns the unescaped texts that pairs_ points to
  std::vector<TextPair> pairs_;
  Vocabulary vocabulary_;
  std::vector<double> scores_;
  bool vocab_is_list_ = false;
  TokenizerFile file_;
};

}  // namespace

TokenizerFile parse_tokenizer_file(std::string_view text, const std::string& name) {
  return TokenizerParser(text, name).run();
}

}  // namespace sft
