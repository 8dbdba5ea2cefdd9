#include "core/error_codes/families.h"

namespace sft {

namespace {

constexpr CodeRow kDataSetsAndFiles[] = {
    {"D001", "there is no such data set: no file or folder has the name, and it is none of the hub",
     "correct the path; the hint has the nearest name", Thrown::widely},
    {"D002", "the file is an archive, or compressed in a way that is not read",
     "unpack it, or compress it with gzip, zstd, bzip2 or xz", Thrown::widely},
    {"D003", "the file's name ends in no format that is known",
     "rename it to .jsonl, .json, .parquet, .csv or .txt"},
    {"D004", "the data set is neither here nor in the hub's cache, and the hub is not asked",
     "download it once, as the hint shows"},
    {"D005",
     "what says which files a data set has cannot be used: the card's `configs`, `data_files` or a "
     "state.json",
     "write it as the hint shows"},
    {"D006", "the data set has no configuration of this name, or several and none is the default",
     "choose one with --dataset_config"},
    {"D007", "the data set has no data files, or a file that it names is not there",
     "fetch all of its files, or correct the names"},
    {"D008", "the data set has no split of this name", "choose one of those in the message",
     Thrown::widely},
    {"D009", "a slice of a split cannot be read or goes too far",
     "write train[:100], train[10%:20%] or a sum of such"},
    {"D010", "the file or the row is no JSON", "repair the line that is named"},
    {"D011", "a row is no JSON object", "write rows as objects with named columns"},
    {"D012", "a row of a CSV file does not fit the columns or its quotes do not close",
     "quote cells that hold separators, quotes or line breaks"},
    {"D013", "a row's text is not UTF-8", "save the file as UTF-8"},
    {"D014", "the file is in UTF-16 or UTF-32", "convert it with the command in the hint"},
    {"D020",
     "parquet and arrow files need libsft_arrow.so, which was not built, is not beside the program "
     "or cannot be loaded",
     "do what the hint says"},
    {"D021", "a parquet or arrow file is damaged or cut short", "fetch or write it again"},
    {"D022", "a compressed file is damaged or cut short", "fetch or write it again"},
    {"D023", "a value whose type says JSON is not JSON", "write the column again"},
    {"D024", "the file is a git-LFS pointer in place of the data", "run git lfs pull"},
    {"D025", "the folder holds more than 5,000,000 files and folders, or nests deeper than 64",
     "name a folder with the data set and little else"},
    {"D026",
     "a parquet or arrow file unpacks to more than 256 MiB and 100 times its size, or one row to "
     "512 MiB",
     "no real data set does: fetch it again"},
    {"D080",
     "a card, a state file or the like names a file outside of its folder: the entry is named; or "
     "a recipe in the hub's cache names a place on this machine",
     "move the file there, or name it yourself", Thrown::widely},
    {"D081", "a pipe, a device or a file of /proc or /sys is no data",
     "save the data in a file first"},
};

constexpr CodeRow kRows[] = {
    {"D030", "the columns are of no kind that can be trained",
     "name them with --column_map; the message says what the data look like"},
    {"D031", "a row lacks a column that the first rows have, or has it with another type",
     "repair or remove the row"},
    {"D032", "a message has a role that is not known", "say what it is with --role_map"},
    {"D033", "a message has no text, or not the shape of one",
     "write {\"role\": \"user\", \"content\": \"...\"}"},
    {"D034", "a row's ids, labels, masks or lengths are not equally long", "make the row again"},
    {"D035", "a message's switch for training is neither 0 nor 1", "write 0 or 1"},
    {"D036", "a message has a part that is no text", "remove images and the like"},
    {"D037", "--column_map or --role_map is not NAME=NAME", "write it as the hint shows"},
    {"D038", "an entry of `tools` is no object",
     "write tools as objects, or the list as one JSON text"},
    {"D039", "a message that is not the assistant's asks to be trained",
     "only the assistant's turns can be trained by themselves"},
};

constexpr CodeRow kChats[] = {
    {"D040", "the data are conversations, and the model has no chat template",
     "give one with --chat_template_path"},
    {"D041", "--assistant_only_loss needs conversations, and the data are none", "leave it out"},
    {"D044", "the chat template leaves a turn that is to be trained out of the text",
     "use another template"},
    {"D045", "where the assistant's turns are in the rendered text cannot be told",
     "mark them with {% generation %} in the template"},
    {"D055", "the chat template refuses the row, in its own words",
     "repair or remove the row, or use another template"},
    {"D070", "--chat_template_path leads to no chat template",
     "give a .jinja file, or a model that has one"},
    {"D071", "a conversation needs a chat template, and the model has none",
     "give one with --chat_template_path, or leave --chat out", Thrown::widely},
    {"D072", "there is no chat template of this name, or several and none is the default",
     "choose one with --chat_template_name"},
};

constexpr CodeRow kTokens[] = {
    {"D046", "the eos_token is no token of the tokenizer", "give one that is, with --eos_token"},
    {"D047", "a row has a token or a label that is not in the vocabulary",
     "tokenise the rows for this model"},
    {"D054", "`skip_prepare_dataset`, and a row has no input_ids, or a mask without labels",
     "leave it out, or write such rows"},
    {"D075", "--pad_token is not in the vocabulary", "leave it out: nothing is padded here"},
};

constexpr CodeRow kWhichRowsInWhichOrder[] = {
    {"D048", "the data set has no rows", "look at it with `sft inspect`", Thrown::widely},
    {"D049", "nothing would be trained: rows are empty, or every label is masked",
     "look at rows with `sft inspect`", Thrown::widely},
    {"D050", "there is no packing_strategy of this name", "use bfd, bfd_split or wrapped"},
    {"D051", "rows need a --max_length above 0 here, and there is none", "add --max_length 1024",
     Thrown::widely},
    {"D052", "there is no truncation_mode of this name", "use keep_start or keep_end"},
    {"D053", "--padding_free without packing does not cut rows at --max_length",
     "add --packing, or --max_length none"},
    {"D060", "--test_split_size leaves one side without rows",
     "give a share between 0 and 1, or fewer rows"},
    {"D061", "there is no train_sampling_strategy of this name",
     "use random, sequential, group_by_length or batch_rebalance"},
    {"D062", "the place in the data that the checkpoint holds is damaged",
     "resume from an earlier checkpoint", Thrown::widely},
    {"D063",
     "the rows do not fill one batch on each rank, and --dataloader_drop_last drops the rest",
     "use more data or a smaller batch, or keep the rest"},
    {"D065", "an entry of the mixture `datasets:` cannot be used", "write it as the hint shows"},
    {"D066", "a row lacks a column that the mixture selects", "correct `columns:`"},
    {"D067", "--dataset_order windowed cannot find rows at random in this file",
     "write parquet with small row groups, or use --dataset_streaming"},
    {"D068", "the checkpoint's place in the data does not exist in the data of now",
     "resume with the data, batch size, accumulation and ranks of the run that was saved"},
    {"D056", "the best model is to be told by its answers, and no prompt has one to compare with",
     "give the prompts a \"reference\", or choose another --metric_for_best_model"},
    {"D085", "a template of an evaluation task reads a column that the row does not have",
     "correct the name in the task's file"},
    {"D086", "a row does not give what its evaluation task asks for",
     "the message says what; correct the row or the task's file"},
    {"D069", "a row that the model is to answer asks nothing",
     "give rows with a prompt, or conversations with a question; take others with --eval_prompts"},
};

constexpr CodeGroup kGroups[] = {
    {"Data sets and files", kDataSetsAndFiles},
    {"Rows", kRows},
    {"Chats", kChats},
    {"Tokens", kTokens},
    {"Which rows, in which order", kWhichRowsInWhichOrder},
};

}  // namespace

CodeFamily data_codes() {
  return {'D', ExitCode::data, "data: a file, a row, a role, a template, tokens", kGroups};
}

}  // namespace sft
