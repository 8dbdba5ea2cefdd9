#include "core/error_codes/families.h"

namespace sft {

namespace {

constexpr CodeRow kFiles[] = {
    {"M001", "a file is not there, may not be read or is none",
     "correct the path or the permissions", Thrown::widely},
    {"M010", "a file is no JSON", "fetch or write it again"},
    {"M011", "a trainer_state.json is not one", "resume from another checkpoint"},
    {"M213", "the file is a git-LFS pointer in place of the contents", "run git lfs pull"},
};

constexpr CodeRow kConfigjson[] = {
    {"M030", "the model has a parameter that its family does not describe",
     "report the model's name"},
    {"M031", "the architecture is not supported", "take a model of one of those in the hint",
     Thrown::widely},
    {"M032", "the kind of rotary positions is not supported", "take another model"},
    {"M033", "a setting of config.json is not supported", "take another model"},
    {"M034", "config.json lacks a field, or has it with a value that no model has",
     "use the whole folder of a published model"},
    {"M036", "a token id is not in the model's vocabulary",
     "the tokenizer and the model do not belong together", Thrown::widely},
    {"M037", "a row or a prompt has more tokens than the model has positions",
     "add --max_length, or shorten the prompt", Thrown::widely},
};

constexpr CodeRow kTokenizers[] = {
    {"M100", "tokenizer.json is damaged: a part is missing or of the wrong kind", "fetch it again"},
    {"M101", "the tokenizer's model is not supported",
     "take a tokenizer of one of those in the hint"},
    {"M102", "the tokenizer's normalizer is not supported",
     "take a tokenizer of one of those in the hint"},
    {"M103", "the tokenizer's pre-tokenizer is not supported",
     "take a tokenizer of one of those in the hint"},
    {"M104", "the tokenizer's post-processor is not supported",
     "take a tokenizer of one of those in the hint"},
    {"M105", "the tokenizer's decoder is not supported",
     "take a tokenizer of one of those in the hint"},
    {"M106", "BPE with dropout gives random tokens", "set \"dropout\" to null"},
    {"M107", "a merge makes a token that is not in the vocabulary", "fetch tokenizer.json again"},
    {"M108",
     "a regular expression of the tokenizer does not compile, or uses what is not supported",
     "report the model's name"},
    {"M109", "a token has no id of its own", "fetch tokenizer.json again"},
    {"M110", "the lists of added or special tokens cannot be read or contradict the vocabulary",
     "fetch the model's files again"},
    {"M111", "the token for the unknown is not in the vocabulary", "fetch tokenizer.json again"},
    {"M112", "the GGUF file's tokenizer is of a kind that is not supported",
     "use the original model folder"},
    {"M113", "the GGUF file's vocabulary is damaged", "fetch it again"},
    {"M114", "a text is not UTF-8", "write the file again in UTF-8"},
    {"M115", "a regular expression of the tokenizer gives up on a text",
     "look for a very long run of one kind of character"},
    {"M116", "a text is too long to be tokenised at once", "cut it into texts of less than 4 GiB"},
    {"M117", "the tokenizer has no token for a character and none for the unknown",
     "name the token for the unknown, or remove the character"},
    {"M118", "the tokenizer's precompiled_charsmap is damaged", "fetch tokenizer.json again"},
    {"M119",
     "the tokenizer's rules make more than 20 times its size of a text, or take thousands of "
     "passes over it",
     "fetch tokenizer.json from its publisher"},
};

constexpr CodeRow kChatTemplates[] = {
    {"M150", "the chat template's syntax is wrong; the line is named", "correct it"},
    {"M151", "the chat template itself refused its input", "look at what it asks for"},
    {"M152", "the chat template uses a value that is not defined",
     "correct it, or give what it asks for"},
    {"M153", "the chat template uses a value of the wrong type or range",
     "correct the line that is named"},
    {"M154", "rendering takes too many steps, more than 128 MiB at one time, or nests too deep",
     "look for a loop without end in the line that is named"},
    {"M155", "the chat template uses a construct of Jinja that is left out here",
     "write it in another way"},
    {"M156", "the chat template does what its sandbox forbids", "remove it"},
    {"M157", "the model's chat template cannot be used",
     "give another one with --chat_template_path"},
    {"M158", "a {% generation %} block stands inside a macro or a block set",
     "put it around the place where the macro's text is printed"},
    {"M159", "the final message cannot be continued",
     "end the conversation with a message that has text"},
    {"M160", "the chat template counts beyond 64 bits", "correct the line that is named"},
    {"M161", "the chat template uses a filter, test or function that does not exist",
     "correct its name"},
};

constexpr CodeRow kSafetensors[] = {
    {"M200", "a safetensors file is cut short", "fetch or write it again"},
    {"M201", "a safetensors file's header is no JSON", "fetch or write it again"},
    {"M202", "a safetensors file's header does not describe tensors", "fetch or write it again"},
    {"M203", "a name stands in a safetensors file's header twice", "fetch or write it again"},
    {"M204", "a tensor's shape and type do not take the bytes that the header gives it",
     "fetch or write it again"},
    {"M205", "there is a gap between tensors, or something behind the last one",
     "fetch or write it again"},
    {"M206", "the file is no safetensors file: its header would be larger than the format's",
     "give a safetensors file"},
    {"M207", "a tensor has a type that does not exist", "fetch or write the file again"},
    {"M210", "the index of the weights is damaged", "fetch the model's files again"},
    {"M211", "a file that the index names is missing", "fetch all of the model's files"},
    {"M212", "a tensor is not in the file where the index places it",
     "fetch all files of one version"},
    {"M273", "a tensor is quantised with blocks or numbers of another kind than is read",
     "use the model's unquantised weights"},
    {"M274", "config.json says that a tensor is quantised, and it is not",
     "fetch files of one version"},
    {"M246", "a tensor is stored in a type that is not trained",
     "use the model's unquantised weights"},
};

constexpr CodeRow kGguf[] = {
    {"M220", "the file is no GGUF file", "give a .gguf file, or a model folder"},
    {"M221", "the GGUF file is of a version that is not read", "convert the model again"},
    {"M222", "a GGUF file is cut short, or promises more than it holds", "fetch it again"},
    {"M223", "a GGUF file's metadata cannot be read", "fetch it again"},
    {"M224", "a GGUF file describes a tensor that cannot be", "fetch it again"},
    {"M225", "a GGUF file ends before its last tensor", "fetch it again"},
    {"M226", "a key or a tensor stands in a GGUF file twice, or two overlap", "fetch it again"},
    {"M227", "a GGUF file stores a tensor in a type that is not read",
     "use a file in one of the types in the hint"},
    {"M228", "a GGUF file lacks a key that its model needs, or has it with a value that cannot be",
     "fetch it again"},
    {"M229", "a GGUF file holds a model of an architecture that is not supported",
     "take one of those in the hint"},
    {"M230", "a GGUF file's model has a setting that is not supported",
     "use the original model folder"},
    {"M231", "a GGUF file holds a tensor that has no place in its architecture",
     "use a plain text model"},
};

constexpr CodeRow kModelFolders[] = {
    {"M240", "there is no such model: no file or folder has the name, and it is none of the hub",
     "correct the path; the hint has the nearest name"},
    {"M241", "the path is no model's folder: it has no config.json",
     "give the folder of a whole model"},
    {"M242", "the folder has no weights", "fetch all of the model's files"},
    {"M243", "the model is quantised already", "use its unquantised weights"},
    {"M244", "the model lacks a tensor that its config.json asks for",
     "fetch all of the model's files", Thrown::widely},
    {"M245", "a tensor has another shape than config.json asks for", "fetch files of one version",
     Thrown::widely},
    {"M247", "there are several GGUF files", "name one of them"},
    {"M248", "a JSON file of the model is no object, or a setting in it is of the wrong type",
     "fetch the model's files again"},
    {"M249", "`chat_template` of tokenizer_config.json is neither a text nor a list of named ones",
     "fetch the model's files again"},
    {"M250", "the model has no tokenizer.json", "use a model folder that has one", Thrown::widely},
    {"M251",
     "the weights have a LoRA adapter beside them, which transformers would put onto its own base "
     "model",
     "merge it first"},
    {"M252", "a model of the hub says that its head is tied to the embedding, and they differ",
     "copy the model into a folder of your own and give that"},
    {"M258",
     "a size in config.json is not that of the weights: the field and both values are named",
     "fetch files of one version"},
    {"M259", "a text file of the model's folder is a link to a file of another name outside of it",
     "put the file itself there"},
};

constexpr CodeRow kCheckpoints[] = {
    {"M260", "the folder is no whole checkpoint", "resume from an earlier one"},
    {"M261", "the checkpoint's manifest is damaged", "resume from an earlier one"},
    {"M262", "a file of the checkpoint is missing or of another size",
     "resume from an earlier one"},
    {"M263", "a file of the checkpoint is not what was written", "resume from an earlier one"},
    {"M264", "the checkpoint is of another model or optimizer",
     "resume with the model and --optim that the run began with"},
    {"M265", "the checkpoint is not there",
     "--resume_from_checkpoint latest takes the newest, if there is one"},
    {"M266", "the checkpoint was saved by the Hugging Face Trainer, whose optimizer.pt is not read",
     "go on from its weights with --resume_with_changes true"},
    {"M267", "the path is an output_dir and no checkpoint: those in it are named",
     "give one of them"},
    {"M268", "the state of the run in the checkpoint cannot be used", "resume from an earlier one",
     Thrown::widely},
    {"M269", "the checkpoint holds no state of a run, or that of another version of this program",
     "start a new run from it with --model_name_or_path"},
};

constexpr CodeRow kAdaptersFolders[] = {
    {"M270", "the folder is no adapter, or does not say which model it is for",
     "give the folder that was saved"},
    {"M271", "an adapter's tensors are not those of the layers that its configuration names",
     "fetch the adapter's files again"},
    {"M272", "an adapter of the hub names a place on this machine as its model",
     "copy the adapter into a folder of your own, or name its model by its hub id"},
};

constexpr CodeRow kWrittenGguf[] = {
    {"M280", "a weight cannot be held by the format that a GGUF file should have",
     "take --quant bf16 or f32"},
    {"M281", "GGUF has no kind for the model's tokenizer", "take a model with another tokenizer"},
    {"M282", "llama.cpp has no name for how the tokenizer cuts words", "name one with --pre"},
    {"M283", "tokenizer.model is damaged", "fetch the model's files again"},
    {"M284", "a setting of config.json has no key in a GGUF file", "keep the folder as it is"},
    {"M285", "the adapter cannot be a GGUF file in this format", "merge it first: sft merge"},
};

constexpr CodeRow kTheHub[] = {
    {"M300", "there is no such repository, or the token may not see it",
     "check the spelling; set HF_TOKEN"},
    {"M301", "the repository is gated", "ask for access on its page, and set HF_TOKEN"},
    {"M302", "the hub does not accept the token", "set HF_TOKEN to one that is valid"},
    {"M303", "the repository has no such revision", "take one of its branches or tags"},
    {"M304", "the repository has no such file", "its page lists them"},
    {"M305", "it is not in the hub's cache, and there is no network to use",
     "run once with the network and without HF_HUB_OFFLINE", Thrown::widely},
    {"M306", "the hub forbids access", "use a token that may"},
    {"M307", "a file arrives with other contents than its hash says, twice",
     "try without the proxy or mirror in between"},
    {"M308", "the server's answer cannot be used, or has no end",
     "check HF_ENDPOINT: it must be a hub"},
    {"M309", "a file has a name that would leave the cache", "do not use this repository"},
    {"M310", "the name or the revision cannot be one of the hub", "write owner/name"},
    {"M311", "the hub's answer to an upload cannot be used",
     "what was saved is complete here: upload it later"},
    {"M312", "the hub's storage does not take a file",
     "what was saved is complete here: upload it later"},
    {"M313", "the server serves no parts of files, which streaming needs",
     "train without --streaming"},
    {"M314",
     "--verify: a file of the cache is not what its hash says, and there is no network to fetch it "
     "again",
     "run once with the network"},
    {"M315", "a file has changed on the hub while it was fetched", "start again"},
};

constexpr CodeGroup kGroups[] = {
    {"Files", kFiles},
    {"config.json", kConfigjson},
    {"Tokenizers", kTokenizers},
    {"Chat templates", kChatTemplates},
    {"safetensors", kSafetensors},
    {"GGUF", kGguf},
    {"Model folders", kModelFolders},
    {"Checkpoints", kCheckpoints},
    {"Adapters' folders", kAdaptersFolders},
    {"GGUF files that are written", kWrittenGguf},
    {"The hub", kTheHub},
};

}  // namespace

CodeFamily model_codes() {
  return {'M', ExitCode::model, "a model or another file that is missing, damaged or not supported",
          kGroups};
}

}  // namespace sft
