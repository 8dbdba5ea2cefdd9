#include "data/tokens/token_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>

#include "core/content_hash.h"
#include "core/error.h"

namespace sft {

namespace {

constexpr uint64_t kMagic = 0x32304E4B54544653;  // "SFTTKN02"
constexpr size_t kBlock = size_t{1} << 20;       // of tokens and labels that have a sum

struct Footer {
  uint64_t magic = kMagic;
  int64_t tokens = 0, rows = 0, whole_labels = 0, about_bytes = 0;
  uint64_t checksum = 0;
};

int64_t padded(int64_t bytes) { return (bytes + 7) / 8 * 8; }

int64_t label_bytes(const Footer& footer) {
  return footer.whole_labels != 0 ? footer.tokens * 4 : (footer.tokens + 63) / 64 * 8;
}

uint64_t checksum_of(std::string_view tables, Footer footer) {
  footer.checksum = 0;
  return ContentHash()
      .add(tables)
      .add(std::string_view(reinterpret_cast<const char*>(&footer), sizeof footer))
      .low();
}

int64_t sum_of(std::string_view block) {
  return static_cast<int64_t>(ContentHash().add(block).low());
}

// Whether the blocks are as their sums say.
bool are_sound(std::string_view bytes, std::span<const int64_t> sums, ThreadPool* pool) {
  std::atomic<bool> sound{true};
  const auto check = [&](int64_t i, int) {
    const auto block = static_cast<size_t>(i);
    if (sound && sum_of(bytes.substr(block * kBlock, kBlock)) != sums[block]) {
      sound = false;
    }
  };
  const auto blocks = static_cast<int64_t>(sums.size());
  if (pool != nullptr) {
    pool->for_each(blocks, check);
  } else {
    for (int64_t i = 0; i < blocks; ++i) {
      check(i, 0);
    }
  }
  return sound;
}

template <class T>
std::string_view bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

}  // namespace

std::shared_ptr<const TokenFile> TokenFile::open(const std::filesystem::path& path,
                                                 ThreadPool* pool) {
  try {
    std::shared_ptr<TokenFile> file(new TokenFile(path));
    return file->read(pool) ? file : nullptr;
  } catch (const std::exception&) {  // not there, not readable, or its JSON is damaged
    return nullptr;
  }
}

bool TokenFile::read(ThreadPool* pool) {
  const std::string_view text = file_.text();
  Footer footer;
  if (text.size() < sizeof footer) {
    return false;
  }
  std::memcpy(&footer, text.data() + text.size() - sizeof footer, sizeof footer);
  const auto size = static_cast<int64_t>(text.size());
  if (footer.magic != kMagic || footer.tokens < 0 || footer.rows < 0 || footer.about_bytes < 0 ||
      footer.tokens > size || footer.rows > size || footer.about_bytes > size) {
    return false;
  }
  const int64_t labels_at = padded(footer.tokens * 4);
  const int64_t begins_at = labels_at + padded(label_bytes(footer));
  const int64_t numbers_at = begins_at + (footer.rows + 1) * 8;
  const int64_t sums_at = numbers_at + footer.rows * 8;
  const auto block = static_cast<int64_t>(kBlock);
  const int64_t sums = (begins_at + block - 1) / block;
  const int64_t about_at = sums_at + sums * 8;
  const int64_t end = about_at + footer.about_bytes;
  if (end + static_cast<int64_t>(sizeof footer) != size) {
    return false;
  }
  const auto section = [&]<class T>(int64_t at, int64_t count, T) {
    return std::span(reinterpret_cast<const T*>(text.data() + at), static_cast<size_t>(count));
  };
  tokens_ = section(0, footer.tokens, int32_t{});
  if (footer.whole_labels != 0) {
    labels_ = section(labels_at, footer.tokens, int32_t{});
  } else {
    trained_ = section(labels_at, (footer.tokens + 63) / 64, uint64_t{});
  }
  begins_ = section(begins_at, footer.rows + 1, int64_t{});
  numbers_ = section(numbers_at, footer.rows, int64_t{});
  if (checksum_of(text.substr(static_cast<size_t>(begins_at), static_cast<size_t>(end - begins_at)),
                  footer) != footer.checksum ||
      begins_.front() != 0 || begins_.back() != footer.tokens || !std::ranges::is_sorted(begins_)) {
    return false;
  }
  if (!are_sound(text.substr(0, static_cast<size_t>(begins_at)), section(sums_at, sums, int64_t{}),
                 pool)) {
    return false;
  }
  about_ = Json::parse(
      text.substr(static_cast<size_t>(about_at), static_cast<size_t>(footer.about_bytes)));
  return true;
}

void TokenFileWriter::write_summed(const void* data, size_t bytes) {
  file_.write(data, bytes);
  const auto* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const size_t n = std::min(bytes, kBlock - block_.size());
    block_.append(at, n);
    at += n;
    bytes -= n;
    if (block_.size() == kBlock) {
      sums_.push_back(sum_of(block_));
      block_.clear();
    }
  }
}

void TokenFileWriter::tokens(std::span<const int32_t> tokens) {
  write_summed(tokens.data(), tokens.size_bytes());
  tokens_ += static_cast<int64_t>(tokens.size());
}

void TokenFileWriter::commit(std::span<const uint64_t> trained, std::span<const int32_t> labels,
                             std::span<const int64_t> begins, std::span<const int64_t> numbers,
                             const Json& about) {
  const std::string zeros(8, '\0');
  const auto pad = [&](int64_t bytes) {
    write_summed(zeros.data(), static_cast<size_t>(padded(bytes) - bytes));
  };
  Footer footer{.tokens = tokens_,
                .rows = static_cast<int64_t>(numbers.size()),
                .whole_labels = labels.empty() ? 0 : 1};
  pad(tokens_ * 4);
  write_summed(trained.data(), trained.size_bytes());
  write_summed(labels.data(), labels.size_bytes());
  pad(label_bytes(footer));
  if (!block_.empty()) {
    sums_.push_back(sum_of(block_));
  }
  std::string tables(bytes_of(begins));
  tables += bytes_of(numbers);
  tables += bytes_of(std::span<const int64_t>(sums_));
  const std::string text = to_text(about);
  tables += text;
  footer.about_bytes = static_cast<int64_t>(text.size());
  footer.checksum = checksum_of(tables, footer);
  file_.write(tables);
  file_.write(&footer, sizeof footer);
  file_.commit();
}

std::vector<int32_t> TokenFileWriter::read_back() const {
  std::vector<int32_t> out(static_cast<size_t>(tokens_));
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(out));
  size_t done = 0;
  read_pieces(file_.temporary(), ReadFrom::anywhere, 0, bytes.size(),
              [&](std::span<const std::byte> piece) {
                std::ranges::copy(piece, bytes.begin() + static_cast<std::ptrdiff_t>(done));
                done += piece.size();
              });
  if (done < bytes.size()) {
    throw Error("S001", fmt::format("cannot read {} back", file_.temporary().string()));
  }
  return out;
}

}  // namespace sft
