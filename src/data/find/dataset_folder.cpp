#include "data/find/dataset_folder.h"

#include <algorithm>

#include "core/file.h"
#include "data/find/glob.h"

namespace sft {

DatasetFolder DatasetFolder::operator/(const std::filesystem::path& below) const {
  DatasetFolder out(path_ / below);
  if (!below.is_absolute()) {
    out.repository_ = repository_;
  }
  return out;
}

std::string DatasetFolder::relative() const {
  const std::string text = path_.lexically_normal()
                               .lexically_relative(repository_->folder().lexically_normal())
                               .generic_string();
  return text == "." ? "" : text.starts_with("..") ? ".." : text;
}

bool DatasetFolder::is_file() const {
  return repository_ ? repository_->has(relative()) : sft::is_file(path_);
}

bool DatasetFolder::is_folder() const {
  return repository_ ? relative().empty() || !list_files().empty() : sft::is_folder(path_);
}

std::vector<std::string> DatasetFolder::list_files() const {
  if (!repository_) {
    return sft::list_files(path_);
  }
  std::string prefix = relative();
  if (!prefix.empty() && !prefix.ends_with('/')) {
    prefix += '/';
  }
  std::vector<std::string> files;
  for (const HubFile& file : repository_->files()) {
    if (file.path.starts_with(prefix)) {
      files.push_back(file.path.substr(prefix.size()));
    }
  }
  std::ranges::sort(files);
  return files;
}

void DatasetFolder::fetch(const std::vector<std::string>& files) const {
  if (!repository_) {
    return;
  }
  std::vector<std::string> paths;
  for (const std::string& file : files) {
    const DatasetFolder one = *this / file;
    if (one.repository_) {
      paths.push_back(one.relative());
    }
  }
  repository_->fetch(paths);
}

const std::filesystem::path& DatasetFolder::fetched() const {
  if (repository_) {
    repository_->fetch({relative()});
  }
  return path_;
}

}  // namespace sft
