#include "data/token_store.h"

#include <numeric>

namespace sft {

namespace {

std::vector<int64_t> compose(const std::vector<int64_t>& order, const std::vector<int64_t>& rows) {
  std::vector<int64_t> out(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    out[i] = order[static_cast<size_t>(rows[i])];
  }
  return out;
}

}  // namespace

void TokenStore::select(const std::vector<int64_t>& rows) { order_ = compose(order_, rows); }
void PackedStore::select(const std::vector<int64_t>& rows) { order_ = compose(order_, rows); }

void TokenStore::append(const Example& row) {
  if (!whole_labels_) {
    for (size_t i = 0; i < row.labels.size(); ++i) {
      whole_labels_ |= row.labels[i] != kIgnored && row.labels[i] != row.input_ids[i];
    }
    if (whole_labels_) {
      for (size_t i = 0; i < tokens_.size(); ++i) {
        labels_.push_back(trained_[i] ? tokens_[i] : kIgnored);
      }
    }
  }
  if (whole_labels_) {
    labels_.insert(labels_.end(), row.labels.begin(), row.labels.end());
  } else {
    for (const int32_t label : row.labels) {
      trained_.push_back(label != kIgnored);
    }
  }
  tokens_.insert(tokens_.end(), row.input_ids.begin(), row.input_ids.end());
  order_.push_back(static_cast<int64_t>(begins_.size()) - 1);
  begins_.push_back(static_cast<int64_t>(tokens_.size()));
}

int64_t TokenStore::length(int64_t i) const {
  const auto row = static_cast<size_t>(order_[static_cast<size_t>(i)]);
  return begins_[row + 1] - begins_[row];
}

Example TokenStore::piece(const Piece& piece) const {
  const auto row = static_cast<size_t>(order_[static_cast<size_t>(piece.example)]);
  const auto begin = static_cast<size_t>(begins_[row] + piece.begin);
  Example out;
  out.input_ids.assign(tokens_.begin() + static_cast<long>(begin),
                       tokens_.begin() + static_cast<long>(begin) + piece.length);
  out.labels.resize(out.input_ids.size());
  for (size_t i = 0; i < out.labels.size(); ++i) {
    out.labels[i] = whole_labels_         ? labels_[begin + i]
                    : trained_[begin + i] ? out.input_ids[i]
                                          : kIgnored;
  }
  return out;
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

int64_t PackedStore::length(int64_t i) const {
  int64_t tokens = 0;
  for (const Piece& piece : plan_.row(order_[static_cast<size_t>(i)])) {
    tokens += piece.length;
  }
  return tokens;
}

}  // namespace sft
