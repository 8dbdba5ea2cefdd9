#include "core/cgroup.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/file.h"

namespace sft {
namespace {

class CgroupTest : public ::testing::Test {
 protected:
  CgroupTest() { fs::create_directories(folder_); }
  ~CgroupTest() override { fs::remove_all(folder_); }
  void put(const char* file, const char* text) const { write_text(folder_ / file, text); }
  const fs::path folder_ =
      fs::path(::testing::TempDir()) / ("sft_cgroup_" + std::to_string(::getpid()));
};

TEST_F(CgroupTest, a_share_of_the_processors) {
  EXPECT_FALSE(cgroup_processors(folder_));
  put("cpu.max", "max 100000\n");
  EXPECT_FALSE(cgroup_processors(folder_));
  put("cpu.max", "250000 100000\n");
  EXPECT_EQ(cgroup_processors(folder_), 2.5);
}

TEST_F(CgroupTest, memory_with_cached_files_as_free) {
  put("memory.max", "max\n");
  put("memory.current", "700\n");
  EXPECT_FALSE(cgroup_memory_left(folder_));
  put("memory.max", "1000\n");
  EXPECT_EQ(cgroup_memory_left(folder_), 300);
  put("memory.stat", "anon 200\nfile 500\ninactive_file 150\nactive_file 250\nshmem 100\n");
  EXPECT_EQ(cgroup_memory_left(folder_), 700);
  put("memory.current", "2000\n");
  EXPECT_EQ(cgroup_memory_left(folder_), 0);
}

}  // namespace
}  // namespace sft
