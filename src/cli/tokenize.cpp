// `sft tokenize`: the token ids of every line of a file, or how many there are and how fast they
// come.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "cli/commands.h"
#include "cli/hub.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/lfs_pointer.h"
#include "core/numbers.h"
#include "core/strings.h"
#include "core/thread_pool.h"
#include "hub/cache.h"
#include "hub/local_name.h"
#include "hub/repository.h"
#include "io/model_source.h"
#include "io/model_text.h"
#include "options/parser.h"
#include "run/choose_device.h"
#include "text/special_tokens.h"
#include "text/tokenizer.h"

namespace sft {
namespace {

struct TokenizeOptions {
  std::optional<std::string> model_name_or_path, file;
  std::string model_revision = "main";
  bool whole = false, nul = false, add_special_tokens = true;
  bool spans = false, decode = false, json = false;
  int64_t threads = 1, rounds = 1;
  std::string color = "auto";

  void visit(OptionTable& v) {
    v.group("Input");
    v("model_name_or_path", &model_name_or_path,
      "Folder with a tokenizer.json, such a file itself, .gguf file, or hub id.")
        .also("model");
    v("model_revision", &model_revision, "Branch, tag or commit of a hub id.");
    v("file", &file,
      "The text, UTF-8; \"-\" reads standard input. Each line is a text of its own.");
    v("whole", &whole, "The file is one text.");
    v("nul", &nul, "Texts end at a NUL byte in place of a line's end.");
    v("add_special_tokens", &add_special_tokens,
      "With the special tokens that the tokenizer puts around a text.");
    v.group("Output");
    v("json", &json, "One object a text on stdout: {\"ids\": [...]}; the rate goes to stderr.");
    v("spans", &spans, "With --json: also \"spans\", the bytes of the text each token stands for.");
    v("decode", &decode, "With --json: also \"text\", what the ids decode to.");
    v("threads", &threads, "Threads to tokenize with; 0: the cores this process may use.")
        .at_most(kMostThreads);
    v("rounds", &rounds, "Tokenize so many times; the rate is that of the fastest.").at_least(1);
    v("color", &color, "auto, always or never.").one_of({"auto", "always", "never"});
  }
};

Tokenizer from_folder(const fs::path& tokenizer_json, const std::string& name) {
  const Json config = whole_tokenizer_config(
      [&](const std::string& file) { return model_text(tokenizer_json.parent_path(), file); });
  return Tokenizer::from_text(read_fetched_text(tokenizer_json), config, name);
}

// No weights are needed, so that a folder or snapshot with nothing but a tokenizer will do.
Tokenizer load_tokenizer(const std::string& name, const std::string& revision,
                         const HubEnvironment& hub) {
  const fs::path path(name);
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored) && path.extension() == ".json") {
    return from_folder(path, name);
  }
  if (fs::exists(path / "tokenizer.json", ignored)) {
    return from_folder(path / "tokenizer.json", name);
  }
  if (!fs::exists(path, ignored) && is_hub_id(name) && why_a_path(name).empty() &&
      !parent_is_here(name) &&
      (hub.online() || find_in_hub_cache(HubKind::model, name, revision, hub).folder)) {
    HubRepository repository(HubKind::model, name, revision, hub);
    if (repository.has("tokenizer.json")) {
      std::vector<std::string> files = {"tokenizer.json"};
      for (const char* file :
           {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}) {
        if (repository.has(file)) {
          files.emplace_back(file);
        }
      }
      return from_folder(repository.fetch(files) / "tokenizer.json", name);
    }
  }
  const auto source = ModelSource::open(name, revision, hub);
  const auto text = source->file_text("tokenizer.json");
  if (!text) {
    throw Error("M250", fmt::format("{} has no tokenizer.json", source->path().string()))
        .hint("use a model folder that has one; transformers writes it with save_pretrained");
  }
  const Json config =
      whole_tokenizer_config([&](const std::string& file) { return source->file_text(file); });
  return Tokenizer::from_text(*text, config, name);
}

// A line's end is "\n" or "\r\n" and no part of the line; a last line needs none.
std::vector<std::string_view> cut_texts(std::string_view all, const TokenizeOptions& o) {
  if (o.whole) {
    return {all};
  }
  std::vector<std::string_view> texts;
  const char separator = o.nul ? '\0' : '\n';
  while (!all.empty()) {
    const size_t end = all.find(separator);
    std::string_view text = all.substr(0, end);
    if (!o.nul && end != std::string_view::npos && text.ends_with('\r')) {
      text.remove_suffix(1);
    }
    texts.push_back(text);
    all.remove_prefix(end == std::string_view::npos ? all.size() : end + 1);
  }
  return texts;
}

std::string json_line(const Encoding& encoding, const Tokenizer& tokenizer,
                      const TokenizeOptions& o) {
  std::string out = fmt::format("{{\"ids\": [{}]", fmt::join(encoding.ids, ", "));
  if (o.spans) {
    std::vector<std::string> spans;
    for (const Span span : encoding.spans) {
      spans.push_back(fmt::format("[{}, {}]", span.begin, span.end));
    }
    out += fmt::format(", \"spans\": [{}]", fmt::join(spans, ", "));
  }
  if (o.decode) {
    out += ", \"text\": " + to_text(tokenizer.decode(encoding.ids, false));
  }
  return out + "}\n";
}

// Texts of some megabytes at a time, so that memory stays bounded whatever the file's size.
class Run {
 public:
  Run(const Tokenizer& tokenizer, const TokenizeOptions& o, Terminal& terminal)
      : tokenizer_(tokenizer),
        o_(o),
        terminal_(terminal),
        pool_(o.threads > 0 ? static_cast<int>(o.threads) : default_threads()) {
    say_shortage(pool_, static_cast<int>(o.threads), terminal.logger(0, 0));
    for (int i = 0; i < pool_.size(); ++i) {
      scratches_.emplace_back(tokenizer);
    }
  }

  void all(const std::vector<std::string_view>& texts) {
    for (size_t begin = 0; begin < texts.size();) {
      size_t end = begin, bytes = 0;
      while (end < texts.size() && (end == begin || bytes + texts[end].size() <= kBlockBytes)) {
        bytes += texts[end++].size();
      }
      block(std::span(texts).subspan(begin, end - begin), begin);
      bytes_ += bytes;
      begin = end;
    }
    texts_ = texts.size();
  }

  void report() const {
    const double seconds = std::max(seconds_, 1e-9);
    const std::string text = fmt::format(
        "{} texts, {} bytes, {} tokens in {:.3f} s on {} thread{}: {:.1f} MB/s, {} tokens/s",
        with_commas(static_cast<long long>(texts_)), with_commas(static_cast<long long>(bytes_)),
        with_commas(static_cast<long long>(tokens_)), seconds_, pool_.size(),
        pool_.size() == 1 ? "" : "s", static_cast<double>(bytes_) / seconds / 1e6,
        with_commas(std::llround(static_cast<double>(tokens_) / seconds)));
    if (o_.json) {
      terminal_.say(text);
    } else {
      terminal_.print(text);
    }
  }

 private:
  static constexpr size_t kBlockBytes = 32 << 20;
  static constexpr size_t kShareBytes = 64 << 10;

  // What one thread takes at a time: consecutive texts, all their ids in one row.
  struct Share {
    size_t first = 0, count = 0;
    std::vector<int32_t> ids;
    std::string json;
  };

  void block(std::span<const std::string_view> texts, size_t first) {
    std::vector<Share> shares;
    size_t bytes = kShareBytes;
    for (size_t i = 0; i < texts.size(); ++i) {
      if (bytes >= kShareBytes) {
        shares.push_back({i, 0, {}, {}});
        bytes = 0;
      }
      ++shares.back().count;
      bytes += texts[i].size();
    }
    double best = std::numeric_limits<double>::infinity();
    for (int64_t round = 0; round < o_.rounds; ++round) {
      const auto start = std::chrono::steady_clock::now();
      pool_.for_each(static_cast<int64_t>(shares.size()), [&](int64_t item, int thread) {
        encode(shares[static_cast<size_t>(item)], texts, first, thread);
      });
      best = std::min(
          best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    seconds_ += best;
    for (const Share& share : shares) {
      tokens_ += share.ids.size();
    }
    if (o_.json) {
      write(shares, texts);
    }
  }

  void encode(Share& share, std::span<const std::string_view> texts, size_t first, int thread) {
    share.ids.clear();
    for (size_t i = share.first; i < share.first + share.count; ++i) {
      try {
        tokenizer_.encode(texts[i], o_.add_special_tokens, scratches_[static_cast<size_t>(thread)],
                          share.ids);
      } catch (Error& e) {
        throw e.at(o_.whole ? *o_.file : fmt::format("{}:{}", *o_.file, first + i + 1));
      }
    }
  }

  // Once more for the output, text by text; outside the measured time.
  void write(std::vector<Share>& shares, std::span<const std::string_view> texts) {
    pool_.for_each(static_cast<int64_t>(shares.size()), [&](int64_t item, int thread) {
      Share& share = shares[static_cast<size_t>(item)];
      Encoding encoding;
      for (size_t i = share.first; i < share.first + share.count; ++i) {
        Tokenizer::Scratch& scratch = scratches_[static_cast<size_t>(thread)];
        if (o_.spans) {
          tokenizer_.encode_with_spans(texts[i], o_.add_special_tokens, scratch, encoding);
        } else {
          encoding.ids.clear();
          tokenizer_.encode(texts[i], o_.add_special_tokens, scratch, encoding.ids);
        }
        share.json += json_line(encoding, tokenizer_, o_);
      }
    });
    for (const Share& share : shares) {
      terminal_.settings().write_out(share.json);
    }
  }

  const Tokenizer& tokenizer_;
  const TokenizeOptions& o_;
  Terminal& terminal_;
  ThreadPool pool_;
  std::vector<Tokenizer::Scratch> scratches_;
  size_t texts_ = 0, bytes_ = 0, tokens_ = 0;
  double seconds_ = 0;
};

}  // namespace

int run_tokenize(Args args, Terminal& terminal) {
  TokenizeOptions o;
  OptionTable table;
  o.visit(table);
  if (asks_for_help(args)) {
    show_usage("sft tokenize --model_name_or_path MODEL --file FILE [options]", table, terminal);
    return 0;
  }
  parse_options(table, args, {.config = false});
  if (!o.model_name_or_path || !o.file) {
    throw(o.file ? Error("C030", "no model is given") : Error("C061", "no file is given"))
        .hint("sft tokenize --model_name_or_path MODEL --file FILE");
  }
  if (o.whole && o.nul) {
    throw Error("C062", "--whole and --nul both say where a text ends")
        .hint("leave one of them out");
  }
  const Logger log = terminal.logger(0, 0);
  const Tokenizer tokenizer =
      load_tokenizer(*o.model_name_or_path, o.model_revision, hub_environment(terminal, log));
  const std::string text = *o.file == "-" ? read_standard_input() : read_text(*o.file);
  Run run(tokenizer, o, terminal);
  run.all(cut_texts(text, o));
  run.report();
  return 0;
}

}  // namespace sft
