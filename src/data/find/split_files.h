// Which files of a data set belong to which split, as `datasets` decides it: by patterns, or by the
// names of folders and files. Works on paths alone; nothing is opened. Used by resolve.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace sft {

struct SplitFiles {
  std::string split;
  std::vector<std::string> files;  // relative to the folder, '/' between parts
};
using Splits = std::vector<SplitFiles>;

// The splits that names tell, of `files`, all files below the folder, sorted. The first rule that
// finds anything counts: data/SPLIT-00000-of-00005.*, folders and then files with a keyword (train,
// dev, test, ...) between separators; else everything is "train".
Splits splits_by_name(const std::vector<std::string>& files);

// Those of `files` that `pattern` (a glob, relative to the same folder) asks for, in order.
std::vector<std::string> matching_files(const std::vector<std::string>& files, std::string pattern);

// Whether the text has a character that makes it a pattern.
bool has_wildcard(const std::string& pattern);

// Keeps the files of the most frequent format. D002 where a .zip is among them, which `datasets`
// would look into.
void keep_main_format(SplitFiles& split);

}  // namespace sft
