// The rows, their order and the token counts of TRL's own runs: those of tests/golden, and those of
// a folder beside the source tree where there is one.
#include <algorithm>

#include "data/dataset.h"
#include "data/model.h"
#include "data/support.h"
#include "data/tokens/loader.h"
#include "support/paths.h"

namespace sft {
namespace {

namespace fs = std::filesystem;

LoaderOptions loader_options_of(const Json& args, const DataOptions& options) {
  LoaderOptions out;
  out.per_device_batch = args.value("per_device_train_batch_size", int64_t{8});
  out.accumulation = args.value("gradient_accumulation_steps", int64_t{1});
  out.seed = args.value("data_seed", args.value("seed", uint64_t{42}));
  out.padding_free = is_padding_free(options);
  return out;
}

// Orders that the run's own generator draws, as its noise does: tests/golden has the whole program
// follow those.
bool draws_its_order(const fs::path& file) {
  const Json args = read_json(file)["args"];
  return args.contains("train_sampling_strategy") || args.contains("accelerator_config");
}

std::vector<fs::path> runs() {
  std::vector<fs::path> found;
  const fs::path tests = SFT_TEST_DIR;
  for (const fs::path& folder :
       {tests / "golden", tests.parent_path().parent_path() / "shared" / "golden"}) {
    if (fs::is_directory(folder)) {
      for (const auto& entry : fs::directory_iterator(folder)) {
        if (entry.path().extension() == ".json" && !draws_its_order(entry.path())) {
          found.push_back(entry.path());
        }
      }
    }
  }
  std::ranges::sort(found);
  return found;
}

class GoldenRun : public testing::TestWithParam<fs::path> {};
INSTANTIATE_TEST_SUITE_P(Trl, GoldenRun, testing::ValuesIn(runs()),
                         [](const auto& run) { return run.param.stem().string(); });

TEST_P(GoldenRun, HasTheSameRowsInTheSameOrder) {
  const Json run = read_json(GetParam());
  const fs::path folder = GetParam().parent_path();
  test::Model model = test::read_model(folder / "models" / run["model"].get<std::string>());
  if (run["args"].contains("chat_template_path")) {  // "{root}/" and a file or a model here
    const auto given = run["args"]["chat_template_path"].get<std::string>();
    fs::path path = folder / given.substr(given.find('/') + 1);
    path = fs::is_directory(path) ? path / "chat_template.jinja" : path;
    model.chat_template = ChatTemplate(read_text(path), model.chat_template.special_tokens());
  }
  const DataOptions options =
      test::options_of(run["args"], folder / "data" / run["data"].get<std::string>());
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const Logger log;
    const Prepared data = prepare_dataset(options, Part::train,
                                          {model.tokenizer,
                                           &model.chat_template,
                                           pool,
                                           log,
                                           {},
                                           run["args"].value("seed", uint64_t{42})});
    ASSERT_EQ(data.rows->size(), run["rows"].get<int64_t>());
    for (size_t i = 0; i < run["first_rows"].size(); ++i) {
      const Example row = data.rows->example(static_cast<int64_t>(i));
      const Json& wanted = run["first_rows"][i];
      EXPECT_EQ(row.input_ids, wanted["input_ids"].get<std::vector<int32_t>>()) << "row " << i;
      EXPECT_EQ(row.labels, wanted["labels"].get<std::vector<int32_t>>()) << "row " << i;
      if (wanted.contains("seq_lengths")) {
        EXPECT_EQ(row.documents, wanted["seq_lengths"].get<std::vector<int32_t>>());
      }
    }
    Loader loader(*data.rows, loader_options_of(run["args"], options));
    int64_t tokens = 0, steps = 0;
    for (const Json& entry : run["log"]) {
      if (!entry.contains("num_tokens")) {
        continue;
      }
      for (const MicroBatch& batch : loader.next()) {
        tokens += batch.num_tokens;
      }
      ++steps;
      EXPECT_EQ(tokens, entry["num_tokens"].get<int64_t>()) << "step " << steps;
      EXPECT_DOUBLE_EQ(loader.epoch(), entry["epoch"].get<double>()) << "step " << steps;
    }
    EXPECT_EQ(steps, loader.total_steps(run["args"].value("num_train_epochs", 3.0),
                                        run["args"].value("max_steps", int64_t{-1})));
  }
}

}  // namespace
}  // namespace sft
