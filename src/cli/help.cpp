// `sft -h`, `sft --help` and `sft help TOPIC`. The options' part is generated from their table.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/strings.h"
#include "options/text.h"
#include "settings/sharding_config/apply.h"
#include "settings/train_options.h"

namespace sft {
namespace {

constexpr const char* kShort = R"(sft: fine-tune open language models

usage: sft [options]                    train
       sft launch --nproc_per_node N [options]   train with N ranks on this machine, or several
       sft config [options]             print the whole configuration of such a run
       sft import RECIPE                a recipe of Axolotl or LLaMA-Factory as YAML of this program
       sft inspect [options]            show examples with the trained tokens marked
       sft generate [options] PROMPT    write text with a model
       sft chat MODEL [--against BASE]  talk with a model, or with two side by side
       sft tokenize [options]           token ids of a file's lines, and how fast they come
       sft merge --adapter DIR          an adapter and its base become one model
       sft export DIR --quant q4_k_m    a model as a GGUF file for llama.cpp, Ollama, LM Studio
       sft bench --model MODEL [options] how fast a model's shape trains here, on one GPU or several
       sft watch [DIR ...]              a page that shows runs, while they train and after
       sft report [DIR ...]             draws report.html and loss.svg of runs again
       sft doctor, sft env              what could go wrong here, and what to do; what there is
       sft explain CODE                 what an error code means, and what to do
       sft completion SHELL, sft man    for bash, zsh and fish; the manual page
       sft help TOPIC                   data, memory, distributed, deepspeed, env, exit-codes

examples:
  sft --model_name_or_path Qwen/Qwen2.5-0.5B --dataset_name train.jsonl --output_dir out
  sft --config recipe.yaml --learning_rate 1e-5
  sft inspect --model_name_or_path out --dataset_name train.jsonl

most used options:
  --model_name_or_path <str>            model folder, .gguf file, or owner/name on the hub
  --dataset_name <str>                  file, folder, or owner/name on the hub
  --dataset_config <str>                which configuration of the data set
  --output_dir <str>                    where the model goes
  --config <file>                       the same options in YAML
  --per_device_train_batch_size <int>   rows in a batch
  --gradient_accumulation_steps <int>   batches in a step
  --learning_rate <float>               peak learning rate
  --num_train_epochs, --max_steps       how long
  --max_length <int>                    longest sequence in tokens
  --packing                             several rows in one sequence
  --resume_from_checkpoint              go on where a run stopped

all options: sft --help
)";

struct Topic {
  const char *name, *text;
};

constexpr Topic kTopics[] = {
    {"data", R"(What a row may look like, and what is trained:

  {"messages": [{"role": "user", "content": ...}, ...]}       every token
  {"conversations": [{"from": "human", "value": ...}, ...]}   the same; roles are mapped
  {"prompt": ..., "completion": ...}                          the completion
  {"instruction": ..., "input": ..., "output": ...}           the output
  {"text": ...}                                               every token

--assistant_only_loss trains on the assistant's turns alone. Files are json, jsonl, parquet, csv
or text; a folder may have a README that names configurations. `sft inspect` shows what comes out.
)"},
    {"memory",
     R"(What takes memory: weights, gradients and AdamW's two moments, 16 bytes a parameter in
float32; and activations, which grow with the tokens of a batch.

  --optim adamw_8bit                                                 moments in 2 bytes, not 8
  --dtype bfloat16                                                   weights in 2 bytes, no masters
  --per_device_train_batch_size 1 --gradient_accumulation_steps 8    fewer tokens at a time
  --max_length 512                                                   shorter rows
  --gradient_checkpointing                                           activations computed twice
)"},
    {"distributed",
     R"(How state is shared out between ranks is said by --zero_stage, or by what is at hand:

  --deepspeed ds-config.json          DeepSpeed's JSON
  --accelerate_config zero2           a profile of TRL, or accelerate's YAML
  --fsdp full_shard                   FSDP's names

`sft help deepspeed` lists every key and what it does here; docs/multi-node.md leads from one
machine to many.
)"},
    {"env", R"(  HF_HOME, HF_HUB_CACHE    where models and data sets of the hub are kept
  HF_TOKEN, HF_ENDPOINT    who you are on the hub, and where it is (docs/hub.md has the others)
  HF_HUB_OFFLINE=1         use what is in the cache, ask nothing
  NO_COLOR                 no colour;  CLICOLOR_FORCE, FORCE_COLOR: colour even in a pipe
  COLUMNS                  width, where the terminal does not say
  PAGER                    shows long help on a terminal

`env:` in a YAML file sets variables for the run. `sft env` prints what the machine has.
)"},
};

// Through $PAGER (or less, leaving short texts alone) on a terminal.
void show(const std::string& text, Terminal& terminal) {
  if (terminal.settings().out_is_tty && isatty(STDIN_FILENO) != 0) {
    const std::string pager = read_environment().value("PAGER");
    const std::string command = pager.empty() ? "less -FRX 2>/dev/null" : pager;
    if (std::FILE* pipe = popen(command.c_str(), "w")) {
      std::fwrite(text.data(), 1, text.size(), pipe);
      if (pclose(pipe) == 0) {
        return;
      }
    }
  }
  terminal.settings().write_out(text);
}

std::string all_options(Terminal& terminal) {
  TrainOptions defaults;
  OptionTable table;
  defaults.visit(table);
  std::string text =
      "usage: sft [options]\n\n"
      "Every option is a flag (--max_length 512, --max-length=512) and a key of the YAML file\n"
      "given with --config; flags win. Defaults stand in brackets. sft -h is the short page.\n";
  return text + help_text(table, {terminal.settings().width, terminal.settings().out_color});
}

}  // namespace

bool asks_for_help(Args args) {
  return std::ranges::any_of(args, [](const std::string& a) { return a == "--help" || a == "-h"; });
}

void show_usage(std::string_view text, const OptionTable& table, Terminal& terminal) {
  terminal.print(
      fmt::format("{}\n\n{}", text,
                  help_text(table, {terminal.settings().width, terminal.settings().out_color})));
}

int run_help(Args args, Terminal& terminal) {
  const std::string topic = args.empty() ? "-h" : args[0];
  if (topic == "-h") {
    terminal.settings().write_out(kShort);
    return 0;
  }
  if (topic == "--help" || topic == "options") {
    show(all_options(terminal), terminal);
    return 0;
  }
  if (topic == "deepspeed") {
    show(sharding_config_page(), terminal);
    return 0;
  }
  if (topic == "exit-codes") {
    show(exit_codes_page(), terminal);
    return 0;
  }
  std::vector<std::string> names{"options", "deepspeed", "exit-codes"};
  for (const Topic& known : kTopics) {
    if (topic == known.name) {
      show(known.text, terminal);
      return 0;
    }
    names.emplace_back(known.name);
  }
  const std::string near = nearest(topic, names);
  throw Error("C009", fmt::format("there is no help on \"{}\"", topic))
      .hint(near.empty() ? "topics: options, data, memory, distributed, deepspeed, env, exit-codes"
                         : fmt::format("did you mean  sft help {}?", near));
}

}  // namespace sft
