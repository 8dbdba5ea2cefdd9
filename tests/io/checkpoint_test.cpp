#include "io/checkpoint.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <csignal>

#include "core/file_lock.h"
#include "core/file_writer.h"
#include "core/line_appender.h"
#include "io/checkpoint_manifest.h"
#include "io/safetensors.h"
#include "io/support.h"

namespace sft {
namespace {

constexpr const char* kRun = "0123456789abcdef";

struct State {
  std::vector<float> moment = std::vector<float>(5000, 0.125F);
  std::vector<NamedTensor> tensors{
      {"model.norm.weight", {moment.data(), Shape{50, 100}, DType::f32}}};
};

fs::path save(const fs::path& folder, int64_t step, const std::string& run = kRun) {
  State state;
  state.moment[0] = static_cast<float>(step);
  CheckpointWriter writer(folder, step, run);
  writer.write_tensors("optimizer.safetensors", streamed(state.tensors));
  writer.write_json("trainer_state.json", Json{{"global_step", step}});
  return writer.commit();
}

std::vector<std::string> listing(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// No file may grow beyond `bytes` while it lives: what a full disk does, without filling one.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST(Checkpoint, IsWholeAfterCommitAndAbsentBefore) {
  const TemporaryFolder folder;
  {
    CheckpointWriter writer(folder.path(), 5, kRun);
    writer.write_text("state.txt", "half");
    EXPECT_FALSE(fs::exists(folder / "checkpoint-5"));
  }
  EXPECT_TRUE(listing(folder.path()).empty());  // given up without a trace
  const fs::path path = save(folder.path(), 5);
  EXPECT_EQ(path, folder / "checkpoint-5");
  EXPECT_EQ(listing(path), (std::vector<std::string>{"manifest.json", "optimizer.safetensors",
                                                     "trainer_state.json"}));
  ThreadPool pool(2);
  EXPECT_EQ(verify_checkpoint(path, &pool), 5);
  const SafetensorsFile file(path / "optimizer.safetensors");
  std::vector<float> values(5000);
  file.read_f32(*file.find("model.norm.weight"), values.data());
  EXPECT_EQ(values[0], 5);
  EXPECT_EQ(values[1], 0.125F);
}

TEST(Checkpoint, EveryByteOfTheManifestCounts) {
  const TemporaryFolder folder;
  const fs::path manifest = save(folder.path(), 1) / "manifest.json";
  const std::string text = read_text(manifest);
  for (size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] = damaged[i] == ' ' ? '\n' : ' ';  // JSON would not mind most of these
    put(manifest, damaged);
    EXPECT_EQ(code_of([&] { verify_checkpoint(manifest.parent_path()); }), "M261") << i;
  }
}

TEST(Checkpoint, ANameThatLeavesTheFolderIsNoManifest) {
  const TemporaryFolder folder;
  const fs::path path = save(folder.path(), 1);
  for (const char* name : {"../x", "/etc/hostname", "..", ""}) {
    put(path / "manifest.json", manifest_text(1, kRun, {{name, 0, 0}}));
    EXPECT_EQ(code_of([&] { verify_checkpoint(path); }), "M261") << name;
  }
}

// A run's id names the folder into which another run moves its checkpoint.
TEST(Checkpoint, ARunThatIsAPathIsNoManifest) {
  const TemporaryFolder folder;
  const fs::path path = save(folder.path(), 1);
  for (const char* run : {"../../x", "/tmp/x", "..", "", "a/b"}) {
    put(path / "manifest.json", manifest_text(1, run, {}));
    EXPECT_EQ(code_of([&] { verify_checkpoint(path); }), "M261") << run;
    EXPECT_EQ(origin_of(path).kind, CheckpointOrigin::Kind::damaged) << run;
  }
}

TEST(Checkpoint, AManifestThatIsNestedTooDeepIsNone) {
  const TemporaryFolder folder;
  const fs::path path = save(folder.path(), 1);
  put(path / "manifest.json", std::string(200000, '[') + std::string(200000, ']'));
  EXPECT_EQ(code_of([&] { verify_checkpoint(path); }), "M261");
}

TEST(FolderLock, IsHeldByOne) {
  const TemporaryFolder folder;
  {
    const FolderLock first(folder.path(), "process 7 on host");
    try {
      const FolderLock second(folder.path(), "");
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.code().text(), "S040");
      EXPECT_NE(e.message().find("process 7 on host"), std::string::npos);
    }
  }
  const FolderLock again(folder.path(), "");
}

TEST(LineAppender, BeginsAFileThatWasRemovedAnew) {
  const TemporaryFolder folder;
  LineAppender lines(folder / "below/lines");
  lines.append("one");
  fs::remove_all(folder / "below");
  lines.append("two");
  EXPECT_EQ(read_text(folder / "below/lines"), "two\n");
}

TEST(Checkpoint, ReplacesOneOfTheSameStep) {
  const TemporaryFolder folder;
  save(folder.path(), 3);
  put(folder / "checkpoint-3/old.txt", "old");
  save(folder.path(), 3);
  EXPECT_FALSE(fs::exists(folder / "checkpoint-3/old.txt"));
  EXPECT_EQ(verify_checkpoint(folder / "checkpoint-3"), 3);
  EXPECT_EQ(listing(folder.path()), std::vector<std::string>{"checkpoint-3"});
}

TEST(Checkpoint, EveryFlippedByteAndEveryCutIsFound) {
  const TemporaryFolder folder;
  const fs::path path = save(folder.path(), 7);
  for (const std::string& name : listing(path)) {
    const std::string whole = read_text(path / name);
    const size_t stride = whole.size() > 2000 ? 97 : 1;
    for (size_t i = 0; i < whole.size(); i += stride) {
      std::string mutant = whole;
      mutant[i] = static_cast<char>(mutant[i] ^ 0x04);
      put(path / name, mutant);
      const std::string code = code_of([&] { verify_checkpoint(path); });
      ASSERT_TRUE(code == "M261" || code == "M262" || code == "M263") << name << " byte " << i;
    }
    for (size_t i = 0; i < 64; ++i) {
      put(path / name, whole.substr(0, whole.size() * i / 64));
      ASSERT_NE(code_of([&] { verify_checkpoint(path); }), "") << name << " cut " << i;
    }
    fs::remove(path / name);
    EXPECT_NE(code_of([&] { verify_checkpoint(path); }), "") << name;
    put(path / name, whole);
    EXPECT_EQ(verify_checkpoint(path), 7);
  }
}

TEST(Checkpoint, TheNewestWholeOneIsFoundAndTheOthersExplained) {
  const TemporaryFolder folder;
  EXPECT_FALSE(find_latest_checkpoint(folder / "absent").path.has_value());
  for (const int64_t step : {5, 10, 20, 100}) {
    save(folder.path(), step);
  }
  put(folder / "checkpoint-200/model.safetensors", "made elsewhere");
  put(folder / "checkpoint-300.tmp-77/model.safetensors", "killed");
  put(folder / "checkpoint-1e9/x", "not a step");
  put(folder / "checkpoint-100/trainer_state.json", "{}");
  const LatestCheckpoint latest = find_latest_checkpoint(folder.path());
  ASSERT_TRUE(latest.path.has_value());
  EXPECT_EQ(latest.step, 20);
  EXPECT_EQ(latest.path->filename(), "checkpoint-20");
  ASSERT_EQ(latest.skipped.size(), 2U);
  EXPECT_NE(latest.skipped[0].find("checkpoint-200: "), std::string::npos);
  EXPECT_NE(latest.skipped[0].find("manifest.json is missing"), std::string::npos);
  EXPECT_NE(latest.skipped[1].find("trainer_state.json has 2 bytes"), std::string::npos);
  EXPECT_EQ(remove_checkpoint_leftovers(folder.path()), 1);
  EXPECT_FALSE(fs::exists(folder / "checkpoint-300.tmp-77"));
  EXPECT_TRUE(fs::exists(folder / "checkpoint-200"));
}

TEST(Checkpoint, RotationKeepsTheNewestAndTheBest) {
  const TemporaryFolder folder;
  for (const int64_t step : {5, 10, 20, 100}) {
    save(folder.path(), step);
  }
  EXPECT_TRUE(rotate_checkpoints(folder.path(), kRun, 100, 0).empty());
  EXPECT_TRUE(rotate_checkpoints(folder.path(), kRun, 100, 4).empty());
  const std::vector<fs::path> best{folder / "checkpoint-5"};
  const auto removed = rotate_checkpoints(folder.path(), kRun, 100, 3, best);
  ASSERT_EQ(removed.size(), 1U);
  EXPECT_EQ(removed[0].filename(), "checkpoint-10");
  rotate_checkpoints(folder.path(), kRun, 100, 1, best);
  EXPECT_EQ(listing(folder.path()), (std::vector<std::string>{"checkpoint-100", "checkpoint-5"}));
  rotate_checkpoints(folder.path(), kRun, 100, 1);
  EXPECT_EQ(listing(folder.path()), std::vector<std::string>{"checkpoint-100"});
}

// What another run, or another program, has saved is no business of rotation's; nor are steps that
// a run has yet to reach again.
TEST(Checkpoint, RotationKnowsItsOwn) {
  const TemporaryFolder folder;
  save(folder.path(), 2, "another");
  save(folder.path(), 12, "another");
  put(folder / "checkpoint-8/trainer_state.json", "{}");
  save(folder.path(), 30);  // of this run, before it was resumed from an earlier step
  for (const int64_t step : {3, 6, 9}) {
    save(folder.path(), step);
    rotate_checkpoints(folder.path(), kRun, step, 1);
    EXPECT_EQ(verify_checkpoint(folder / fmt::format("checkpoint-{}", step)), step);
  }
  EXPECT_EQ(listing(folder.path()),
            (std::vector<std::string>{"checkpoint-12", "checkpoint-2", "checkpoint-30",
                                      "checkpoint-8", "checkpoint-9"}));
}

TEST(Checkpoint, ACheckpointOfAnotherRunMakesRoomAndStays) {
  const TemporaryFolder folder;
  save(folder.path(), 4, "another");
  put(folder / "checkpoint-5/trainer_state.json", "{}");
  put(folder / "checkpoint-6/manifest.json", "damaged");
  save(folder.path(), 7);
  for (const int64_t step : {4, 5, 6, 7}) {
    EXPECT_EQ(origin_of(save(folder.path(), step)).run, kRun);
  }
  EXPECT_EQ(verify_checkpoint(folder / "checkpoint-4.of-another"), 4);
  EXPECT_TRUE(fs::exists(folder / "checkpoint-5.of-another-program/trainer_state.json"));
  EXPECT_TRUE(fs::exists(folder / "checkpoint-6.damaged/manifest.json"));
  EXPECT_EQ(listing(folder.path()).size(), 7U);  // its own was replaced
  save(folder.path(), 4, "another");             // and the other run back again
  save(folder.path(), 4);
  EXPECT_EQ(verify_checkpoint(folder / "checkpoint-4.of-another-2"), 4);
}

TEST(Checkpoint, ALinkInTheWayIsMovedAndNotFollowed) {
  const TemporaryFolder folder, elsewhere;
  save(elsewhere.path(), 4);
  fs::create_symlink(elsewhere / "checkpoint-4", folder / "checkpoint-4");
  save(folder.path(), 4);
  EXPECT_FALSE(fs::is_symlink(folder / "checkpoint-4"));
  EXPECT_TRUE(fs::is_symlink(folder / fmt::format("checkpoint-4.of-{}", kRun)));
  EXPECT_EQ(verify_checkpoint(elsewhere / "checkpoint-4"), 4);
}

TEST(Checkpoint, TheNewestOfARunIsNotThatOfAnother) {
  const TemporaryFolder folder;
  save(folder.path(), 3);
  save(folder.path(), 12, "another");
  put(folder / "checkpoint-20/trainer_state.json", "{}");
  EXPECT_EQ(find_latest_checkpoint(folder.path(), nullptr, kRun).step, 3);
  EXPECT_EQ(find_latest_checkpoint(folder.path()).step, 12);
  EXPECT_TRUE(find_latest_checkpoint(folder.path(), nullptr, kRun).skipped.empty());
  EXPECT_FALSE(find_latest_checkpoint(folder.path(), nullptr, "a third").path.has_value());
  EXPECT_EQ(origin_of(folder / "checkpoint-20").kind, CheckpointOrigin::Kind::hf_trainer);
  EXPECT_EQ(origin_of(folder / "checkpoint-3").step, 3);
}

TEST(Checkpoint, OnlyWhatAKilledRunLeftIsALeftover) {
  const TemporaryFolder folder;
  for (const char* name : {"checkpoint-1.tmp-12", "checkpoint-22.tmp-3.old"}) {
    put(folder / name / "x", "half");
  }
  for (const char* name : {"checkpoint-best.tmp-1", "checkpoint-1.tmp-mine", "checkpoint-1.tmp-1.x",
                           "checkpoint-1.tmp", "tmp-checkpoint-3"}) {
    put(folder / name / "x", "a user's");
  }
  EXPECT_EQ(remove_checkpoint_leftovers(folder.path()), 2);
  EXPECT_EQ(listing(folder.path()).size(), 5U);
}

TEST(Checkpoint, AFullDiskLeavesThePreviousOneAndNoRemains) {
  const TemporaryFolder folder;
  save(folder.path(), 1);
  const State state;
  const auto attempt = [&] {
    CheckpointWriter writer(folder.path(), 2, kRun);
    writer.write_text("small.txt", "fits");
    writer.write_tensors("optimizer.safetensors", streamed(state.tensors));
    writer.commit();
  };
  {
    const FileSizeLimit limit(8192);
    EXPECT_EQ(code_of(attempt), "S001");
  }
  EXPECT_EQ(listing(folder.path()), std::vector<std::string>{"checkpoint-1"});
  EXPECT_EQ(verify_checkpoint(folder / "checkpoint-1"), 1);
  attempt();  // and with room it goes on
  EXPECT_EQ(find_latest_checkpoint(folder.path()).step, 2);
}

TEST(Checkpoint, AFolderThatCannotBeMadeIsNamed) {
  const TemporaryFolder folder;
  put(folder / "file", "not a folder");
  EXPECT_EQ(code_of([&] { CheckpointWriter writer(folder / "file", 1, kRun); }), "S010");
  EXPECT_EQ(code_of([&] { CheckpointWriter writer(folder / "file/below", 1, kRun); }), "S010");
}

}  // namespace
}  // namespace sft
