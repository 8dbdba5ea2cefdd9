#include "core/cgroup.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/file.h"
#include "core/file_writer.h"

namespace sft {
namespace {

// A made-up machine: what /proc says of a process, and the folders that it names.
class CgroupTest : public ::testing::Test {
 protected:
  CgroupTest() { fs::create_directories(folder_); }
  ~CgroupTest() override { fs::remove_all(folder_); }

  void put(const fs::path& file, const std::string& text) const {
    fs::create_directories((folder_ / file).parent_path());
    write_text(folder_ / file, text);
  }
  // `root`: which group is what is mounted.
  void mounted(const std::string& groups, bool version1, const std::string& controllers = "",
               const std::string& root = "/") {
    groups_ += groups;
    const std::string where = (folder_ / "fs" / controllers).string();
    mounts_ += "22 1 0:20 / /proc rw - proc proc rw\n";
    mounts_ += version1 ? fmt::format("36 25 0:33 {} {} rw,nosuid shared:1 - cgroup cgroup rw,{}\n",
                                      root, where, controllers)
                        : fmt::format("35 25 0:26 {} {} rw - cgroup2 cgroup2 rw\n", root, where);
    put("groups", groups_);
    put("mounts", mounts_);
  }
  CgroupFiles files() const { return {folder_ / "groups", folder_ / "mounts"}; }

  const fs::path folder_ =
      fs::path(::testing::TempDir()) / ("sft_cgroup_" + std::to_string(::getpid()));
  std::string groups_, mounts_;
};

TEST_F(CgroupTest, a_share_of_the_processors) {
  EXPECT_FALSE(cgroup_processors(files()));
  mounted("0::/\n", false);
  EXPECT_FALSE(cgroup_processors(files()));
  put("fs/cpu.max", "max 100000\n");
  EXPECT_FALSE(cgroup_processors(files()));
  put("fs/cpu.max", "250000 100000\n");
  EXPECT_EQ(cgroup_processors(files()), 2.5);
  put("fs/cpu.max", "25000 100000\n");
  EXPECT_EQ(cgroup_processors(files()), 0.25);
}

TEST_F(CgroupTest, memory_with_cached_files_as_free) {
  mounted("0::/\n", false);
  put("fs/memory.max", "max\n");
  put("fs/memory.current", "700\n");
  EXPECT_FALSE(cgroup_memory_left(files()));
  put("fs/memory.max", "1000\n");
  EXPECT_EQ(cgroup_memory_left(files()), 300);
  EXPECT_EQ(cgroup_memory_limit(files()), 1000);
  put("fs/memory.stat", "anon 200\nfile 500\ninactive_file 150\nactive_file 250\nshmem 100\n");
  EXPECT_EQ(cgroup_memory_left(files()), 700);
  put("fs/memory.current", "2000\n");
  EXPECT_EQ(cgroup_memory_left(files()), 0);
}

TEST_F(CgroupTest, the_tightest_of_nested_groups_counts) {
  mounted("0::/slice/pod/box\n", false);
  fs::create_directories(folder_ / "fs/slice/pod/box");
  put("fs/slice/pod/box/memory.max", "max\n");
  put("fs/slice/pod/box/memory.current", "10\n");
  EXPECT_FALSE(cgroup_memory_left(files()));
  put("fs/slice/memory.max", "5000\n");
  put("fs/slice/memory.current", "4000\n");
  EXPECT_EQ(cgroup_memory_left(files()), 1000);
  put("fs/slice/pod/memory.max", "900\n");
  put("fs/slice/pod/memory.current", "100\n");
  EXPECT_EQ(cgroup_memory_left(files()), 800);
  put("fs/slice/pod/box/cpu.max", "400000 100000\n");
  put("fs/slice/cpu.max", "50000 100000\n");
  EXPECT_EQ(cgroup_processors(files()), 0.5);
}

TEST_F(CgroupTest, version_1_has_a_tree_for_each_controller) {
  mounted("4:memory:/docker/abc\n", true, "memory");
  mounted("3:cpu,cpuacct:/docker/abc\n", true, "cpu,cpuacct");
  put("fs/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("fs/memory/memory.usage_in_bytes", "123456\n");
  put("fs/memory/docker/abc/memory.limit_in_bytes", "2000\n");
  put("fs/memory/docker/abc/memory.usage_in_bytes", "1500\n");
  put("fs/memory/docker/abc/memory.stat",
      "active_file 9\ntotal_active_file 300\ntotal_inactive_file 200\n");
  EXPECT_EQ(cgroup_memory_left(files()), 1000);
  EXPECT_EQ(cgroup_memory_limit(files()), 2000);
  EXPECT_FALSE(cgroup_processors(files()));
  put("fs/cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n");
  put("fs/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
  EXPECT_FALSE(cgroup_processors(files()));
  put("fs/cpu,cpuacct/docker/cpu.cfs_quota_us", "150000\n");
  EXPECT_EQ(cgroup_processors(files()), 1.5);
}

TEST_F(CgroupTest, a_container_sees_its_own_group_as_the_root) {
  mounted("4:memory:/docker/abc\n", true, "memory", "/docker/abc");
  put("fs/memory/memory.limit_in_bytes", "2000\n");
  put("fs/memory/memory.usage_in_bytes", "500\n");
  EXPECT_EQ(cgroup_memory_left(files()), 1500);
  // Or the path is that of the machine, and nothing of it is there.
  mounted("0::/../../kubepods/pod1/box\n", false, "unified");
  put("fs/unified/memory.max", "1000\n");
  put("fs/unified/memory.current", "500\n");
  EXPECT_EQ(cgroup_memory_left(files()), 500);
}

}  // namespace
}  // namespace sft
