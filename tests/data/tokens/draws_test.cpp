// The orders and numbers that torch and transformers draw: tools/golden/draws.py made them.
#include <gtest/gtest.h>

#include <algorithm>

#include "data/support.h"
#include "data/tokens/batch_rebalance.h"
#include "data/tokens/loader.h"

namespace sft {
namespace {

using test::golden;

class Lengths : public PreparedDataset {
 public:
  explicit Lengths(std::vector<int64_t> lengths) : lengths_(std::move(lengths)) {}
  int64_t size() const override { return static_cast<int64_t>(lengths_.size()); }
  int64_t length(int64_t i) const override { return lengths_[static_cast<size_t>(i)]; }
  Example example(int64_t i) const override {
    const std::vector<int32_t> ids(static_cast<size_t>(length(i)), static_cast<int32_t>(i));
    return {.input_ids = ids, .labels = ids, .documents = {}};
  }

 private:
  std::vector<int64_t> lengths_;
};

// The rows of a batch, by their first token.
std::vector<int64_t> rows_of(const MicroBatch& batch) { return batch.row_numbers; }

TEST(Draws, UniformNumbersAreTorchs) {
  const Json all = golden("draws");
  for (const Json& c : all.at("uniform")) {
    TorchGenerator generator(c["seed"].get<uint64_t>());
    const auto most = c["most"].get<float>();
    generator.discard(c["count"].get<uint64_t>() - c["values"].size());
    for (const Json& wanted : c["values"]) {
      EXPECT_EQ(generator.uniform(-most, most), wanted.get<float>()) << c["seed"];
    }
  }
}

TEST(Draws, RowsGroupedByLengthAreTransformers) {
  const Json all = golden("draws");
  for (const Json& c : all.at("grouped")) {
    const Lengths data(c["lengths"]);
    TorchGenerator generator(c["seed"].get<uint64_t>());
    EXPECT_EQ(drawn_order(Sampling::group_by_length, data, c["batch"], generator),
              c["order"].get<std::vector<int64_t>>())
        << c["seed"];
  }
}

TEST(Draws, RebalancedBatchesAreTransformers) {
  const Json all = golden("draws");
  for (const Json& c : all.at("rebalanced")) {
    const int ranks = c["ranks"];
    const int64_t accumulation = c["accumulation"];
    const Rebalance how{c["per_device"].get<int64_t>() * ranks * accumulation, ranks, accumulation,
                        c["drop_last"]};
    for (size_t epoch = 0; epoch < c["epochs"].size(); ++epoch) {
      for (int rank = 0; rank < ranks; ++rank) {
        EXPECT_EQ(
            rebalanced_batches(c["lengths"], how, static_cast<int64_t>(epoch), rank),
            c["epochs"][epoch][static_cast<size_t>(rank)].get<std::vector<std::vector<int64_t>>>())
            << "epoch " << epoch << " rank " << rank << " of " << c.dump();
      }
    }
  }
}

// A step of batch_rebalance has as many rows as ever, in batches of its own sizes.
TEST(Draws, TheLoaderGivesRebalancedBatches) {
  const Json c = golden("draws").at("rebalanced")[1];
  const Lengths data(c["lengths"]);
  for (const int workers : {0, 2}) {
    Loader loader(data, {.per_device_batch = c["per_device"],
                         .accumulation = c["accumulation"],
                         .sampling = Sampling::batch_rebalance,
                         .workers = workers});
    for (const Json& epoch : c["epochs"]) {
      size_t batch = 0;
      for (int64_t step = 0; step < loader.steps_per_epoch(); ++step) {
        for (const MicroBatch& made : loader.next()) {
          EXPECT_EQ(rows_of(made), epoch[0][batch++].get<std::vector<int64_t>>());
        }
      }
      EXPECT_EQ(batch, epoch[0].size());
    }
  }
}

// What was drawn before decides a drawn order, so a resumed run needs the generator's state.
TEST(Draws, DrawnOrdersGoOnFromASavedPlace) {
  const Lengths data(golden("draws").at("grouped")[0]["lengths"]);
  for (const Sampling sampling : {Sampling::group_by_length, Sampling::unseeded}) {
    const LoaderOptions options{
        .per_device_batch = 3, .accumulation = 2, .sampling = sampling, .workers = 1};
    Loader whole(data, options);
    for (int step = 0; step < 17; ++step) {
      Loader resumed(data, options);
      LoaderState saved;
      read_state(saved, write_state(whole.state(true)), {"x"});
      resumed.seek(saved.cursor);
      resumed.restore_random(*saved.random);
      whole.random().discard(static_cast<uint64_t>(step));  // an evaluation's, or noise
      resumed.random().discard(static_cast<uint64_t>(step));
      const auto wanted = whole.next();
      const auto got = resumed.next();
      ASSERT_EQ(got.size(), wanted.size());
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(rows_of(got[i]), rows_of(wanted[i])) << "step " << step;
      }
      EXPECT_EQ(resumed.random_state(), whole.random_state());
    }
  }
}

TEST(Draws, ADamagedRandomStateIsAnError) {
  const Lengths data({3, 4, 5});
  Loader loader(data, {});
  for (const char* bad : {"", "3", "1 2 x"}) {
    EXPECT_EQ(error_of([&] { loader.restore_random({bad, ""}); }).code().text(), "D062") << bad;
  }
  for (const Json& bad : {Json(), Json({{"now", 3}, {"epoch", ""}}), Json({{"now", "1"}})}) {
    RandomState state;
    EXPECT_EQ(error_of([&] { read_state(state, bad, {"x"}); }).code().text(), "M268") << bad;
  }
}

TEST(Draws, BatchesAreLaidOutAsTrlPadsThem) {
  const Lengths data({5, 2, 7});
  const std::vector<int64_t> order{0, 1, 2};
  const MicroBatch padded = make_batch(data, order, order, {.pad_to_multiple_of = 4});
  EXPECT_EQ(padded.laid_rows, 3);
  EXPECT_EQ(padded.laid_length, 8);
  EXPECT_EQ(padded.num_tokens, 14);
  const MicroBatch flat =
      make_batch(data, order, order, {.padding_free = true, .pad_to_multiple_of = 4});
  EXPECT_EQ(flat.laid_rows, 1);
  EXPECT_EQ(flat.laid_length, 16);
}

}  // namespace
}  // namespace sft
