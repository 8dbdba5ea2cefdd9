#include "core/error_codes/families.h"

namespace sft {

namespace {

constexpr CodeRow kTheCommandLineAndRecipes[] = {
    {"C001", "no option has this name",
     "take the nearest name from the hint, or look it up in `sft --help`", Thrown::widely},
    {"C002", "a word belongs to no option",
     "write --option in front of it, or quote a value that has blanks"},
    {"C003", "an option has no value", "give it one; the hint has its type or its choices"},
    {"C004", "a value is not of the option's type",
     "write a number, true or false, or one word, as the message says"},
    {"C005", "a number is outside of the option's range",
     "choose one within the range that the message names"},
    {"C006", "a word is none of the option's choices", "take one of the words in the message"},
    {"C007", "a value that should be JSON cannot be read",
     "quote it for the shell: '{\"key\": 1}'"},
    {"C008", "a value is neither JSON nor a file that is there",
     "begin JSON with {, or correct the path"},
    {"C009", "there is no command or help page of this name", "`sft -h` lists them"},
    {"C010", "TRL has this option and this program does not do it yet",
     "leave it out, or take what the hint offers"},
    {"C011", "there is no error code of this name", "`sft explain` lists all of them"},
    {"C184", "early stopping counts evaluations, and there are none", "add --eval_strategy steps"},
    {"C185", "a threshold of early stopping is given without a patience",
     "add --early_stopping_patience"},
    {"C186", "the page that shows a run cannot be served there",
     "choose another place with --watch_host and --watch_port", Thrown::widely},
    {"C187", "a folder to be shown holds no run: no metrics.jsonl and no trainer_state.json",
     "name a run's output_dir"},
    {"C020", "the recipe's file is not there or cannot be read",
     "correct the path behind --config"},
    {"C021", "the recipe is not one YAML mapping",
     "write lines of the form `key: value`, in one document"},
    {"C022", "a key of the recipe is no option, or one for the command line only",
     "take the nearest name from the hint, or give the option as a flag"},
    {"C023", "a key of the recipe has no value, or one of the wrong shape",
     "write the value as `sft --help` shows it"},
    {"C024", "a key stands twice in the recipe, or in a configuration of DeepSpeed or accelerate",
     "remove one of the two", Thrown::widely},
    {"C025", "`env:` of the recipe is no mapping of variables' names to plain values",
     "write `env: {NAME: value}`", Thrown::widely},
    {"C026",
     "`env:` sets a variable that a recipe may not: one that decides which code runs, where "
     "requests and tokens go, or what is read",
     "set it yourself, where the run is started"},
};

constexpr CodeRow kTraining[] = {
    {"C030", "no model is given", "add --model_name_or_path", Thrown::widely},
    {"C031", "no data set is given", "add --dataset_name, or `datasets:` in the recipe",
     Thrown::widely},
    {"C040", "--logging_steps does not say when to log",
     "give a number above 0, or --logging_strategy no"},
    {"C041", "--eval_strategy steps has no interval that can be used", "add --eval_steps"},
    {"C042", "the schedule follows the evaluation, and there is none", "add --eval_strategy steps"},
    {"C043", "--save_steps does not say when to save",
     "give a number above 0, or --save_strategy no"},
    {"C044", "--save_strategy best follows the evaluation, and there is none",
     "add --eval_strategy steps"},
    {"C045", "--load_best_model_at_end needs a checkpoint for every evaluation",
     "give --save_strategy and --eval_strategy the same value"},
    {"C046", "--load_best_model_at_end: --save_steps is no multiple of --eval_steps",
     "make it one"},
    {"C047", "--packing is asked for without --max_length", "add --max_length"},
    {"C048", "--dataloader_prefetch_factor is asked for without workers",
     "add --dataloader_num_workers, or leave it out"},
    {"C049", "--dataset_streaming does not know where the data end", "add --max_steps"},
    {"C050", "two options choose different number formats", "leave one of the two out"},
    {"C051", "--warmup_steps is no whole number of steps",
     "write a whole number, or a share below 1"},
    {"C052", "--output_dir is empty", "name a folder"},
    {"C053", "--metric_for_best_model names nothing that evaluation gives",
     "take one of the names in the message"},
    {"C054", "--dtype float16 would train weights in float16, which is too coarse",
     "take --fp16, or --dtype bfloat16"},
    {"C061", "a command lacks what it works on: a prompt, a file, a folder",
     "give it, as the hint shows"},
    {"C062", "--whole and --nul both say where a text ends", "leave one of them out"},
    {"C063",
     "the model, the data or options that matter are others than the checkpoint's; each is named",
     "correct them, or insist with --resume_with_changes true"},
    {"C067", "a product of options is more than can be counted",
     "make the batch, the accumulation or the length smaller", Thrown::widely},
};

constexpr CodeRow kOptionsThatHoldSettings[] = {
    {"C075", "a mapping of settings has a key that means nothing here",
     "take one of the keys in the hint", Thrown::widely},
    {"C076", "a setting is of the wrong kind", "write it as the message asks"},
    {"C077", "a setting has a value that is not taken; the message has the reason", "leave it out"},
    {"C078", "streaming does not know the number of rows, and an option needs it",
     "leave out `fraction` or --test_split_size, or stream not"},
    {"C079", "--router_aux_loss_coef is for models with experts, and this one has none",
     "leave it out"},
    {"C080", "--dataset_order windowed looks for rows at random, and a stream is read in order",
     "leave one of the two out"},
    {"C090", "--max_shard_size is not a size", "write 5GB, 500MB or 2GiB"},
    {"C100", "there is no learning-rate schedule of this name",
     "take one of the names in the hint"},
    {"C101", "`lr_scheduler_kwargs` has an argument that the schedule does not take",
     "take one of those in the message"},
    {"C102", "`lr_scheduler_kwargs` has a value that cannot be used",
     "write it as the message asks"},
    {"C103", "the schedule needs an argument of `lr_scheduler_kwargs`",
     "add it, as the hint shows"},
    {"C171", "--mlp_tile for an MLP that cannot be computed some tokens at a time",
     "leave it out, or train adapters without dropout over a base in 16 or 4 bits"},
    {"C180", "--optim_args has a name or a value that the optimizer does not take",
     "take one of those in the hint"},
    {"C181",
     "muon and adafactor need whole gradients on the device, and the optimizer is offloaded",
     "leave --offload_optimizer out, or take adamw_torch"},
};

constexpr CodeRow kAdapters[] = {
    {"C190", "a regular expression for layers does not compile, or takes too many steps",
     "correct it where the message points"},
    {"C191", "an adapter's rank, or another of its numbers, cannot be",
     "write it as the message asks"},
    {"C192",
     "a field of adapter_config.json or of --lora_config is not one of PEFT's, is not supported, "
     "or "
     "has a wrong value",
     "write it as the message asks, or take an adapter of a supported kind"},
    {"C193", "--lora_target_modules or --lora_modules_to_save means nothing in this model",
     "take one of the names in the hint"},
    {"C194",
     "--lora_target_modules means a module that no adapter can be on: a norm, or with --use_dora "
     "the head",
     "leave it out, or train it whole with --lora_modules_to_save"},
    {"C200", "a base in 4 or 8 bits is frozen, and no adapters are trained on it",
     "add --use_peft, or take the unquantised model"},
    {"C201", "options say in several ways how the base is kept, or it is quantised already",
     "leave one of them out", Thrown::widely},
    {"C202", "a key of a quantization_config has a value that is not read",
     "write it as the message asks, or use the unquantised model", Thrown::widely},
    {"C196", "`sft merge` would write into the base's or the adapter's own folder",
     "name another folder"},
    {"C197", "trainable_token_indices names words or a table that the model does not have",
     "give ids of the model's own tokenizer"},
    {"C198", "of several adapters one has no name, or a name is no adapter's",
     "--adapter a=DIR --adapter b=DIR --active a"},
};

constexpr CodeRow kExport[] = {
    {"C230", "there is no such format for a GGUF file", "take one of those in the hint"},
    {"C231", "the export would write over what it reads", "name another file with --output"},
    {"C232", "a chat has no such command, or the command lacks a word", "/help lists them"},
};

constexpr CodeRow kTheHubsSettings[] = {
    {"C110", "a variable of the hub should be a number of seconds", "correct or unset it"},
    {"C111", "the hub's token holds a blank or a control character",
     "set HF_TOKEN to the token alone"},
    {"C112", "HF_ENDPOINT is no address", "write https:// and the host, or unset it"},
    {"C113", "there is no place for the hub's cache: neither HF_HOME nor HOME is set",
     "set HF_HOME"},
    {"C114", "`push_to_hub` has no token", "set HF_TOKEN to one that may write"},
    {"C115", "`push_to_hub` needs the network, and HF_HUB_OFFLINE is set",
     "unset it, or upload later"},
    {"C116", "no name of a repository can be made of --output_dir",
     "add --hub_model_id owner/name"},
};

constexpr CodeRow kConfigurationsOfOtherPrograms[] = {
    {"C120", "DeepSpeed's JSON or accelerate's YAML is not there, or cannot be read as such",
     "correct the path or the file"},
    {"C122", "it has keys that are unknown: all of them are named, each with the nearest known one",
     "correct them; `sft help deepspeed` lists the keys"},
    {"C123", "it has values of the wrong kind or out of range", "write them as the message asks"},
    {"C124", "its values differ from the flags or the run: all of them are named",
     "write \"auto\" there, or leave the flags out"},
    {"C125", "it asks for what is not built",
     "remove the key; `sft help deepspeed` says what each does here"},
    {"C126", "--deepspeed, --accelerate_config and --fsdp contradict each other",
     "give one of them"},
    {"C127", "--report_to names a tracker that does not exist here or cannot be used",
     "take one of the names in the message"},
    {"C128", "the configuration contradicts itself", "keep one of the keys in the message"},
    {"C129", "the configuration lacks a key that another one needs", "add it"},
    {"C141", "the sharding options contradict each other, or do not go with the number of ranks",
     "change one of them, as the hint shows"},
};

constexpr CodeRow kStartingSeveralRanks[] = {
    {"C130", "a variable of the launcher is no number or host that can be",
     "start the ranks with torchrun or `sft launch`, or unset the variable"},
    {"C131", "the launcher's variables contradict each other, or one is missing",
     "start the ranks with torchrun or `sft launch`, or unset the others"},
    {"C132", "nothing in the environment says on which machine rank 0 runs", "set MASTER_ADDR"},
    {"C133", "the number of machines is a range, and it is fixed here", "give one number"},
    {"C134", "a flag of `sft launch` has a value that it does not take",
     "write it as the message asks"},
    {"C135", "the flags of `sft launch` contradict each other, or one is missing",
     "`sft launch --help` shows them"},
    {"C136",
     "the run's secret cannot be used: its file cannot be read or is empty, there are two, or it "
     "is too long",
     "write one with `openssl rand -hex 32`"},
    {"C137", "--require_token is given, and there is no secret", "set SFT_TOKEN_FILE"},
    {"C138",
     "this process and the run that it found have different secrets, or only one of them has one; "
     "that run goes on",
     "give all machines of one run the same secret"},
    {"C140", "ranks on CPUs need Gloo, and the program was built without it",
     "install libgloo-dev and build again"},
    {"C150", "the ranks do not agree on an option, the model or the data; each difference is named",
     "start all ranks with the same options and files"},
    {"C151",
     "this process was started as one of another number of ranks than the run that it found; that "
     "run goes on",
     "give each run a MASTER_PORT of its own, and all its ranks the same WORLD_SIZE"},
    {"C152", "the ranks run different versions of this program",
     "install the same one on all machines"},
};

constexpr CodeGroup kGroups[] = {
    {"The command line and recipes", kTheCommandLineAndRecipes},
    {"Training", kTraining},
    {"Options that hold settings", kOptionsThatHoldSettings},
    {"Adapters", kAdapters},
    {"Export and chat", kExport},
    {"The hub's settings", kTheHubsSettings},
    {"Configurations of other programs", kConfigurationsOfOtherPrograms},
    {"Starting several ranks", kStartingSeveralRanks},
};

}  // namespace

CodeFamily configuration_codes() {
  return {'C', ExitCode::usage, "configuration: flags, YAML, combinations of options", kGroups};
}

}  // namespace sft
