#include "data/tokens/token_store.h"

#include <fmt/format.h>

#include <numeric>

#include "core/content_hash.h"
#include "core/error.h"

namespace sft {

namespace {

std::vector<int64_t> compose(const std::vector<int64_t>& order, const std::vector<int64_t>& rows) {
  std::vector<int64_t> out(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    out[i] = order[static_cast<size_t>(rows[i])];
  }
  return out;
}

constexpr size_t kSpillTokens = 8 << 20;

bool bit(std::span<const uint64_t> bits, int64_t i) {
  const auto at = static_cast<uint64_t>(i);
  return (bits[at / 64] >> (at % 64) & 1) != 0;
}

}  // namespace

void TokenStore::select(const std::vector<int64_t>& rows) { order_ = compose(order_, rows); }
void PackedStore::select(const std::vector<int64_t>& rows) { order_ = compose(order_, rows); }

void TokenStore::append(const Example& row) {
  const int64_t first = begins_.back();
  const auto n = static_cast<int64_t>(row.input_ids.size());
  if (!whole_labels_) {
    for (size_t i = 0; i < row.labels.size(); ++i) {
      whole_labels_ |= row.labels[i] != kIgnored && row.labels[i] != row.input_ids[i];
    }
    if (whole_labels_) {
      take_back();
      for (int64_t i = 0; i < first; ++i) {
        labels_.push_back(bit(trained_, i) ? tokens_[static_cast<size_t>(i)] : kIgnored);
      }
      trained_.clear();
    }
  }
  if (whole_labels_) {
    labels_.insert(labels_.end(), row.labels.begin(), row.labels.end());
  } else {
    trained_.resize(static_cast<size_t>((first + n + 63) / 64));
    for (int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<uint64_t>(first + i);
      trained_[at / 64] |= static_cast<uint64_t>(row.labels[static_cast<size_t>(i)] != kIgnored)
                           << (at % 64);
    }
  }
  tokens_.insert(tokens_.end(), row.input_ids.begin(), row.input_ids.end());
  order_.push_back(static_cast<int64_t>(begins_.size()) - 1);
  begins_.push_back(first + n);
  if (can_save() && !whole_labels_ && tokens_.size() > kSpillTokens) {
    spill();
  }
}

void TokenStore::spill() {
  try {
    if (writer_ == nullptr) {
      writer_ = make_writer_();
    }
    writer_->tokens(tokens_);
    spilled_ += static_cast<int64_t>(tokens_.size());
    tokens_.clear();
  } catch (const Error&) {
    take_back();
    stop_writing();
    throw;
  }
}

// What was spilled is in memory again, and the file is given up.
void TokenStore::take_back() {
  if (spilled_ > 0) {
    std::vector<int32_t> all = writer_->read_back();
    all.insert(all.end(), tokens_.begin(), tokens_.end());
    tokens_ = std::move(all);
    spilled_ = 0;
    stop_writing();
  }
}

void TokenStore::stop_writing() {
  writer_.reset();
  make_writer_ = nullptr;
}

void TokenStore::save(std::span<const int64_t> numbers, const Json& about,
                      const std::function<std::shared_ptr<const TokenFile>()>& open) {
  spill();
  try {
    writer_->commit(trained_, labels_, begins_, numbers, about);
    file_ = open();
  } catch (const Error&) {
    take_back();
    stop_writing();
    throw;
  }
  stop_writing();
  if (file_ == nullptr) {
    throw Error("S001", "the file of tokens that was just written cannot be read");
  }
  spilled_ = 0;
  tokens_ = labels_ = {};
  trained_ = {};
  begins_ = {};
}

TokenStore TokenStore::of_file(std::shared_ptr<const TokenFile> file) {
  TokenStore store;
  store.order_.resize(file->numbers().size());
  std::iota(store.order_.begin(), store.order_.end(), 0);
  store.begins_ = {};
  store.file_ = std::move(file);
  return store;
}

int64_t TokenStore::length(int64_t i) const {
  const auto row = static_cast<size_t>(order_[static_cast<size_t>(i)]);
  return begins()[row + 1] - begins()[row];
}

Example TokenStore::piece(const Piece& piece) const {
  const auto row = static_cast<size_t>(order_[static_cast<size_t>(piece.example)]);
  const auto begin = begins()[row] + piece.begin;
  const std::span<const int32_t> tokens = file_ != nullptr ? file_->tokens() : tokens_;
  const std::span<const int32_t> labels = file_ != nullptr ? file_->labels() : labels_;
  const std::span<const uint64_t> trained = file_ != nullptr ? file_->trained() : trained_;
  const auto at = static_cast<size_t>(begin);
  const auto length = static_cast<size_t>(piece.length);
  Example out;
  out.input_ids.assign(tokens.begin() + begin, tokens.begin() + begin + piece.length);
  if (!labels.empty()) {
    out.labels.assign(labels.begin() + begin, labels.begin() + begin + piece.length);
    return out;
  }
  out.labels.resize(length);
  for (size_t i = 0; i < length; ++i) {
    out.labels[i] = bit(trained, static_cast<int64_t>(at + i)) ? out.input_ids[i] : kIgnored;
  }
  return out;
}

bool TokenStore::add_to(ContentHash& hash) const {
  hash.add(file_ != nullptr ? file_->tokens() : std::span<const int32_t>(tokens_));
  hash.add(file_ != nullptr ? file_->labels() : std::span<const int32_t>(labels_));
  hash.add(file_ != nullptr ? file_->trained() : std::span<const uint64_t>(trained_));
  hash.add(begins()).add(order_);
  return true;
}

std::vector<int64_t> TokenStore::lengths() const {
  std::vector<int64_t> out(order_.size());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = length(static_cast<int64_t>(i));
  }
  return out;
}

PackedStore::PackedStore(TokenStore rows, PackPlan plan, bool isolated)
    : rows_(std::move(rows)),
      plan_(std::move(plan)),
      isolated_(isolated),
      order_(static_cast<size_t>(plan_.rows())) {
  std::iota(order_.begin(), order_.end(), 0);
}

Example PackedStore::example(int64_t i) const {
  Example out;
  for (const Piece& piece : plan_.row(order_[static_cast<size_t>(i)])) {
    const Example part = rows_.piece(piece);
    out.input_ids.insert(out.input_ids.end(), part.input_ids.begin(), part.input_ids.end());
    out.labels.insert(out.labels.end(), part.labels.begin(), part.labels.end());
    if (isolated_) {
      out.documents.push_back(static_cast<int32_t>(piece.length));
    }
  }
  return out;
}

bool PackedStore::add_to(ContentHash& hash) const {
  rows_.add_to(hash);
  for (const int64_t row : order_) {
    for (const Piece& piece : plan_.row(row)) {
      hash.add(piece.example).add(piece.begin).add(piece.length);
    }
    hash.add(int64_t{-1});  // the end of a row
  }
  hash.add(isolated_ ? int64_t{1} : int64_t{0});
  return true;
}

std::string PackedStore::place(int64_t i) const {
  const auto pieces = plan_.row(order_[static_cast<size_t>(i)]);
  const std::string first = pieces.empty() ? "" : rows_.place(pieces.front().example);
  return first.empty() || pieces.size() == 1
             ? first
             : fmt::format("{} and {} packed with it", first, pieces.size() - 1);
}

int64_t PackedStore::length(int64_t i) const {
  int64_t tokens = 0;
  for (const Piece& piece : plan_.row(order_[static_cast<size_t>(i)])) {
    tokens += piece.length;
  }
  return tokens;
}

}  // namespace sft
