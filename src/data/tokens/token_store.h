// Tokenised rows in memory or in a mapped file, and the same rows packed. Made by prepare_dataset.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "data/rows/example.h"
#include "data/tokens/pack.h"
#include "data/tokens/token_file.h"

namespace sft {

// All rows end to end: 4 bytes and 1 bit a token. Labels are kept whole only where some differ from
// both their token and kIgnored.
class TokenStore : public PreparedDataset {
 public:
  void append(const Example& row);
  // Row i becomes what row rows[i] was; rows that are not named are seen no more.
  void select(const std::vector<int64_t>& rows);

  // From now on tokens go to the file of such a writer once they are many; `save` ends it, and the
  // store then reads from the file. `numbers`: one for each row appended, for the file alone. Where
  // there is no room the tokens come back into memory, and S001 is thrown once; the store stays
  // usable.
  using MakeWriter = std::function<std::unique_ptr<TokenFileWriter>()>;
  void spill_to(MakeWriter make_writer) { make_writer_ = std::move(make_writer); }
  bool can_save() const { return make_writer_ != nullptr; }
  void save(std::span<const int64_t> numbers, const Json& about,
            const std::function<std::shared_ptr<const TokenFile>()>& open);
  bool spilled() const { return spilled_ > 0; }
  // All rows of a file.
  static TokenStore of_file(std::shared_ptr<const TokenFile> file);

  int64_t size() const override { return static_cast<int64_t>(order_.size()); }
  Example example(int64_t i) const override { return piece({i, 0, length(i)}); }
  int64_t length(int64_t i) const override;
  // Who knows where the row appended as number n stands.
  void set_places(std::function<std::string(int64_t n)> places) { places_ = std::move(places); }
  std::string place(int64_t i) const override {
    return places_ ? places_(order_[static_cast<size_t>(i)]) : "";
  }
  bool add_to(ContentHash& hash) const override;
  // The tokens and labels of a part of row `piece.example`.
  Example piece(const Piece& piece) const;
  std::vector<int64_t> lengths() const;

 private:
  void spill();
  void take_back();
  void stop_writing();
  std::span<const int64_t> begins() const {
    return file_ != nullptr ? file_->begins() : std::span<const int64_t>(begins_);
  }

  std::vector<int32_t> tokens_, labels_;  // tokens_ begins with token `spilled_`
  std::vector<uint64_t> trained_;         // a bit for each token
  bool whole_labels_ = false;
  std::vector<int64_t> begins_ = {0};
  std::vector<int64_t> order_;
  int64_t spilled_ = 0;
  MakeWriter make_writer_;
  std::unique_ptr<TokenFileWriter> writer_;
  std::function<std::string(int64_t)> places_;
  std::shared_ptr<const TokenFile> file_;  // where set, all of the above but order_ is in it
};

class PackedStore : public PreparedDataset {
 public:
  // `isolated`: the pieces of a row are documents of their own (bfd), not one stream (wrapped).
  PackedStore(TokenStore rows, PackPlan plan, bool isolated);
  void select(const std::vector<int64_t>& rows);  // as above

  int64_t size() const override { return static_cast<int64_t>(order_.size()); }
  Example example(int64_t i) const override;
  int64_t length(int64_t i) const override;
  bool add_to(ContentHash& hash) const override;
  std::string place(int64_t i) const override;  // of the row packed first, and how many more

 private:
  TokenStore rows_;
  PackPlan plan_;
  bool isolated_;
  std::vector<int64_t> order_;
};

}  // namespace sft
