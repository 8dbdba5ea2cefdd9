#include "core/contained.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace sft {
namespace {

class Contained : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "sft_contained_XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    fs::create_directories(home() / "sub");
    fs::create_directories(root_ / "secret");
    std::ofstream(home() / "a.jsonl") << "{}";
    std::ofstream(root_ / "secret" / "s.jsonl") << "{}";
  }
  void TearDown() override { fs::remove_all(root_); }
  fs::path home() const { return root_ / "home"; }
  std::string why(const std::string& name) const { return why_outside(home(), name); }

  fs::path root_;
};

TEST_F(Contained, NamesBelowTheFolderStayInside) {
  fs::create_symlink("../a.jsonl", home() / "sub" / "link.jsonl");
  for (const char* name :
       {"", "a.jsonl", "./a.jsonl", "sub", "sub/link.jsonl", "not/there", "..a", "a..", "~/a"}) {
    EXPECT_EQ(why(name), "") << name;
  }
}

TEST_F(Contained, NoNameLeavesTheFolder) {
  fs::create_symlink("../secret", home() / "out");
  fs::create_symlink(root_ / "secret" / "s.jsonl", home() / "s.jsonl");
  fs::create_symlink("out/s.jsonl", home() / "twice.jsonl");
  fs::create_symlink("loop", home() / "loop");
  const std::string zero("a\0b", 3);
  for (const std::string& name :
       {std::string("/etc/passwd"), std::string(".."), std::string("../secret/s.jsonl"),
        std::string("sub/../../secret/s.jsonl"), std::string("sub/.."), std::string("out/s.jsonl"),
        std::string("s.jsonl"), std::string("twice.jsonl"), std::string("loop"), zero}) {
    EXPECT_NE(why(name), "") << name;
  }
}

TEST_F(Contained, ASnapshotReachesTheFilesOfItsRepository) {
  const fs::path snapshot = root_ / "datasets--a--b" / "snapshots" / "abc";
  fs::create_directories(snapshot / "data");
  fs::create_directories(root_ / "datasets--a--b" / "blobs");
  std::ofstream(root_ / "datasets--a--b" / "blobs" / "f00") << "{}";
  fs::create_symlink("../../../blobs/f00", snapshot / "data" / "train.jsonl");
  fs::create_symlink("../../../../secret/s.jsonl", snapshot / "data" / "s.jsonl");
  EXPECT_EQ(why_outside(snapshot, "data/train.jsonl"), "");
  EXPECT_EQ(why_outside(snapshot / "data", "train.jsonl"), "");
  EXPECT_NE(why_outside(snapshot, "data/s.jsonl"), "");
}

TEST_F(Contained, WhatLiesInAHubsCacheIsKnown) {
  EXPECT_FALSE(is_in_hub_cache(root_));
  EXPECT_FALSE(is_in_hub_cache(""));
  fs::create_directories(root_ / "models--a--b/blobs");
  fs::create_directories(root_ / "models--a--b/snapshots/0123/sub");
  std::ofstream(root_ / "models--a--b/blobs/ab") << "x";
  fs::create_symlink("../../blobs/ab", root_ / "models--a--b/snapshots/0123/recipe.yaml");
  fs::create_directory_symlink(root_ / "models--a--b/snapshots/0123", root_ / "link");
  for (const char* inside :
       {"models--a--b/snapshots/0123", "models--a--b/snapshots/0123/sub",
        "models--a--b/snapshots/0123/recipe.yaml", "link", "link/recipe.yaml"}) {
    EXPECT_TRUE(is_in_hub_cache(root_ / inside)) << inside;
  }
  EXPECT_FALSE(is_in_hub_cache(root_ / "models--a--b/blobs"));
}

TEST_F(Contained, PipesDevicesAndTheSystemsFilesAreNoData) {
  const fs::path pipe = root_ / "pipe.jsonl";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  fs::create_symlink("/proc/self/environ", root_ / "environ.jsonl");
  for (const fs::path& path : {pipe, fs::path("/dev/zero"), fs::path("/proc/self/environ"),
                               fs::path("/proc"), root_ / "environ.jsonl"}) {
    EXPECT_NE(why_no_data(path), "") << path;
  }
  for (const fs::path& path : {home(), home() / "a.jsonl", root_ / "nothing"}) {
    EXPECT_EQ(why_no_data(path), "") << path;
  }
}

}  // namespace
}  // namespace sft
