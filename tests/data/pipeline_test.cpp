// The three ways of preparing data, against each other: all rows first, rows while training runs,
// rows in windows; with stops at every step, on several ranks, with any number of workers.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "core/content_hash.h"
#include "data/dataset.h"
#include "data/model.h"
#include "data/support.h"
#include "data/tokens/loader.h"
#include "data/tokens/token_cache.h"
#include "data/tokens/token_store.h"

namespace sft {
namespace {

using test::Preparing;
using test::TemporaryFolder;

std::string lines(int n) {
  std::string out;
  for (int i = 0; i < n; ++i) {
    std::string text = "row " + std::to_string(i);
    for (int j = 0; j < i * 7 % 23; ++j) {
      text += " and more";
    }
    out += Json{{"text", text}}.dump() + "\n";
  }
  return out;
}

constexpr int kMany = 5000;  // more than are tokenised at once

struct Data {
  explicit Data(int rows, const std::string& extra = "") {
    options.dataset_name = folder.write("train.jsonl", lines(rows) + extra).string();
    options.max_length = 48;
  }
  TemporaryFolder folder;
  DataOptions options;
};

std::vector<std::vector<int32_t>> steps(TrainLoader& loader, int64_t n) {
  std::vector<std::vector<int32_t>> out;
  for (int64_t s = 0; s < n; ++s) {
    std::vector<int32_t> step;
    for (const MicroBatch& batch : loader.next()) {
      step.insert(step.end(), batch.tokens.begin(), batch.tokens.end());
      step.push_back(-1);
      step.insert(step.end(), batch.cu_seqlens.begin(), batch.cu_seqlens.end());
      step.insert(step.end(), batch.targets.begin(), batch.targets.end());
    }
    out.push_back(std::move(step));
  }
  return out;
}

TEST(Pipeline, RowsMadeDuringTrainingAreThoseMadeBefore) {
  Data data(kMany);
  Preparing preparing("chatml", 2);
  const Prepared lazy = preparing.prepare(data.options);
  ASSERT_TRUE(lazy.rows->bound());
  data.options.train_sampling_strategy = "group_by_length";  // needs every length
  const Prepared whole = preparing.prepare(data.options);
  ASSERT_FALSE(whole.rows->bound());
  ASSERT_EQ(lazy.rows->size(), whole.rows->size());
  for (int64_t i = 0; i < kMany; i += 7) {
    ASSERT_EQ(lazy.rows->example(i).input_ids, whole.rows->example(i).input_ids);
    ASSERT_EQ(lazy.rows->example(i).labels, whole.rows->example(i).labels);
  }
  for (const int workers : {0, 1, 3}) {
    Loader a(*lazy.rows, {.accumulation = 2, .workers = workers});
    Loader b(*whole.rows, {.accumulation = 2});
    EXPECT_EQ(steps(a, 400), steps(b, 400)) << workers;  // into the second epoch
  }
}

TEST(Pipeline, ShufflesAndSplitsTheSameEitherWay) {
  Data data(kMany + 1000);
  data.options.test_split_size = 500;
  data.options.shuffle_dataset = true;
  Preparing preparing;
  const Prepared lazy = preparing.prepare(data.options);
  ASSERT_TRUE(lazy.rows->bound());
  data.options.train_sampling_strategy = "group_by_length";
  const Prepared whole = preparing.prepare(data.options);
  ASSERT_EQ(lazy.rows->size(), kMany + 500);
  for (int64_t i = 0; i < lazy.rows->size(); i += 11) {
    ASSERT_EQ(lazy.rows->example(i).input_ids, whole.rows->example(i).input_ids);
  }
}

TEST(Pipeline, AnErrorShowsAtTheStepThatNeedsTheRow) {
  Data data(kMany, "{\"text\": 1}\n");
  data.options.train_sampling_strategy = "sequential";
  Preparing preparing;
  const Prepared lazy = preparing.prepare(data.options);
  Loader loader(*lazy.rows,
                {.per_device_batch = 100, .sampling = Sampling::sequential, .workers = 2});
  steps(loader, kMany / 100);
  const Error e = error_of([&] { loader.next(); });
  EXPECT_EQ(e.code().text(), "D031");
  EXPECT_NE(e.where().find("train.jsonl:5001"), std::string::npos);
}

TEST(Pipeline, CountsWhatHappensToRowsOnTheWay) {
  Data data(kMany);
  data.options.max_length = 10;
  Preparing preparing;
  const Prepared lazy = preparing.prepare(data.options);
  Loader loader(*lazy.rows, {.per_device_batch = kMany});
  RowNotes notes;
  for (const MicroBatch& batch : loader.next()) {
    notes += batch.notes;
  }
  EXPECT_EQ(notes.rows, kMany);
  EXPECT_GT(notes.truncated, 0);
  preparing.said.clear();
  say_notes(notes, data.options, preparing.model.tokenizer, preparing.log);
  ASSERT_EQ(preparing.said.size(), 1U);
  EXPECT_NE(preparing.said[0].find("of 5,000 rows are longer than max_length 10"),
            std::string::npos);
}

// Everything that decides the batches of a run.
struct Mode {
  const char* name;
  bool packing, windowed, streaming;
  int rows;
};

class EveryMode : public testing::TestWithParam<Mode> {
 protected:
  EveryMode() : data(GetParam().rows) {
    data.options.packing = GetParam().packing;
    data.options.dataset_order = GetParam().windowed ? "windowed" : "trl";
    data.options.dataset_streaming = GetParam().streaming;
    prepared = preparing.prepare(data.options);
  }
  std::unique_ptr<TrainLoader> loader(int rank = 0, int world = 1, int workers = 0,
                                      int64_t batch = 3) {
    return make_loader(*prepared.rows, {.per_device_batch = batch,
                                        .accumulation = 2,
                                        .rank = rank,
                                        .world = world,
                                        .max_steps = 100,
                                        .workers = workers});
  }
  Data data;
  Preparing preparing;
  Prepared prepared;
};

INSTANTIATE_TEST_SUITE_P(Data, EveryMode,
                         testing::Values(Mode{"whole", false, false, false, 50},
                                         Mode{"packed", true, false, false, 120},
                                         Mode{"lazy", false, false, false, kMany},
                                         Mode{"windowed", false, true, false, 60},
                                         Mode{"windowed_packed", true, true, false, 60},
                                         Mode{"many_windows", true, true, false, 9000},
                                         Mode{"streaming", false, false, true, 60},
                                         Mode{"streaming_packed", true, false, true, 60}),
                         [](const auto& mode) { return std::string(mode.param.name); });

TEST_P(EveryMode, GoesOnExactlyAfterEveryStep) {
  constexpr int64_t kSteps = 40;  // small sets: several epochs
  const auto whole = loader();
  std::vector<Json> cursors;
  std::vector<std::vector<int32_t>> wanted;
  for (int64_t s = 0; s < kSteps; ++s) {
    cursors.push_back(write_state(whole->cursor()));
    wanted.push_back(steps(*whole, 1)[0]);
  }
  for (int64_t s = 0; s < kSteps; ++s) {
    const auto resumed = loader(0, 1, static_cast<int>(s % 3));
    Cursor from;
    read_state(from, cursors[static_cast<size_t>(s)], {"x"});
    resumed->seek(from);
    const int64_t left = std::min<int64_t>(kSteps - s, 3);
    const auto got = steps(*resumed, left);
    for (int64_t i = 0; i < left; ++i) {
      ASSERT_EQ(got[static_cast<size_t>(i)], wanted[static_cast<size_t>(s + i)]) << "from " << s;
    }
  }
}

TEST_P(EveryMode, RanksShareOneOrder) {
  const auto tokens_of = [&](int world) {
    std::vector<std::unique_ptr<TrainLoader>> ranks;
    for (int rank = 0; rank < world; ++rank) {
      ranks.push_back(loader(rank, world, rank % 2, 6 / world));
    }
    std::vector<int32_t> all;
    for (int step = 0; step < 3; ++step) {
      std::vector<std::vector<MicroBatch>> batches;
      for (const auto& rank : ranks) {
        batches.push_back(rank->next());
      }
      for (size_t b = 0; b < batches[0].size(); ++b) {
        for (const auto& rank : batches) {
          all.insert(all.end(), rank[b].tokens.begin(), rank[b].tokens.end());
        }
      }
    }
    return all;
  };
  const auto one = tokens_of(1);
  EXPECT_EQ(tokens_of(2), one);
  EXPECT_EQ(tokens_of(3), one);
}

TEST(Windowed, APassTakesEveryRowOnce) {
  Data data(9500);
  data.options.dataset_order = "windowed";
  data.options.max_length = 512;
  Preparing preparing("chatml", 2);
  const Prepared prepared = preparing.prepare(data.options);
  ASSERT_EQ(prepared.rows->size(), 9500);
  const auto loader = make_loader(*prepared.rows, {.per_device_batch = 95});
  const auto pass = [&] {
    std::vector<std::string> texts;
    for (int64_t s = 0; s < 100; ++s) {
      const MicroBatch batch = loader->next().at(0);
      for (size_t d = 1; d < batch.cu_seqlens.size(); ++d) {
        const auto begin = static_cast<size_t>(batch.cu_seqlens[d - 1]);
        const auto end = static_cast<size_t>(batch.cu_seqlens[d]);
        texts.push_back(preparing.model.tokenizer.decode(
            std::span(batch.tokens).subspan(begin, end - begin), true));
      }
    }
    return texts;
  };
  auto first = pass(), second = pass();
  EXPECT_NE(first, second);
  std::ranges::sort(first);
  std::ranges::sort(second);
  EXPECT_EQ(first, second);
  EXPECT_EQ(std::ranges::adjacent_find(first), first.end());
}

TEST(Streaming, TakesRowsInTheirOrderAndPacksAsTrl) {
  Data data(2500);
  data.options.packing = true;
  data.options.dataset_streaming = true;
  Preparing preparing;
  const Prepared stream = preparing.prepare(data.options);
  data.options.dataset_streaming = false;
  const Prepared whole = preparing.prepare(data.options);
  const auto loader = make_loader(*stream.rows, {.per_device_batch = 1, .max_steps = 10});
  for (int64_t i = 0; i < whole.rows->size(); ++i) {
    ASSERT_EQ(loader->next()[0].tokens, whole.rows->example(i).input_ids) << i;
  }
}

// A preparation whose pass is long enough for the cache.
struct Cached {
  Cached() : data(120000) {
    data.options.packing = true;
    folder = data.folder / "cache";
  }
  Prepared prepare() {
    preparing.said.clear();
    DataContext context = preparing.context();
    context.cache_folder = folder;
    return prepare_dataset(data.options, Part::train, context);
  }
  bool from_cache() const {
    return std::ranges::any_of(preparing.said, [](const std::string& line) {
      return line.find("are in the cache") != std::string::npos;
    });
  }
  std::vector<std::filesystem::path> files(const std::string& extension) const {
    std::vector<std::filesystem::path> out;
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
      if (file.path().extension() == extension) {
        out.push_back(file.path());
      }
    }
    return out;
  }
  Data data;
  std::filesystem::path folder;
  Preparing preparing;
};

TEST(TokenFile, GivesBackWhatWasWrittenAndRefusesWhatIsNotWhole) {
  const TemporaryFolder folder;
  const auto path = folder / "x.tokens";
  const std::vector<int32_t> tokens = {5, 6, 7};
  const std::vector<int64_t> begins = {0, 1, 3}, numbers = {4, 9};
  const std::vector<uint64_t> trained = {5};
  {
    TokenFileWriter writer(path);
    writer.tokens(tokens);
    EXPECT_EQ(writer.read_back(), tokens);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  TokenFileWriter writer(path);
  writer.tokens(tokens);
  writer.commit(trained, {}, begins, numbers, Json{{"a", 1}});
  const auto file = TokenFile::open(path);
  ASSERT_NE(file, nullptr);
  EXPECT_TRUE(std::ranges::equal(file->tokens(), tokens));
  EXPECT_TRUE(std::ranges::equal(file->begins(), begins));
  EXPECT_TRUE(std::ranges::equal(file->numbers(), numbers));
  EXPECT_EQ(file->trained()[0], 5U);
  EXPECT_EQ(file->about(), (Json{{"a", 1}}));
  const std::string bytes = read_text(path);
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_EQ(TokenFile::open(folder.write("cut.tokens", bytes.substr(0, n))), nullptr) << n;
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_EQ(TokenFile::open(folder.write("damaged.tokens", damaged)), nullptr) << i;
  }
}

// Of many blocks; read by one thread or several.
TEST(TokenFile, NoChangedTokenOrLabelIsRead) {
  const TemporaryFolder folder;
  const auto path = folder / "x.tokens";
  std::vector<int32_t> tokens(1'000'003);
  std::iota(tokens.begin(), tokens.end(), 0);
  std::vector<uint64_t> trained((tokens.size() + 63) / 64, 0x5555555555555555U);
  TokenFileWriter writer(path);
  writer.tokens(std::span(tokens).first(7));
  writer.tokens(std::span(tokens).subspan(7));
  writer.commit(trained, {}, std::vector<int64_t>{0, static_cast<int64_t>(tokens.size())},
                std::vector<int64_t>{0}, Json());
  ThreadPool pool(3);
  for (ThreadPool* const threads : {static_cast<ThreadPool*>(nullptr), &pool}) {
    const auto file = TokenFile::open(path, threads);
    ASSERT_NE(file, nullptr);
    EXPECT_TRUE(std::ranges::equal(file->tokens(), tokens));
  }
  const std::string bytes = read_text(path);
  const size_t labels_at = (tokens.size() * 4 + 7) / 8 * 8, block = size_t{1} << 20;
  for (const size_t at : {size_t{0}, block - 1, block, 3 * block + 5, labels_at - 5, labels_at,
                          labels_at + trained.size() * 8 - 1}) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    const auto where = folder.write("damaged.tokens", damaged);
    EXPECT_EQ(TokenFile::open(where), nullptr) << at;
    EXPECT_EQ(TokenFile::open(where, &pool), nullptr) << at;
  }
  std::string zeroed = bytes;
  std::fill_n(zeroed.begin() + static_cast<long>(labels_at), trained.size() * 8, '\0');
  EXPECT_EQ(TokenFile::open(folder.write("damaged.tokens", zeroed)), nullptr);
}

TEST(TokenCache, WhatIsDamagedIsSaidAndMadeAgain) {
  const TemporaryFolder folder;
  std::vector<std::string> said;
  const Logger log(Logger::Level::notes,
                   [&](Logger::Level, std::string_view text) { said.emplace_back(text); });
  const TokenCache cache(folder.path(), "k", log);
  EXPECT_EQ(cache.find(), nullptr);
  EXPECT_TRUE(said.empty());  // not there is not damaged
  folder.write("k.tokens", "no such file");
  EXPECT_EQ(cache.find(), nullptr);
  ASSERT_EQ(said.size(), 1U);
  EXPECT_NE(said[0].find("k.tokens are damaged"), std::string::npos) << said[0];
  EXPECT_FALSE(std::filesystem::exists(folder / "k.tokens"));
}

TEST(TokenCache, KeyFollowsWhatDecidesTheTokens) {
  Data data(3);
  Preparing preparing;
  const auto key = [&] {
    const DataContext context = preparing.context();
    const RowSource source =
        open_source(data.options, Part::train, 42, context.hub, preparing.pool);
    return token_cache_key(source, data.options, Part::train, data.options.packing, context);
  };
  const std::string first = key();
  EXPECT_EQ(key(), first);
  data.options.shuffle_dataset = true;  // decided after the cache
  EXPECT_EQ(key(), first);
  data.options.max_length = 47;
  EXPECT_NE(key(), first);
  data.options.max_length = 48;
  data.options.packing = true;
  EXPECT_NE(key(), first);
  data.options.packing = false;
  data.folder.write("train.jsonl", lines(4));
  EXPECT_NE(key(), first);
}

TEST(TokenCache, KeepsTheOldestUsedOutAndCleansUp) {
  const TemporaryFolder folder;
  const Logger log;
  const auto write = [&](const std::string& key) {
    const TokenCache cache(folder.path(), key, log);
    const auto writer = cache.writer();
    writer->tokens(std::vector<int32_t>(1000));
    writer->commit(std::vector<uint64_t>(16), {}, std::vector<int64_t>{0, 1000},
                   std::vector<int64_t>{0}, Json::array());
    EXPECT_NE(cache.find(), nullptr);
    const auto age = std::chrono::hours(key == "a" ? 1 : key == "b" ? 3 : 2);
    std::filesystem::last_write_time(folder / (key + ".tokens"),
                                     std::filesystem::file_time_type::clock::now() - age);
  };
  write("a");
  write("b");
  write("c");
  folder.write("dead.tokens.17.tmp", "x");
  TokenCache(folder.path(), "d", log).prune(9000);
  EXPECT_TRUE(std::filesystem::exists(folder / "a.tokens"));
  EXPECT_FALSE(std::filesystem::exists(folder / "b.tokens"));
  EXPECT_TRUE(std::filesystem::exists(folder / "c.tokens"));
  EXPECT_FALSE(std::filesystem::exists(folder / "dead.tokens.17.tmp"));
}

TEST(TokenStore, ReadsTheSameFromItsFile) {
  const TemporaryFolder folder;
  const Logger log;
  const TokenCache cache(folder.path(), "k", log);
  for (const bool foreign : {false, true}) {
    TokenStore plain, saved;
    saved.spill_to([&] { return cache.writer(); });
    std::vector<int64_t> numbers;
    for (int32_t i = 0; i < 3000; ++i) {
      Example row;
      row.input_ids.assign(static_cast<size_t>(i % 97), i);
      row.labels = row.input_ids;
      for (size_t j = 0; j < row.labels.size(); j += 3) {
        row.labels[j] = foreign && i == 2000 ? 7 : kIgnored;
      }
      plain.append(row);
      saved.append(row);
      numbers.push_back(i);
    }
    saved.save(numbers, Json(1), [&] { return cache.find(); });
    const TokenStore mapped = TokenStore::of_file(cache.find());
    ASSERT_EQ(mapped.size(), 3000);
    ContentHash in_memory, in_file;
    EXPECT_TRUE(plain.add_to(in_memory) && mapped.add_to(in_file));
    EXPECT_EQ(in_memory.hex(), in_file.hex());
    for (int64_t i = 0; i < 3000; ++i) {
      ASSERT_EQ(saved.example(i).input_ids, plain.example(i).input_ids);
      ASSERT_EQ(saved.example(i).labels, plain.example(i).labels);
      ASSERT_EQ(mapped.example(i).labels, plain.example(i).labels);
    }
  }
}

std::string hash_of(const PreparedDataset& rows) {
  ContentHash hash;
  EXPECT_TRUE(rows.add_to(hash));
  return hash.hex();
}

TEST(TokenStore, ItsHashIsOfEveryTokenAndLabelAndOfTheirOrder) {
  constexpr int32_t kRows = 1000;
  const auto store = [](int32_t changed, bool label) {
    TokenStore out;
    for (int32_t i = 0; i < kRows; ++i) {
      Example row{.input_ids = {i, 5, 6}, .labels = {i, kIgnored, 6}, .documents = {}};
      if (i == changed) {
        (label ? row.labels : row.input_ids)[1] = 5 + (label ? 0 : 1);
      }
      out.append(row);
    }
    return out;
  };
  const TokenStore plain = store(-1, false);
  EXPECT_EQ(hash_of(store(-1, false)), hash_of(plain));
  for (const int32_t row : {0, 1, 17, 500, kRows - 1}) {
    EXPECT_NE(hash_of(store(row, false)), hash_of(plain)) << row;
    EXPECT_NE(hash_of(store(row, true)), hash_of(plain)) << row;
  }
  std::vector<int64_t> order(kRows);
  std::iota(order.begin(), order.end(), 0);
  std::swap(order[300], order[301]);
  TokenStore swapped = store(-1, false);
  swapped.select(order);
  EXPECT_NE(hash_of(swapped), hash_of(plain));
  const auto packed = [&](int64_t length) {
    TokenStore rows = store(-1, false);
    const std::vector<int64_t> lengths = rows.lengths();
    return hash_of(PackedStore(std::move(rows), plan_packing(lengths, length, Packing::bfd), true));
  };
  EXPECT_EQ(packed(8), packed(8));
  EXPECT_NE(packed(8), packed(9));
}

}  // namespace
}  // namespace sft
