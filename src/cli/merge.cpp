// `sft merge`: an adapter and its base become one model folder.
#include <algorithm>

#include "cli/commands.h"
#include "cli/hub.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"
#include "core/thread_pool.h"
#include "io/safetensors_writer.h"
#include "options/parser.h"
#include "options/text.h"
#include "run/merge.h"
#include "run/save_packed.h"

namespace sft {

namespace {

struct Words {
  std::string adapter, base, output_dir, dtype = "auto", quantization = "none",
                                         max_shard_size = "5GB";
  int64_t threads = 0;
  bool json = false;

  void visit(OptionTable& v) {
    v.group("Merge");
    v("adapter", &adapter, "The adapter's folder, as PEFT or sft saved it.");
    v("model_name_or_path", &base, "Its base; without it the one that the adapter names.")
        .also("model");
    v("output_dir", &output_dir, "Folder of the merged model.");
    v("dtype", &dtype, "Type of the merged weights; auto: the base's.")
        .one_of({"auto", "bfloat16", "float16", "float32"});
    v("quantization", &quantization,
      "Quantise the merged linear layers again, as bitsandbytes saves them; it says what that "
      "loses.")
        .one_of(packed_forms());
    v("max_shard_size", &max_shard_size, "Largest file of weights.");
    v("threads", &threads, "Threads; 0: the cores this process may use.").at_most(kMostThreads);
    v("json", &json, "What was written as one JSON object.");
  }
};

}  // namespace

int run_merge(Args args, Terminal& terminal) {
  Words words;
  OptionTable table;
  words.visit(table);
  if (std::ranges::any_of(args, [](const std::string& a) { return a == "--help" || a == "-h"; })) {
    terminal.print("sft merge --adapter DIR --output_dir DIR [options]\n\n" +
                   help_text(table, {terminal.settings().width, terminal.settings().out_color}));
    return 0;
  }
  parse_options(table, args, {.positionals = false, .config = false});
  if (words.adapter.empty() || words.output_dir.empty()) {
    throw Error("C061", "an adapter and a folder for the merged model are needed")
        .hint("sft merge --adapter DIR --output_dir DIR");
  }
  const Logger log = terminal.logger(0, 0);
  ThreadPool pool(words.threads > 0 ? static_cast<int>(words.threads) : default_threads());
  merge_adapter({words.adapter, words.base, words.output_dir, words.dtype, words.quantization,
                 parse_byte_size(words.max_shard_size)},
                hub_environment(terminal, log), pool, log);
  if (words.json) {
    terminal.print(to_text(Json{{"v", 1}, {"output_dir", words.output_dir}}));
  }
  return 0;
}

}  // namespace sft
