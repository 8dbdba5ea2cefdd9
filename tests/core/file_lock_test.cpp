#include "core/file_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"

namespace sft {
namespace {

class Locks : public ::testing::Test {
 protected:
  Locks() {
    std::string name = (fs::temp_directory_path() / "sft_lock_test_XXXXXX").string();
    folder = ::mkdtemp(name.data());
  }
  ~Locks() override { fs::remove_all(folder); }
  fs::path folder;
};

TEST_F(Locks, exclude_each_other_and_outlive_the_removal_of_their_file) {
  const fs::path path = folder / "x/y.lock";
  std::optional<FileLock> first(std::in_place);
  EXPECT_EQ(first->wait_at(path, [](double) {}), FileLock::State::held);
  FileLock second;
  EXPECT_EQ(second.try_at(path), FileLock::State::busy);
  int waits = 0;
  EXPECT_EQ(second.wait_at(path,
                           [&](double) {
                             if (++waits == 2) {
                               fs::remove(path);  // as some holders do when they are through
                               first.reset();
                             }
                           }),
            FileLock::State::held);
  EXPECT_EQ(waits, 2);
  EXPECT_TRUE(fs::exists(path));
}

TEST_F(Locks, end_with_the_process_that_held_them) {
  const fs::path path = folder / "lock";
  if (const pid_t child = ::fork(); child == 0) {
    FileLock lock;
    ::_exit(lock.try_at(path) == FileLock::State::held ? 7 : 1);
  } else {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(WEXITSTATUS(status), 7);
  }
  FileLock lock;
  EXPECT_EQ(lock.try_at(path), FileLock::State::held);
}

TEST_F(Locks, follow_no_link_and_say_that_there_can_be_none) {
  write_text(folder / "target", "precious");
  fs::create_symlink(folder / "target", folder / "lock");
  FileLock lock;
  EXPECT_EQ(lock.try_at(folder / "lock"), FileLock::State::no_file);
  EXPECT_EQ(errno, ELOOP);
  EXPECT_EQ(lock.try_at(folder / "no folder" / "lock"), FileLock::State::no_file);
  EXPECT_EQ(lock.try_at(folder), FileLock::State::no_file);
}

TEST_F(Locks, a_folder_is_for_one_run_whose_owner_is_named) {
  std::optional<FolderLock> first(std::in_place, folder, "run 1 on this machine");
  try {
    const FolderLock second(folder, "run 2");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "S040");
    EXPECT_NE(e.message().find("run 1 on this machine"), std::string::npos) << e.message();
  }
  first.reset();
  EXPECT_TRUE(fs::is_empty(folder));
  const FolderLock third(folder, "run 3");
}

}  // namespace
}  // namespace sft
