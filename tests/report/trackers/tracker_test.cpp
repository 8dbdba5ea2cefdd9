// The files of the trackers byte by byte, and that a tracker never ends a run.
#include "report/trackers/tracker.h"
#include "settings/report_names.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <map>

#include "core/error.h"
#include "core/file.h"
#include "io/checksum.h"
#include "report/trackers/proto_message.h"
#include "report/trackers/tensorboard.h"
#include "report/trackers/wandb.h"
#include "settings/train_options.h"

namespace sft {
namespace {

uint64_t number(std::string_view bytes, size_t at, int size) {
  uint64_t value = 0;
  for (int i = 0; i < size; ++i) {
    value |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[at + static_cast<size_t>(i)]))
             << 8 * i;
  }
  return value;
}

// A message's fields, numbers as their eight bytes.
std::multimap<int, std::string> fields(std::string_view bytes) {
  std::multimap<int, std::string> out;
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes.at(at++));
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) {
        return value;
      }
    }
  };
  while (at < bytes.size()) {
    const uint64_t key = varint();
    std::string value;
    if ((key & 7) == 0) {
      put_little_endian(value, varint(), 8);
    } else {
      const size_t size = (key & 7) == 1 ? 8 : (key & 7) == 5 ? 4 : varint();
      value = bytes.substr(at, size);
      at += size;
    }
    out.emplace(static_cast<int>(key >> 3), value);
  }
  return out;
}

// zlib's CRC-32, bit by bit.
uint32_t crc32(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    for (int bit = 0; bit < 8; ++bit) {
      const uint32_t mix = (crc ^ static_cast<uint8_t>(c) >> bit) & 1;
      crc = crc >> 1 ^ (mix != 0 ? 0xEDB88320u : 0u);
    }
  }
  return ~crc;
}

// The records of a .wandb file, its framing checked.
std::vector<std::string> wandb_records(const fs::path& path) {
  const std::string file = read_text(path);
  EXPECT_EQ(file.substr(0, 7), std::string(":W&B\xE1\xBE\0", 7));
  std::vector<std::string> records;
  std::string record;
  for (size_t at = 7; at < file.size();) {
    const size_t left = 32768 - at % 32768;
    if (left < 7) {
      EXPECT_EQ(file.substr(at, left), std::string(left, '\0'));
      at += left;
      continue;
    }
    const auto size = static_cast<size_t>(number(file, at + 4, 2));
    EXPECT_LE(size + 7, left);
    EXPECT_EQ(number(file, at, 4), crc32(std::string_view(file).substr(at + 6, size + 1)));
    const int type = file[at + 6];
    EXPECT_EQ(record.empty(), type == 1 || type == 2);
    record += file.substr(at + 7, size);
    at += 7 + size;
    if (type == 1 || type == 4) {
      records.push_back(std::exchange(record, {}));
    }
  }
  EXPECT_TRUE(record.empty());
  return records;
}

class TrackerFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / ("sft_trackers_" + std::to_string(getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path only_file(const fs::path& folder, const std::string& part) {
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.path().filename().string().find(part) != std::string::npos &&
          entry.is_regular_file()) {
        return entry.path();
      }
    }
    return {};
  }
  fs::path folder_;
  std::vector<std::string> said_;
  Logger log_{Logger::Level::details,
              [this](Logger::Level, std::string_view text) { said_.emplace_back(text); }};
};

const Json kRunLine{
    {"k", "run"},
    {"t", 1000.5},
    {"version", "1.2"},
    {"host", "gpu-1"},
    {"argv", {"--seed", "1"}},
    {"model", {{"parameters", 7}}},
    {"config", {{"learning_rate", 1e-5}, {"lr_scheduler_kwargs", {{"min_lr", 0}}}}}};
const Json kLogLine{{"k", "log"},   {"t", 1002.0},      {"step", 3},
                    {"loss", 1.25}, {"grad_norm", NAN}, {"epoch", 0.5}};
const Json kEvalLine{{"k", "eval"}, {"t", 1003.0}, {"step", 3}, {"eval_loss", 2.5}, {"samples", 9}};
const Json kFinishLine{{"k", "finish"},     {"t", 1004.0},       {"step", 4},
                       {"train_loss", 1.0}, {"total_flos", 5.0}, {"epoch", 1.0}};
const Json kEndLine{{"k", "end"}, {"t", 1004.5}, {"step", 4}, {"status", "done"}, {"wall", 4.0}};

TEST_F(TrackerFiles, NamesAreThoseOfTransformers) {
  EXPECT_EQ(tracked_name("loss"), "train/loss");
  EXPECT_EQ(tracked_name("eval_loss"), "eval/loss");
  EXPECT_EQ(tracked_name("evaluation"), "train/evaluation");
  EXPECT_EQ(tracker_names({"all"}), (std::vector<std::string>{"tensorboard", "trackio", "wandb"}));
  EXPECT_EQ(tracker_names({"mlflow"}), std::vector<std::string>{"mlflow"});
  EXPECT_TRUE(tracker_names({"none"}).empty());
  EXPECT_EQ(tracker_names({"wandb", "wandb"}), std::vector<std::string>{"wandb"});
  for (const char* other : {"swanlab", "comet_ml", "wandbb"}) {
    try {
      tracker_names({other});
      ADD_FAILURE() << other;
    } catch (const Error& e) {
      EXPECT_EQ(e.code().text(), "C127");
      EXPECT_NE(e.message().find("mlflow, tensorboard, trackio, wandb"), std::string::npos);
    }
  }
}

TEST_F(TrackerFiles, TensorBoardRecordByRecord) {
  TensorBoard board(folder_, 1000.25);
  for (const Json& line : {kRunLine, kLogLine, kEvalLine, kFinishLine, kEndLine}) {
    board.line(line);
  }
  EXPECT_TRUE(board.path().filename().string().starts_with("events.out.tfevents.1000."));
  const std::string file = read_text(board.path());
  const auto masked = [](std::string_view bytes) {
    const uint32_t c = crc32c_portable(0, bytes.data(), bytes.size());
    return static_cast<uint32_t>((c >> 15 | c << 17) + 0xa282ead8u);
  };
  std::vector<std::multimap<int, std::string>> events;
  for (size_t at = 0; at < file.size();) {
    const std::string_view rest = std::string_view(file).substr(at);
    const auto size = static_cast<size_t>(number(rest, 0, 8));
    ASSERT_EQ(number(rest, 8, 4), masked(rest.substr(0, 8)));
    ASSERT_EQ(number(rest, 12 + size, 4), masked(rest.substr(12, size)));
    events.push_back(fields(rest.substr(12, size)));
    at += size + 16;
  }
  ASSERT_EQ(events.size(), 6u);
  EXPECT_EQ(events[0].find(3)->second, "brain.Event:2");
  EXPECT_EQ(std::bit_cast<double>(number(events[0].find(1)->second, 0, 8)), 1000.25);
  EXPECT_EQ(number(events[2].find(2)->second, 0, 8), 3u);
  std::map<std::string, float> values;
  for (size_t i = 2; i < 5; ++i) {
    const auto summary = fields(events[i].find(5)->second);
    for (const auto& [field, value] : summary) {
      const auto one = fields(value);
      values[one.find(1)->second] =
          std::bit_cast<float>(static_cast<uint32_t>(number(one.find(2)->second, 0, 4)));
    }
  }
  EXPECT_EQ(values.at("train/loss"), 1.25f);
  EXPECT_TRUE(std::isnan(values.at("train/grad_norm")));
  EXPECT_EQ(values.at("eval/loss"), 2.5f);
  EXPECT_EQ(values.at("train/train_loss"), 1.0f);
  EXPECT_EQ(values.count("train/samples"), 0u);
  // The session of the table of hyperparameters begins with the run and ends with it.
  std::vector<std::string> tags;
  for (const size_t i : {size_t{1}, size_t{5}}) {
    for (const auto& [field, value] : fields(events[i].find(5)->second)) {
      tags.push_back(fields(value).find(1)->second);
    }
  }
  EXPECT_EQ(tags, (std::vector<std::string>{"args/text_summary", "model_config/text_summary",
                                            "_hparams_/session_start_info",
                                            "_hparams_/session_end_info"}));
}

TEST_F(TrackerFiles, WandbRecordByRecord) {
  WandbRun run{"abcd1234", "p", "", "my-run", "", "", "", {"a", "b"}};
  {
    Wandb wandb(folder_, run);
    for (const Json& line : {kRunLine, kLogLine, kEvalLine, kFinishLine, kEndLine}) {
      wandb.line(line);
    }
  }
  const auto records = wandb_records(folder_ / "run-abcd1234.wandb");
  std::vector<int> kinds;
  std::vector<std::map<std::string, std::string>> rows;
  for (size_t i = 0; i < records.size(); ++i) {
    const auto record = fields(records[i]);
    EXPECT_EQ(number(record.find(1)->second, 0, 8), i + 1);
    kinds.push_back(record.rbegin()->first);
    if (record.contains(2)) {
      std::map<std::string, std::string> row;
      for (const auto& [field, value] : fields(record.find(2)->second)) {
        if (field == 1) {
          const auto item = fields(value);
          row[item.find(2)->second] = item.find(16)->second;
        }
      }
      rows.push_back(row);
    }
  }
  // header, run, environment, two metrics; then summary, history, stats; ...; summary, exit
  EXPECT_EQ(kinds, (std::vector<int>{21, 17, 26, 12, 12, 3, 2, 7, 3, 2, 7, 3, 3, 2, 3, 18}));
  const auto run_record = fields(fields(records[1]).find(17)->second);
  EXPECT_EQ(run_record.find(1)->second, "abcd1234");
  EXPECT_EQ(run_record.find(3)->second, "p");
  EXPECT_EQ(run_record.find(8)->second, "my-run");
  EXPECT_EQ(run_record.count(10), 2u);
  std::map<std::string, std::string> config;
  for (const auto& [field, value] : fields(run_record.find(4)->second)) {
    const auto item = fields(value);
    config[item.find(1)->second] = item.find(16)->second;
  }
  EXPECT_EQ(config.at("learning_rate"), "1e-05");
  EXPECT_EQ(config.at("lr_scheduler_kwargs"), R"({"min_lr":0})");
  EXPECT_EQ(config.at("model/num_parameters"), "7");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].at("train/loss"), "1.25");
  EXPECT_EQ(rows[0].at("train/grad_norm"), "NaN");
  EXPECT_EQ(rows[0].at("train/global_step"), "3");
  EXPECT_EQ(rows[0].at("_step"), "0");
  EXPECT_EQ(rows[0].at("_runtime"), "1.5");
  EXPECT_EQ(rows[1].at("eval/loss"), "2.5");
  EXPECT_FALSE(rows[2].contains("train/train_loss"));  // in the summary alone
}

TEST_F(TrackerFiles, WandbRecordsOfEverySizeCrossBlocks) {
  std::vector<std::string> written;
  {
    WandbFile file(folder_ / "run-x.wandb");
    for (size_t size : {0, 1, 32740, 5, 20, 32768, 100000, 32751, 32754, 32747, 3, 70000}) {
      written.emplace_back(size, static_cast<char>('a' + written.size()));
      file.append(written.back());
    }
  }
  EXPECT_EQ(wandb_records(folder_ / "run-x.wandb"), written);
}

TEST_F(TrackerFiles, VariablesAndFlagsNameTheRun) {
  std::map<std::string, std::string> variables{
      {"WANDB_DIR", folder_.string()},      {"WANDB_PROJECT", "tuning"},
      {"WANDB_NAME", "from-variable"},      {"WANDB_TAGS", "x, y"},
      {"TRACKIO_DIR", folder_ / "trackio"}, {"TENSORBOARD_LOGGING_DIR", folder_ / "board"}};
  const auto variable = [&](const char* name) { return variables[name]; };
  TrainOptions options;
  options.report_to = {"all"};
  {
    Trackers trackers(options, variable, log_);
    trackers.line(kRunLine);
  }
  const fs::path file = only_file(folder_ / "wandb", ".wandb");
  EXPECT_TRUE(file.parent_path().filename().string().starts_with("offline-run-"));
  const auto run = fields(fields(wandb_records(file)[1]).find(17)->second);
  EXPECT_EQ(run.find(3)->second, "tuning");
  EXPECT_EQ(run.find(8)->second, "from-variable");
  EXPECT_EQ(run.count(10), 2u);
  EXPECT_TRUE(fs::exists(folder_ / "wandb/latest-run" / file.filename()));
  EXPECT_FALSE(only_file(folder_ / "board", "tfevents").empty());
  const bool told = std::any_of(said_.begin(), said_.end(), [&](const std::string& text) {
    return text.find("wandb sync " + file.parent_path().string()) != std::string::npos;
  });
  EXPECT_TRUE(told);
  variables["WANDB_MODE"] = "disabled";
  options.report_to = {"wandb"};
  EXPECT_TRUE(Trackers(options, variable, log_).empty());
}

class Failing final : public Tracker {
 public:
  explicit Failing(int* calls) : calls_(calls) {}
  std::string name() const override { return "failing"; }
  void line(const Json&) override {
    ++*calls_;
    throw Error("S001", "no space left");
  }

 private:
  int* calls_;
};

TEST_F(TrackerFiles, AFailingTrackerIsOneWarning) {
  int calls = 0;
  Trackers trackers(log_);
  trackers.add(std::make_unique<Failing>(&calls));
  trackers.line(kLogLine);
  trackers.line(kLogLine);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(said_.size(), 1u);
  TrainOptions options;
  options.report_to = {"wandb"};
  EXPECT_TRUE(
      Trackers(options, [](const char*) { return std::string("/proc/nowhere"); }, log_).empty());
}

}  // namespace
}  // namespace sft
