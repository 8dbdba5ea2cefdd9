#include "hub/cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <map>

#include "core/file.h"

namespace sft {
namespace {

HubEnvironment environment_of(const std::map<std::string, std::string>& variables) {
  return HubEnvironment::read([&](const char* name) -> const char* {
    const auto it = variables.find(name);
    return it == variables.end() ? nullptr : it->second.c_str();
  });
}

TEST(HubCache, TheFirstVariableThatIsSetDecides) {
  std::map<std::string, std::string> v{{"HOME", "/home/me"}};
  EXPECT_EQ(environment_of(v).hub_folder(), "/home/me/.cache/huggingface/hub");
  v["XDG_CACHE_HOME"] = "/xdg";
  EXPECT_EQ(environment_of(v).hub_folder(), "/xdg/huggingface/hub");
  v["HF_HOME"] = "~/hf";
  EXPECT_EQ(environment_of(v).hub_folder(), "/home/me/hf/hub");
  v["HUGGINGFACE_HUB_CACHE"] = "/old";
  EXPECT_EQ(environment_of(v).hub_folder(), "/old");
  v["HF_HUB_CACHE"] = "/cache";
  EXPECT_EQ(environment_of(v).hub_folder(), "/cache");
  EXPECT_TRUE(environment_of({}).hub_folder().empty());
}

TEST(HubCache, KnowsAnIdFromAPath) {
  for (const char* id : {"gpt2", "Qwen/Qwen2.5-0.5B", "BAAI/Infinity-Instruct", "a_b/c.d"}) {
    EXPECT_TRUE(is_hub_id(id)) << id;
  }
  for (const char* path :
       {"", "/", "a/", "/a", "a/b/c", "../a", "a/..", ".", "a b", "a\\b", "~/a"}) {
    EXPECT_FALSE(is_hub_id(path)) << path;
  }
}

class HubCacheFolder : public ::testing::Test {
 protected:
  HubCacheFolder() {
    hub_ = fs::temp_directory_path() / ("sft_hub_test_" + std::to_string(::getpid()));
    environment_.hf_hub_cache = hub_.string();
  }
  ~HubCacheFolder() override { fs::remove_all(hub_); }
  void add(const std::string& folder, const std::string& ref, const std::string& commit) const {
    fs::create_directories(hub_ / folder / "snapshots" / commit);
    fs::create_directories((hub_ / folder / "refs" / ref).parent_path());
    std::ofstream(hub_ / folder / "refs" / ref) << commit << "\n";
  }
  fs::path hub_;
  HubEnvironment environment_;
};

TEST_F(HubCacheFolder, FollowsRefsToSnapshots) {
  add("models--acme--tiny", "main", "aaa");
  add("models--acme--tiny", "refs/pr/1", "bbb");
  add("datasets--acme--talk", "main", "ccc");
  const auto model = find_in_hub_cache(HubKind::model, "acme/tiny", "", environment_);
  EXPECT_EQ(model.folder, hub_ / "models--acme--tiny/snapshots/aaa");
  EXPECT_EQ(model.commit, "aaa");
  EXPECT_EQ(find_in_hub_cache(HubKind::model, "acme/tiny", "refs/pr/1", environment_).commit,
            "bbb");
  EXPECT_EQ(find_in_hub_cache(HubKind::model, "acme/tiny", "bbb", environment_).commit, "bbb");
  EXPECT_EQ(find_in_hub_cache(HubKind::dataset, "acme/talk", "main", environment_).commit, "ccc");
}

TEST_F(HubCacheFolder, WhatIsNotThereSaysWhereItLooked) {
  add("models--acme--tiny", "main", "aaa");
  fs::remove_all(hub_ / "models--acme--tiny/snapshots/aaa");
  const auto gone = find_in_hub_cache(HubKind::model, "acme/tiny", "", environment_);
  EXPECT_FALSE(gone.folder.has_value());
  EXPECT_EQ(gone.looked_at.size(), 2U);
  EXPECT_FALSE(find_in_hub_cache(HubKind::model, "acme/none", "v1", environment_).folder);
}

TEST_F(HubCacheFolder, NeverLeavesTheCache) {
  add("models--acme--tiny", "main", "../../..");
  EXPECT_FALSE(find_in_hub_cache(HubKind::model, "acme/tiny", "main", environment_).folder);
  EXPECT_FALSE(find_in_hub_cache(HubKind::model, "acme/tiny", "../main", environment_).folder);
  EXPECT_FALSE(find_in_hub_cache(HubKind::model, "../tiny", "main", environment_).folder);
}

}  // namespace
}  // namespace sft
