// What a run takes for its own in an output_dir that others have used.
#include "run/output_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "core/error.h"
#include "core/file_writer.h"
#include "io/checkpoint.h"
#include "train/small_runs.h"

namespace sft {
namespace {

class OutputFolderTest : public ::testing::Test {
 protected:
  OutputFolderTest() : folder_(fresh_folder("output")) { options_.output_dir = folder_.string(); }

  void save(int64_t step, const std::string& run) const {
    CheckpointWriter writer(folder_, step, run);
    writer.write_text("sft_state.json", "{}");
    writer.commit();
  }
  // As the Hugging Face Trainer leaves it, as far as anybody looks.
  void save_trainers(int64_t step) const {
    fs::create_directories(folder_ / fmt::format("checkpoint-{}", step));
    write_text(folder_ / fmt::format("checkpoint-{}/trainer_state.json", step), "{}");
  }
  // Where a run would go on, by its name; "" from the beginning.
  std::string resumed(const std::string& launch = "", int attempt = 0) {
    said_.clear();
    const OutputFolder output(options_, "me");
    const auto found = checkpoint_to_resume(options_, launch, attempt, pool_, log_);
    return found ? found->checkpoint.filename().string() : "";
  }
  void begin(const std::string& run, const std::string& launch = "", const std::string& from = "") {
    said_.clear();
    OutputFolder(options_, "me").begin(run, launch, from, log_);
  }
  std::string code_of_resume() {
    try {
      resumed();
    } catch (const Error& e) {
      said_ = e.message() + " " + e.hint();
      return std::string(e.code().text());
    }
    return "";
  }
  bool says(const std::string& part) const { return said_.find(part) != std::string::npos; }

  fs::path folder_;
  TrainOptions options_;
  ThreadPool pool_{1};
  std::string said_;
  const Logger log_{Logger::Level::details,
                    [this](Logger::Level, std::string_view text) { (said_ += text) += "\n"; }};
};

TEST_F(OutputFolderTest, the_latest_checkpoint_is_that_of_the_run_that_was_last_here) {
  options_.resume_from_checkpoint = "latest";
  EXPECT_EQ(resumed(), "");
  save(12, "old");
  EXPECT_EQ(resumed(), "checkpoint-12");  // nobody has noted a run: the newest of all
  begin("new");
  EXPECT_TRUE(says("not of this run (checkpoint-12)")) << said_;
  EXPECT_EQ(resumed(), "");
  EXPECT_TRUE(says("--resume_from_checkpoint " + (folder_ / "checkpoint-12").string())) << said_;
  save(3, "new");
  EXPECT_EQ(resumed(), "checkpoint-3");
  begin("old", "", (folder_ / "checkpoint-12").string());
  EXPECT_EQ(resumed(), "checkpoint-12");
}

// A run that went on from a checkpoint elsewhere, or another program's, and has saved none yet.
TEST_F(OutputFolderTest, before_its_first_checkpoint_a_run_goes_on_from_where_it_did) {
  options_.resume_from_checkpoint = "latest";
  save_trainers(8);
  begin("new", "", (folder_ / "checkpoint-8").string());
  EXPECT_EQ(resumed(), "checkpoint-8");
  save(9, "new");
  EXPECT_EQ(resumed(), "checkpoint-9");
}

TEST_F(OutputFolderTest, the_newest_of_all_may_be_another_programs_which_is_not_passed_over) {
  options_.resume_from_checkpoint = "latest";
  save_trainers(8);
  EXPECT_EQ(resumed(), "checkpoint-8");  // which Trainer::resume refuses as it does the path
  save(4, "ours");
  EXPECT_EQ(resumed(), "checkpoint-8");
  begin("ours");
  EXPECT_EQ(resumed(), "checkpoint-4");
}

TEST_F(OutputFolderTest, a_restart_finds_its_own_checkpoints_and_else_does_as_it_was_told) {
  save(12, "old");
  begin("old", "launch 1");
  EXPECT_EQ(resumed("launch 2", 1), "");  // died before it began
  options_.resume_from_checkpoint = (folder_ / "checkpoint-12").string();
  EXPECT_EQ(resumed("launch 2", 1), "checkpoint-12");
  options_.resume_from_checkpoint.reset();
  begin("new", "launch 2");
  EXPECT_EQ(resumed("launch 2", 1), "");
  save(3, "new");
  EXPECT_EQ(resumed("launch 2", 1), "checkpoint-3");
  EXPECT_EQ(resumed("launch 2", 0), "");  // the first attempt is told to begin
}

TEST_F(OutputFolderTest, an_output_dir_given_as_the_checkpoint_is_answered_with_its_checkpoints) {
  save(3, "run");
  save(12, "run");
  write_text(folder_ / "trainer_state.json", "{}");  // a finished run's
  options_.resume_from_checkpoint = folder_.string();
  EXPECT_EQ(code_of_resume(), "M267");
  EXPECT_TRUE(says("checkpoint-3, checkpoint-12")) << said_;
  EXPECT_TRUE(says("--resume_from_checkpoint " + (folder_ / "checkpoint-12").string())) << said_;
  fs::remove_all(folder_ / "checkpoint-3");
  fs::remove_all(folder_ / "checkpoint-12");
  begin("run");
  EXPECT_EQ(code_of_resume(), "M267");
  EXPECT_TRUE(says("--model_name_or_path")) << said_;
  options_.resume_from_checkpoint = (folder_ / "none").string();
  EXPECT_EQ(code_of_resume(), "M265");
}

TEST_F(OutputFolderTest, a_model_that_will_be_replaced_is_named_unless_it_is_this_runs) {
  write_text(folder_ / "model.safetensors", "weights");
  begin("new");
  EXPECT_TRUE(says("a model that is not of this run")) << said_;
  {
    OutputFolder output(options_, "me");
    output.begin("new", "", "", log_);
    output.model_saved();
  }
  begin("new");
  EXPECT_EQ(said_, "");
  begin("newer");
  EXPECT_TRUE(says("a model that is not of this run")) << said_;
}

TEST_F(OutputFolderTest, what_is_no_file_under_a_name_that_will_be_written_is_refused_first) {
  for (const char* name : {"model.safetensors", "metrics.jsonl", "README.md", "checkpoint-7",
                           "trainer_state.json", ".sft.lock"}) {
    const fs::path path = folder_ / name;
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    EXPECT_EQ(code_of_resume(), "S001") << name;
    EXPECT_TRUE(says("a pipe")) << said_;
    fs::remove(path);
  }
  fs::create_directory(folder_ / "config.json");
  EXPECT_EQ(code_of_resume(), "S001");
  EXPECT_TRUE(says("a folder")) << said_;
}

TEST_F(OutputFolderTest, a_record_that_cannot_be_read_is_as_if_there_were_none) {
  options_.resume_from_checkpoint = "latest";
  save(3, "run");
  for (const char* text : {"", "{", "[]", R"({"run": 3})", R"({"run": "other"})"}) {
    write_text(folder_ / ".sft.run", text);
    EXPECT_EQ(resumed(), "checkpoint-3") << text;
  }
}

}  // namespace
}  // namespace sft
