// What the ranks of a run must have in common in their model and data, told from what is at hand:
// sizes, counts and checksums, never a pass over a large file. Used by run_training.
#pragma once

#include "control/rank_control.h"
#include "core/file.h"
#include "data/dataset.h"
#include "io/model_source.h"

namespace sft {

// Keys of config.json that change no number.
inline constexpr const char* kWordsOnly[] = {
    "_name_or_path", "architectures", "transformers_version", "dtype",
    "torch_dtype",   "use_cache",     "sft_version"};

// config.json's keys, the tensors' names and shapes, and a checksum of the small ones;
// `text_key` tells tokenizers apart.
Facts model_facts(const ModelSource& source, const std::string& text_key);

// `part` ("training data"): the number of rows, the files' sizes, and `checksum`, that of all rows;
// where there is none because they are made while training runs, that of both ends of each file.
Facts data_facts(const std::string& part, const Prepared& data, const std::string& checksum);

}  // namespace sft
