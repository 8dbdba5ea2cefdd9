#include "data/tokens/token_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <vector>

#include "core/content_hash.h"
#include "core/error.h"
#include "core/file_writer.h"

namespace sft {

namespace {

constexpr int64_t kFormat = 3;

void add_file(ContentHash& hash, const std::filesystem::path& path) {
  struct stat info{};
  ::stat(path.c_str(), &info);
  hash.add(path.string())
      .add(static_cast<int64_t>(info.st_size))
      .add(static_cast<int64_t>(info.st_mtim.tv_sec))
      .add(static_cast<int64_t>(info.st_mtim.tv_nsec))
      .add(static_cast<int64_t>(info.st_ino));
}

// A template may write today's date.
std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  return fmt::format("{}-{}-{}", local.tm_year, local.tm_mon, local.tm_mday);
}

struct Entry {
  std::filesystem::path path;
  std::filesystem::file_time_type used;
  int64_t bytes;
};

}  // namespace

std::string token_cache_key(const RowSource& source, const DataOptions& o, Part part, bool packing,
                            const DataContext& context) {
  ContentHash hash;
  hash.add(kFormat);
  add_file(hash, "/proc/self/exe");
  for (const SourcePart& p : source.parts) {
    for (const auto& path : p.files.files) {
      add_file(hash, std::filesystem::absolute(path));
    }
    hash.add(p.rows.begin).add(p.rows.end).add(static_cast<int64_t>(p.columns.size()));
    for (const std::string& column : p.columns) {
      hash.add(column);
    }
  }
  if (source.ordered) {
    hash.add(fmt::format("{}", *o.test_split_size))
        .add(static_cast<int64_t>(context.seed))
        .add(static_cast<int64_t>(part));
  }
  hash.add(context.text_key).add(context.vocab);
  if (context.chat_template != nullptr) {
    const std::string text = context.chat_template->sources();
    hash.add(text).add(to_text(context.chat_template->special_tokens()));
    hash.add(text.find("strftime_now") == std::string::npos ? "" : today());
  }
  Json settings = {o.dataset_text_field,
                   o.eos_token.value_or("<none>"),
                   o.assistant_only_loss,
                   o.completion_only_loss ? (*o.completion_only_loss ? "only" : "no") : "",
                   o.dataset_kwargs,
                   packing,
                   o.padding_free && !o.packing,
                   o.column_map,
                   o.role_map,
                   o.messages_field.value_or(""),
                   o.message_role_key.value_or(""),
                   o.message_content_key.value_or("")};
  if (!packing) {
    settings.push_back(o.max_length.value_or(0));
    settings.push_back(o.truncation_mode);
  }
  return hash.add(to_text(settings)).hex();
}

TokenCache::TokenCache(std::filesystem::path folder, const std::string& key, const Logger& log)
    : folder_(std::move(folder)), path_(folder_ / (key + ".tokens")), log_(log) {
  bool said = false;
  lock_.wait_at(folder_ / (key + ".lock"), [&](double waited) {
    if (waited > 0.5 && !said) {
      said = true;
      log.note("another process is tokenising the same data; waiting for it");
    }
  });
}

std::shared_ptr<const TokenFile> TokenCache::find(ThreadPool* pool) const {
  auto file = TokenFile::open(path_, pool);
  std::error_code failed;
  if (file != nullptr) {
    ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);
  } else if (std::filesystem::symlink_status(path_, failed).type() !=
             std::filesystem::file_type::not_found) {
    log_.warn(
        fmt::format("the tokenised data in {} are damaged: they are made again", path_.string()));
    std::filesystem::remove(path_, failed);
  }
  return file;
}

std::unique_ptr<TokenFileWriter> TokenCache::writer() const {
  return std::make_unique<TokenFileWriter>(path_);
}

void TokenCache::prune(int64_t bytes) const {
  std::error_code failed;
  std::vector<Entry> entries;
  for (const auto& file : std::filesystem::directory_iterator(folder_, failed)) {
    if (file.path().extension() == FileWriter::kTemporary) {
      remove_if_abandoned(file.path());
    } else if (file.path().extension() == ".tokens") {
      entries.push_back({file.path(), file.last_write_time(failed),
                         static_cast<int64_t>(file.file_size(failed))});
    }
  }
  std::ranges::sort(entries, std::ranges::greater{}, &Entry::used);
  int64_t kept = 0;
  for (const Entry& entry : entries) {
    kept += entry.bytes;
    if (kept > bytes && entry.path != path_) {
      std::filesystem::remove(entry.path, failed);
      std::filesystem::remove(std::filesystem::path(entry.path).replace_extension(".lock"), failed);
    }
  }
}

}  // namespace sft
