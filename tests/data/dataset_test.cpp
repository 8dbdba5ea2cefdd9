#include "data/dataset.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "data/model.h"
#include "data/support.h"
#include "data/tokens/loader.h"

namespace sft {
namespace {

using test::Preparing;
using test::TemporaryFolder;

std::string lines(int from, int to, const std::string& word = "row") {
  std::string out;
  for (int i = from; i < to; ++i) {
    out += Json{{"text", word + " " + std::to_string(i)}}.dump() + "\n";
  }
  return out;
}

std::vector<std::string> texts(const Preparing& preparing, const PreparedDataset& rows) {
  std::vector<std::string> out;
  for (int64_t i = 0; i < rows.size(); ++i) {
    out.push_back(preparing.model.tokenizer.decode(rows.example(i).input_ids, true));
  }
  return out;
}

TEST(Dataset, CountsWhatItDropsAndCuts) {
  const TemporaryFolder folder;
  DataOptions options;
  options.dataset_name =
      folder
          .write(
              "train.jsonl",
              R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})"
              "\n"
              R"({"messages": []})"
              "\n"
              R"({"messages": [{"role": "user", "content": "alone"}]})"
              "\n"
              R"({"messages": [{"role": "user", "content": "a question far too long for so few tokens, which goes on and on and on"}, {"role": "assistant", "content": "a"}]})"
              "\n"
              R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "an answer far too long for so few tokens, which goes on and on"}]})"
              "\n")
          .string();
  options.assistant_only_loss = true;
  options.max_length = 30;
  Preparing preparing;
  const Prepared data = preparing.prepare(options);
  const DataStatistics& s = data.statistics;
  EXPECT_EQ(s.rows_read, 5);
  EXPECT_EQ(s.rows, 2);
  EXPECT_EQ(data.rows->size(), 2);
  EXPECT_EQ(s.rows_empty, 1);
  EXPECT_EQ(s.rows_without_assistant, 1);
  EXPECT_EQ(s.rows_fully_masked, 1);
  EXPECT_EQ(s.rows_truncated, 2);
  EXPECT_GT(s.tokens_truncated, 0);
  EXPECT_EQ(s.tokens, data.rows->length(0) + data.rows->length(1));
  EXPECT_GT(s.tokens, s.tokens_trained);
  ASSERT_GE(preparing.said.size(), 3U);
  EXPECT_NE(preparing.said[0].find("trained: the assistant's turns"), std::string::npos);
  EXPECT_NE(preparing.said[1].find("3 of 5 rows are left out"), std::string::npos);
  EXPECT_NE(preparing.said[2].find("2 of 5 rows are longer than max_length 30"), std::string::npos);
}

TEST(Dataset, RefusesToTrainNothing) {
  const TemporaryFolder folder;
  DataOptions options;
  options.assistant_only_loss = true;
  options.dataset_name =
      folder
          .write("train.jsonl", R"({"messages": [{"role": "user", "content": "alone"}]})"
                                "\n")
          .string();
  Preparing preparing;
  const Error e = error_of([&] { preparing.prepare(options); });
  EXPECT_EQ(e.code().text(), "D049");
  EXPECT_NE(e.message().find("alone"), std::string::npos);
  EXPECT_NE(e.where().find("train.jsonl:1"), std::string::npos);
  options.dataset_name = folder.write("empty.jsonl", "\n").string();
  EXPECT_EQ(error_of([&] { preparing.prepare(options); }).code().text(), "D048");
  options.dataset_name.reset();
  EXPECT_EQ(error_of([&] { preparing.prepare(options); }).code().text(), "C031");
}

TEST(Dataset, RefusesOptionsThatCannotBe) {
  const TemporaryFolder folder;
  Preparing preparing;
  const auto code = [&](auto change) {
    DataOptions options;
    options.dataset_name = folder.write("train.jsonl", lines(0, 3)).string();
    change(options);
    return std::string(error_of([&] { preparing.prepare(options); }).code().text());
  };
  EXPECT_EQ(code([](DataOptions& o) { o.truncation_mode = "keep_middle"; }), "D052");
  EXPECT_EQ(code([](DataOptions& o) {
              o.packing = true;
              o.max_length.reset();
            }),
            "D051");
  EXPECT_EQ(code([](DataOptions& o) { o.max_length = 0; }), "D051");
  EXPECT_EQ(code([](DataOptions& o) { o.padding_free = true; }), "D053");
  EXPECT_EQ(code([](DataOptions& o) {
              o.packing = true;
              o.packing_strategy = "x";
            }),
            "D050");
  EXPECT_EQ(code([](DataOptions& o) { o.dataset_kwargs = Json{{"skip_prepare_dataset", true}}; }),
            "D054");
}

// As TRL's collator, which makes positions of seq_lengths where nothing is padded.
TEST(Dataset, ARowThatIsPackedAlreadyIsItsDocumentsWhereNothingIsPadded) {
  const TemporaryFolder folder;
  DataOptions options;
  options.dataset_name = folder
                             .write("train.jsonl",
                                    "{\"input_ids\": [5, 6, 7, 8, 9], \"seq_lengths\": [3, 2]}\n"
                                    "{\"input_ids\": [10, 11], \"seq_lengths\": [2]}\n"
                                    "{\"input_ids\": [12, 13, 14], \"labels\": [12, -100, 14], "
                                    "\"seq_lengths\": [1, 2]}\n")
                             .string();
  options.max_length.reset();
  using Documents = std::vector<int32_t>;
  for (const int threads : {1, 4}) {
    Preparing preparing("chatml", threads);
    options.padding_free = true;
    const Prepared data = preparing.prepare(options);
    ASSERT_EQ(data.rows->size(), 3);
    EXPECT_EQ(data.statistics.rows, 3);
    EXPECT_EQ(data.rows->example(0).documents, (Documents{3, 2}));
    EXPECT_EQ(data.rows->example(1).documents, (Documents{2}));
    EXPECT_EQ(data.rows->example(2).labels, (Documents{12, kIgnored, 14}));
    EXPECT_EQ(data.rows->length(0), 5);
    EXPECT_NE(data.rows->place(1).find("train.jsonl:2"), std::string::npos);
    LoaderOptions loading;
    loading.per_device_batch = 3;
    loading.sampling = Sampling::sequential;
    loading.padding_free = true;
    const MicroBatch batch = make_loader(*data.rows, loading)->next()[0];
    EXPECT_EQ(batch.cu_seqlens, (Documents{0, 3, 5, 7, 8, 10}));
    EXPECT_EQ(batch.positions, (Documents{0, 1, 2, 0, 1, 0, 1, 0, 0, 1}));
    EXPECT_EQ(batch.targets,
              (Documents{6, 7, kIgnored, 9, kIgnored, 11, kIgnored, kIgnored, 14, kIgnored}));
    options.padding_free = false;  // then a row is one document, as in TRL
    EXPECT_TRUE(preparing.prepare(options).rows->example(0).documents.empty());
  }
}

TEST(Dataset, RowsThatArePackedAlreadyAreSplitAndShuffledAsRows) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 50; ++i) {
    text += Json{{"input_ids", {i, i, i + 1}}, {"seq_lengths", {2, 1}}}.dump() + "\n";
  }
  DataOptions packed, plain;
  packed.dataset_name = folder.write("packed.jsonl", text).string();
  plain.dataset_name = packed.dataset_name;
  for (DataOptions* options : {&packed, &plain}) {
    options->max_length.reset();
    options->shuffle_dataset = true;
    options->test_split_size = 0.2;
  }
  packed.padding_free = true;
  Preparing preparing;
  for (const Part part : {Part::train, Part::eval}) {
    const Prepared one = preparing.prepare(packed, part), other = preparing.prepare(plain, part);
    ASSERT_EQ(one.rows->size(), other.rows->size());
    for (int64_t i = 0; i < one.rows->size(); ++i) {
      EXPECT_EQ(one.rows->example(i).input_ids, other.rows->example(i).input_ids);
      EXPECT_EQ(one.rows->example(i).documents.size(), 2U);
    }
  }
}

TEST(Dataset, ConversationsAreCountedAmongAllRowsAndNotTheFirst) {
  const TemporaryFolder folder;
  DataOptions options;
  options.dataset_name =
      folder
          .write("train.jsonl", lines(0, 200) +
                                    Json{{"messages",
                                          {{{"role", "user"}, {"content", "q"}},
                                           {{"role", "assistant"}, {"content", "a"}}}}}
                                        .dump() +
                                    "\n")
          .string();
  Preparing preparing;
  EXPECT_TRUE(preparing.prepare(options).chat);
  options.dataset_name = folder.write("plain.jsonl", lines(0, 200)).string();
  EXPECT_FALSE(preparing.prepare(options).chat);
}

TEST(Dataset, FirstErrorIsTheFirstRowsWhateverTheThreads) {
  const TemporaryFolder folder;
  DataOptions options;
  options.dataset_name =
      folder.write("train.jsonl", lines(0, 900) + "{\"text\": 1}\n" + lines(0, 700) + "{]\n")
          .string();
  for (const int threads : {1, 4}) {
    Preparing preparing("chatml", threads);
    const Error e = error_of([&] { preparing.prepare(options); });
    EXPECT_EQ(e.code().text(), "D031");
    EXPECT_NE(e.where().find("train.jsonl:901"), std::string::npos);
  }
}

TEST(Dataset, DoesNotDependOnThreads) {
  const TemporaryFolder folder;
  DataOptions options;
  options.dataset_name = folder.write("train.jsonl", lines(0, 9000)).string();
  Preparing one("chatml", 1), four("chatml", 4);
  const Prepared a = one.prepare(options), b = four.prepare(options);
  ASSERT_EQ(a.rows->size(), 9000);
  ASSERT_EQ(b.rows->size(), 9000);
  for (int64_t i = 0; i < 9000; ++i) {
    ASSERT_EQ(a.rows->example(i).input_ids, b.rows->example(i).input_ids);
  }
}

TEST(Dataset, TakesASlice) {
  const TemporaryFolder folder;
  folder.write("train.jsonl", lines(0, 10));
  DataOptions options;
  options.dataset_name = folder.path().string();
  options.dataset_train_split = "train[20%:-50%]";
  Preparing preparing;
  EXPECT_EQ(texts(preparing, *preparing.prepare(options).rows),
            (std::vector<std::string>{"row 2", "row 3", "row 4"}));
}

TEST(Dataset, TakesASumOfSplits) {
  const TemporaryFolder folder;
  folder.write("train.jsonl", lines(0, 10));
  folder.write("test.jsonl", lines(10, 12));
  DataOptions options;
  options.dataset_name = folder.path().string();
  options.dataset_train_split = "train[-1:]+test";
  Preparing preparing;
  EXPECT_EQ(texts(preparing, *preparing.prepare(options).rows),
            (std::vector<std::string>{"row 9", "row 10", "row 11"}));
}

TEST(Dataset, MixesDataSets) {
  const TemporaryFolder folder;
  folder.write("a/train.jsonl", lines(0, 10, "a"));
  folder.write("b/train.jsonl", lines(0, 4, "b"));
  DataOptions options;
  options.datasets = Json::array(
      {Json{{"path", (folder / "a").string()}, {"fraction", 1}},
       Json{{"path", (folder / "b").string()}, {"fraction", 1}, {"columns", {"text"}}}});
  Preparing preparing;
  const auto rows = texts(preparing, *preparing.prepare(options).rows);
  EXPECT_EQ(rows,
            (std::vector<std::string>{"a 0", "a 1", "a 2", "a 3", "b 0", "b 1", "b 2", "b 3"}));
  options.datasets[0].erase("fraction");
  EXPECT_EQ(error_of([&] { preparing.prepare(options); }).code().text(), "D065");
  options.datasets[1].erase("fraction");
  EXPECT_EQ(preparing.prepare(options).rows->size(), 14);
  EXPECT_EQ(error_of([&] { preparing.prepare(options, Part::eval); }).code().text(), "D008");
  options.datasets[0]["columns"] = {"body"};
  EXPECT_EQ(error_of([&] { preparing.prepare(options); }).code().text(), "D066");
  options.datasets[0] = Json{{"paths", "x"}};
  EXPECT_EQ(error_of([&] { preparing.prepare(options); }).code().text(), "D065");
}

TEST(Dataset, SplitsOffATest) {
  const TemporaryFolder folder;
  DataOptions options;
  options.dataset_name = folder.write("train.jsonl", lines(0, 50)).string();
  options.test_split_size = 0.1;
  Preparing preparing;
  const auto train = texts(preparing, *preparing.prepare(options, Part::train).rows);
  const auto test = texts(preparing, *preparing.prepare(options, Part::eval).rows);
  EXPECT_EQ(train.size(), 45U);
  EXPECT_EQ(test.size(), 5U);
  // The same rows in the same order as datasets' train_test_split(0.1, seed=42).
  const Json golden = test::golden("order").at("splits").at(0);
  for (size_t i = 0; i < test.size(); ++i) {
    EXPECT_EQ(test[i], "row " + golden["test"][i].dump());
  }
  for (size_t i = 0; i < train.size(); ++i) {
    EXPECT_EQ(train[i], "row " + golden["train"][i].dump());
  }
}

TEST(Dataset, KeepsRowsOfAnyLengthWithoutMaxLength) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 3000; ++i) {
    text += "word ";
  }
  DataOptions options;
  options.dataset_name =
      folder.write("train.json", Json::array({Json{{"text", text}}}).dump()).string();
  options.max_length.reset();
  Preparing preparing;
  EXPECT_GT(preparing.prepare(options).rows->length(0), 3000);
}

TEST(Dataset, KeepsForeignLabels) {
  const TemporaryFolder folder;
  DataOptions options;
  options.dataset_name =
      folder
          .write("train.jsonl", R"({"input_ids": [5, 6, 7], "labels": [-100, 6, 7]})"
                                "\n"
                                R"({"input_ids": [8, 9], "labels": [-100, 20]})"
                                "\n"
                                R"({"input_ids": [8, 9], "labels": [8, -100]})"
                                "\n")
          .string();
  Preparing preparing;
  const Prepared data = preparing.prepare(options);
  EXPECT_EQ(data.rows->example(0).labels, (std::vector<int32_t>{-100, 6, 7}));
  EXPECT_EQ(data.rows->example(1).labels, (std::vector<int32_t>{-100, 20}));
  EXPECT_EQ(data.rows->example(2).labels, (std::vector<int32_t>{8, -100}));
}

TEST(Dataset, InspectsTheFirstRows) {
  const TemporaryFolder folder;
  DataOptions options;
  options.dataset_name = folder.write("train.jsonl", lines(0, 10)).string();
  Preparing preparing;
  const auto rows = inspect_rows(options, Part::train, preparing.context(), 3);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[2].text, "row 2<|im_end|>");
  EXPECT_NE(rows[2].place.find("train.jsonl:3"), std::string::npos);
  EXPECT_EQ(rows[2].example.input_ids.size(), rows[2].example.labels.size());
  EXPECT_FALSE(rows[2].dropped);
}

// The rows as training gets them, in an order of their own.
std::vector<std::vector<int32_t>> sorted_rows(const Json& datasets) {
  DataOptions options;
  options.datasets = datasets;
  options.max_length = 4096;
  Preparing preparing;
  const Prepared data = preparing.prepare(options);
  std::vector<std::vector<int32_t>> rows;
  for (int64_t i = 0; i < data.rows->size(); ++i) {
    Example row = data.rows->example(i);
    row.input_ids.push_back(-1);
    row.input_ids.insert(row.input_ids.end(), row.labels.begin(), row.labels.end());
    rows.push_back(std::move(row.input_ids));
  }
  std::ranges::sort(rows);
  return rows;
}

#ifdef SFT_ARROW_BUILT
TEST(Dataset, AMixtureGivesTheSameRowsInEitherOrder) {
  const std::string folder = std::string(SFT_TEST_DIR) + "/data/golden/mix/";
  const Json chat = {{"path", folder + "chat.parquet"}};
  const Json tools = {{"path", folder + "tools.parquet"}};
  const auto first = sorted_rows(Json::array({chat, tools}));
  EXPECT_EQ(first, sorted_rows(Json::array({tools, chat})));
  std::vector<std::vector<int32_t>> apart = sorted_rows(Json::array({chat}));
  std::ranges::copy(sorted_rows(Json::array({tools})), std::back_inserter(apart));
  std::ranges::sort(apart);
  EXPECT_EQ(first, apart);
}
#endif

TEST(Dataset, ASwitchInALateRowIsHonouredAndChangesNoOtherRow) {
  const TemporaryFolder folder;
  std::string plain, late;
  for (int i = 0; i < 100; ++i) {
    plain +=
        R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a)" +
        std::to_string(i) + "\"}]}\n";
  }
  late = R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "bad",
      "weight": 0}, {"role": "user", "content": "p"}, {"role": "assistant", "content": "good"}]})";
  std::erase(late, '\n');
  const auto a = folder.write("a.jsonl", plain + late + "\n").string();
  const auto b = folder.write("b.jsonl", late + "\n" + plain).string();
  const auto rows = sorted_rows(Json::array({{{"path", a}}}));
  EXPECT_EQ(rows, sorted_rows(Json::array({{{"path", b}}})));
  const auto masked = [](const std::vector<int32_t>& row) {
    return std::ranges::count(row, kIgnored) > 0;
  };
  EXPECT_EQ(std::ranges::count_if(rows, masked), 1);
}

}  // namespace
}  // namespace sft
