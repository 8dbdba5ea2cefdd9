#include "text/tokenizer_file.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <optional>

#include "core/error.h"
#include "text/json_fields.h"

namespace sft {
namespace {

namespace sj = simdjson::ondemand;

struct TextPair {
  std::string_view left, right;
};

class Reader {
 public:
  Reader(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  TokenizerFile run() {
    try {
      parse();
    } catch (const simdjson::simdjson_error& e) {
      parse_json(text_, name_);  // says where, when it is not JSON at all
      malformed(fmt::format("has a part of an unexpected kind ({})", e.what()));
    }
    check_model();
    resolve_merges();
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
        vocab_is_list_ = true;  // Unigram's; check_model refuses it by name
        skip(part);
      } else {
        model[key] = generic(part);
      }
    }
    file_.components["model"] = std::move(model);
  }

  static void skip(sj::value value) { (void)simdjson::to_json_string(value).value(); }

  void parse_vocabulary(sj::value value) {
    file_.vocabulary.reserve(text_.size() / 48, text_.size() / 4);
    for (auto field : value.get_object()) {
      const std::string_view token = field.unescaped_key();
      int64_t id = 0;
      if (field.value().get_int64().get(id) != simdjson::SUCCESS ||
          !file_.vocabulary.add(token, id)) {
        throw Error("M109",
                    fmt::format("the token \"{}\" of {} has no id of its own between 0 and {}",
                                token, name_, Vocabulary::kMaxId))
            .at(name_)
            .hint("the file is damaged or not a tokenizer.json; fetch it again");
      }
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

  void check_model() {
    const Json& model = required_field(file_.components, "model", name_);
    // Old files name no type; only BPE has merges.
    const std::string type = string_field(model, "type", pairs_.empty() ? "unknown" : "BPE", name_);
    if (type != "BPE" || vocab_is_list_) {
      throw Error("M101", fmt::format("the tokenizer model \"{}\" is not supported", type))
          .at(name_)
          .hint("use a model whose tokenizer.json is of type BPE");
    }
    if (const auto dropout = model.find("dropout");
        dropout != model.end() && dropout->is_number() && dropout->get<double>() != 0) {
      throw Error("M106",
                  fmt::format("BPE with dropout {} is not supported", dropout->get<double>()))
          .at(name_)
          .hint("set \"dropout\" to null: token ids must not be random");
    }
    BpeOptions& options = file_.options;
    options.unk_token = string_field(model, "unk_token", "", name_);
    options.continuing_subword_prefix = string_field(model, "continuing_subword_prefix", "", name_);
    options.end_of_word_suffix = string_field(model, "end_of_word_suffix", "", name_);
    options.fuse_unk = bool_field(model, "fuse_unk", false, name_);
    options.byte_fallback = bool_field(model, "byte_fallback", false, name_);
    options.ignore_merges = bool_field(model, "ignore_merges", false, name_);
    if (file_.vocabulary.count() == 0) {
      malformed("has no vocabulary");
    }
  }

  void resolve_merges() {
    if (pairs_.size() > Bpe::kMaxMerges) {
      malformed(fmt::format("has {} merges, more than the {} that are supported", pairs_.size(),
                            Bpe::kMaxMerges));
    }
    const size_t prefix = file_.options.continuing_subword_prefix.size();
    file_.merges.reserve(pairs_.size());
    std::string joined;
    for (const TextPair& pair : pairs_) {
      joined = pair.left;
      joined += pair.right.substr(std::min(prefix, pair.right.size()));
      const Merge merge{file_.vocabulary.find(pair.left), file_.vocabulary.find(pair.right),
                        file_.vocabulary.find(joined)};
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
      file_.merges.push_back(merge);
    }
  }

  std::string_view text_;
  const std::string& name_;
  simdjson::padded_string padded_;
  sj::parser parser_;  // owns the unescaped texts that pairs_ points to
  std::vector<TextPair> pairs_;
  bool vocab_is_list_ = false;
  TokenizerFile file_;
};

}  // namespace

TokenizerFile parse_tokenizer_file(std::string_view text, const std::string& name) {
  return Reader(text, name).run();
}

}  // namespace sft
