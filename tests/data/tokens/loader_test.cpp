#include "data/tokens/loader.h"

#include <set>

#include "core/torch_random.h"
#include "data/support.h"

namespace sft {
namespace {

using test::FixedDataset;

// The rows of a batch of FixedDataset::numbered, by their first tokens.
std::vector<int64_t> rows_of(const MicroBatch& batch) {
  std::vector<int64_t> rows;
  for (size_t d = 0; d + 1 < batch.cu_seqlens.size(); ++d) {
    rows.push_back(batch.tokens[static_cast<size_t>(batch.cu_seqlens[d])]);
  }
  return rows;
}

TEST(BatchPlan, DealsBatchesAsAccelerate) {
  for (const Json& c : test::golden("shards")) {
    const auto n = c["n"].get<int64_t>();
    const BatchPlan plan{.rows = n,
                         .per_device = c["batch"].get<int64_t>(),
                         .world = c["world"].get<int>(),
                         .drop_last = c["drop_last"].get<bool>()};
    for (int rank = 0; rank < plan.world; ++rank) {
      Json batches = Json::array();
      for (int64_t b = 0; b < plan.batches(); ++b) {
        auto positions = plan.batch(b, rank);
        for (int64_t& position : positions) {
          position %= n;
        }
        batches.push_back(positions);
      }
      EXPECT_EQ(batches, c["ranks"][static_cast<size_t>(rank)]) << c.dump();
    }
  }
}

TEST(Loader, TakesEachEpochInTorchsOrder) {
  const auto data = FixedDataset::numbered(10);
  Loader loader(data, {.per_device_batch = 3, .accumulation = 2, .seed = 7});
  EXPECT_EQ(loader.batches_per_epoch(), 4);
  EXPECT_EQ(loader.steps_per_epoch(), 2);
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    TorchGenerator generator(7 + epoch);
    const auto wanted = torch_randperm(10, generator);
    std::vector<int64_t> seen;
    for (int step = 0; step < 2; ++step) {
      for (const MicroBatch& batch : loader.next()) {
        for (const int64_t row : rows_of(batch)) {
          seen.push_back(row);
        }
      }
      EXPECT_DOUBLE_EQ(loader.epoch(), static_cast<double>(epoch) + (step == 0 ? 0.5 : 1.0));
    }
    EXPECT_EQ(seen, wanted);
  }
}

TEST(Loader, LastWindowOfAnEpochIsShort) {
  const auto data = FixedDataset::numbered(10);
  Loader loader(data, {.per_device_batch = 2, .accumulation = 3});
  EXPECT_EQ(loader.next().size(), 3U);
  EXPECT_EQ(loader.next().size(), 2U);
  EXPECT_DOUBLE_EQ(loader.epoch(), 1.0);
  EXPECT_EQ(loader.next().size(), 3U);
  EXPECT_DOUBLE_EQ(loader.epoch(), 1.6);
}

TEST(Loader, CountsStepsAsTransformers) {
  const auto data = FixedDataset::numbered(10);
  const Loader loader(data, {.per_device_batch = 2, .accumulation = 2});
  EXPECT_EQ(loader.steps_per_epoch(), 3);
  EXPECT_EQ(loader.total_steps(3.0, -1), 9);
  EXPECT_EQ(loader.total_steps(0.5, -1), 2);
  EXPECT_EQ(loader.total_steps(3.0, 4), 4);
}

// As a checkpoint gives it back.
Cursor read_again(const Cursor& saved) {
  Cursor cursor;
  read_state(cursor, write_state(saved), {"x"});
  return cursor;
}

TEST(Loader, GoesOnFromACursor) {
  const auto data = FixedDataset::numbered(23);
  const LoaderOptions options{.per_device_batch = 2, .accumulation = 2};
  Loader whole(data, options);
  for (int step = 0; step < 15; ++step) {
    const Cursor at = read_again(whole.cursor());
    Loader resumed(data, options);
    resumed.seek(at);
    const auto wanted = whole.next();
    const auto got = resumed.next();
    ASSERT_EQ(got.size(), wanted.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].tokens, wanted[i].tokens) << "step " << step;
    }
    EXPECT_EQ(resumed.cursor(), whole.cursor());
  }
}

// Rows of the epoch under way that `ranks` loaders still take, going on from where another cutting
// of the batches stood.
std::multiset<int64_t> rest_of_epoch(const FixedDataset& data, LoaderOptions options,
                                     const Cursor& cursor, int64_t rows, int64_t step_rows) {
  std::multiset<int64_t> seen;
  for (options.rank = 0; options.rank < options.world; ++options.rank) {
    Loader loader(data, options);
    loader.go_on(cursor, rows, step_rows);
    const int64_t epoch = loader.cursor().epoch;
    int64_t steps = loader.steps_left(static_cast<double>(epoch + 1));
    for (; epoch == cursor.epoch && steps > 0; --steps) {
      // What is saved on the way is a place too.
      Loader again(data, options);
      again.go_on(read_again(loader.cursor()), loader.rows_done(),
                  options.per_device_batch * options.world * options.accumulation);
      const auto batches = loader.next();
      const auto same = again.next();
      for (size_t i = 0; i < batches.size(); ++i) {
        EXPECT_EQ(batches[i].tokens, same[i].tokens);
        const std::vector<int64_t> taken = rows_of(batches[i]);
        seen.insert(taken.begin(), taken.begin() + batches[i].fresh_rows);
      }
    }
    EXPECT_EQ(loader.epoch(), static_cast<double>(cursor.epoch + 1));
  }
  return seen;
}

TEST(Loader, GoesOnWithOtherBatchesWithoutSkippingOrRepeatingARow) {
  const auto data = FixedDataset::numbered(41);
  const std::vector<LoaderOptions> cuts = {{.per_device_batch = 4},
                                           {.per_device_batch = 3, .accumulation = 2},
                                           {.per_device_batch = 5, .world = 2},
                                           {.per_device_batch = 1, .accumulation = 3, .world = 3},
                                           {.per_device_batch = 50},
                                           {.per_device_batch = 2, .workers = 2}};
  for (const Sampling sampling : {Sampling::random, Sampling::group_by_length}) {
    for (LoaderOptions before : cuts) {
      for (LoaderOptions after : cuts) {
        before.sampling = after.sampling = sampling;
        std::set<int64_t> done;
        const int64_t rows = before.per_device_batch * before.world * before.accumulation;
        Loader first(data, before);
        for (int64_t step = 1; step <= first.steps_per_epoch(); ++step) {
          for (before.rank = 0; before.rank < before.world; ++before.rank) {
            Loader loader(data, before);
            loader.seek({0, step - 1});
            for (const MicroBatch& batch : loader.next()) {
              for (const int64_t row : rows_of(batch)) {
                done.insert(row);
              }
            }
          }
          before.rank = 0;
          first.next();
          const auto rest = rest_of_epoch(data, after, first.cursor(), first.rows_done(), rows);
          EXPECT_EQ(rest.size() + done.size(), 41U) << "step " << step;
          for (const int64_t row : rest) {
            EXPECT_EQ(rest.count(row), 1U);
            EXPECT_FALSE(done.contains(row)) << "row " << row << " comes twice";
          }
        }
      }
    }
  }
}

TEST(Loader, GoesOnWhereTheEpochIsShorterNow) {
  const auto data = FixedDataset::numbered(20);
  Loader loader(data, {.per_device_batch = 4});
  EXPECT_TRUE(loader.go_on({1, 7}, 28, 4));  // of an epoch that had more than 28 rows
  EXPECT_EQ(loader.cursor(), (Cursor{2, 0}));
  EXPECT_EQ(loader.steps_left(3.0), 5);
  EXPECT_EQ(loader.steps_left(2.0), 0);
  EXPECT_EQ(loader.steps_left(2.5), 3);
  EXPECT_FALSE(loader.go_on({1, 3}, 12, 4));
  EXPECT_EQ(loader.cursor(), (Cursor{1, 3}));
  EXPECT_TRUE(loader.go_on({1, 3}, 9, 3));
  EXPECT_EQ(loader.steps_left(3.0), 3 + 5);
  EXPECT_DOUBLE_EQ(loader.epoch(), 1.45);
  EXPECT_TRUE(loader.go_on({1, 2}, 12, 6));  // a place of its own cutting too
  EXPECT_EQ(loader.cursor(), (Cursor{1, 3}));
}

TEST(Loader, RanksTogetherSeeEveryRow) {
  const auto data = FixedDataset::numbered(11);
  std::multiset<int64_t> seen;
  int64_t fresh = 0;
  for (int rank = 0; rank < 3; ++rank) {
    Loader loader(data, {.per_device_batch = 2, .rank = rank, .world = 3});
    for (int64_t step = 0; step < loader.steps_per_epoch(); ++step) {
      for (const MicroBatch& batch : loader.next()) {
        EXPECT_EQ(batch.rows, 2);
        fresh += batch.fresh_rows;
        for (const int64_t row : rows_of(batch)) {
          seen.insert(row);
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), 12U);
  EXPECT_EQ(std::set<int64_t>(seen.begin(), seen.end()).size(), 11U);
  EXPECT_EQ(fresh, 11);
}

TEST(Loader, ShiftsLabelsInsideDocuments) {
  Example packed{.input_ids = {1, 2, 3, 4, 5}, .labels = {1, 2, -100, 4, 5}, .documents = {2, 3}};
  Example single{.input_ids = {6, 7, 8}, .labels = {-100, 7, 8}, .documents = {}};
  const FixedDataset data({packed, single});
  const MicroBatch batch = make_batch(data, {0, 1}, {0, 1}, {});
  EXPECT_EQ(batch.tokens, (std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(batch.positions, (std::vector<int32_t>{0, 1, 0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(batch.targets, (std::vector<int32_t>{2, -100, 4, 5, -100, 7, 8, -100}));
  EXPECT_EQ(batch.cu_seqlens, (std::vector<int32_t>{0, 2, 5, 8}));
  EXPECT_EQ(batch.num_tokens, 8);
  EXPECT_EQ(batch.trained, 5);
  const MicroBatch padded =
      make_batch(data, {0, 1}, {0, 1}, {.padding_free = true, .pad_to_multiple_of = 5});
  EXPECT_EQ(padded.num_tokens, 10);
}

TEST(Loader, SamplesSequentiallyAndByLength) {
  const auto data = FixedDataset::numbered(40);
  const auto sequential = epoch_order(Sampling::sequential, data, 1, 0);
  EXPECT_EQ(sequential[7], 7);
  TorchGenerator generator(1);
  auto grouped = drawn_order(Sampling::group_by_length, data, 4, generator);
  EXPECT_EQ(data.length(grouped[0]), 6);
  for (size_t i = 1; i < 8; ++i) {
    EXPECT_LE(data.length(grouped[i]), data.length(grouped[i - 1]));
  }
  std::ranges::sort(grouped);
  EXPECT_EQ(grouped, sequential);
  EXPECT_EQ(error_of([] { parse_sampling("shuffled"); }).code().text(), "D061");
}

TEST(Loader, EvaluatesInOrderOnce) {
  const auto data = FixedDataset::numbered(5);
  EvalLoader loader(data, {.per_device_batch = 2});
  EXPECT_EQ(loader.batches(), 3);
  std::vector<int64_t> seen;
  while (const auto batch = loader.next()) {
    for (const int64_t row : rows_of(*batch)) {
      seen.push_back(row);
    }
  }
  EXPECT_EQ(seen, (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

// A position that cannot be, or one that these data have not.
bool is_no_place(const Error& error) {
  return error.code() == Code("D062") || error.code() == Code("D068");
}

TEST(Loader, RefusesWhatCannotBe) {
  const auto few = FixedDataset::numbered(3);
  EXPECT_EQ(
      error_of([&] { Loader(few, {.per_device_batch = 4, .drop_last = true}); }).code().text(),
      "D063");
  const FixedDataset none({});
  EXPECT_EQ(error_of([&] { Loader(none, {}); }).code().text(), "D063");
  EXPECT_EQ(
      error_of([&] { EvalLoader(few, {.per_device_batch = 4, .drop_last = true}); }).code().text(),
      "D063");
  EXPECT_EQ(error_of([&] { EvalLoader(none, {}); }).code().text(), "D063");
  Loader loader(few, {});
  EXPECT_EQ(error_of([&] { loader.seek({0, 9}); }).code().text(), "D068");
  for (const Cursor& forged :
       {Cursor{.first_row = 3, .order_rows = 4}, Cursor{.first_row = 1, .order_rows = 0},
        Cursor{.first_row = 1, .order_rows = INT64_MAX}, Cursor{.first_row = -1}}) {
    EXPECT_TRUE(is_no_place(error_of([&] { loader.seek(forged); })));
  }
}

TEST(Loader, AForgedPositionIsRefused) {
  for (const char* number : {"-1", "3.9", "9223372036854775807", "18446744073709551615", "\"1\"",
                             "1e300", "null", "true", "[]"}) {
    for (const char* key : {"epoch", "step_in_epoch", "window", "row", "first_row", "order_rows"}) {
      Json json = write_state(Cursor{0, 1, 2, 3});
      json[key] = Json::parse(number);
      Cursor cursor;
      EXPECT_EQ(error_of([&] { read_state(cursor, json, {"x"}); }).code().text(), "M268")
          << key << number;
    }
  }
  const auto few = FixedDataset::numbered(3);
  Loader loader(few, {});
  for (const Cursor& forged :
       {Cursor{int64_t{1} << 53, 0}, Cursor{INT64_MAX - 1, 1}, Cursor{0, 0, int64_t{1} << 31, 0},
        Cursor{1, 1, INT64_MAX, 0}, Cursor{0, INT64_MAX, 0, 0}}) {
    EXPECT_TRUE(is_no_place(error_of([&] { loader.seek(forged); }))) << forged.epoch;
  }
}

}  // namespace
}  // namespace sft
