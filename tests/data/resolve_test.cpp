#include "data/resolve.h"

#include <algorithm>

#include "data/glob.h"
#include "data/support.h"

namespace sft {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::TemporaryFolder;
using Names = std::vector<std::string>;

class Resolve : public testing::Test {
 protected:
  Names names(const std::string& split, const std::optional<std::string>& config = {},
              const std::string& data_dir = "") const {
    const DatasetSource source{folder.path().string(), config, data_dir, {}};
    Names out;
    for (const fs::path& file : resolve_dataset(source, split, {}).files) {
      out.push_back(fs::relative(file, folder.path()).string());
    }
    return out;
  }
  Error error(const std::string& split, const std::optional<std::string>& config = {}) const {
    return error_of([&] { names(split, config); });
  }
  void files(const Names& list) const {
    for (const std::string& file : list) {
      folder.write(file, "{}");
    }
  }
  TemporaryFolder folder;
};

TEST(Glob, MatchesAsFsspec) {
  EXPECT_TRUE(glob_matches("*.jsonl", "a.jsonl"));
  EXPECT_FALSE(glob_matches("*.jsonl", "x/a.jsonl"));
  EXPECT_TRUE(glob_matches("**/*.jsonl", "a.jsonl"));
  EXPECT_TRUE(glob_matches("**/*.jsonl", "x/y/a.jsonl"));
  EXPECT_TRUE(glob_matches("0625/*", "0625/train.parquet"));
  EXPECT_TRUE(glob_matches("data/train-0000?-of-*", "data/train-00000-of-00002.parquet"));
  EXPECT_TRUE(glob_matches("[a-c]x[!0-9]", "bxy"));
  EXPECT_FALSE(glob_matches("[a-c]x[!0-9]", "bx1"));
  EXPECT_TRUE(glob_matches("x/**", "x/y/z"));
  EXPECT_TRUE(glob_matches("a[", "a["));
  // Neither time nor memory explodes on a hostile pattern.
  EXPECT_FALSE(glob_matches("**a**a**a**a**a**a**a**a**a**ab", std::string(200, 'a')));
}

TEST_F(Resolve, TakesAFile) {
  const auto path = folder.write("x.jsonl", "{}");
  const DatasetSource source{path.string(), {}, "", {}};
  EXPECT_EQ(resolve_dataset(source, "train", {}).files, std::vector<fs::path>{path});
  EXPECT_EQ(error_of([&] { resolve_dataset(source, "test", {}); }).code(), "D008");
  const DatasetSource with_config{path.string(), "en", "", {}};
  EXPECT_EQ(error_of([&] { resolve_dataset(with_config, "train", {}); }).code(), "D006");
}

TEST_F(Resolve, FindsSplitsByShardName) {
  files({"data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl",
         "data/odd_split-00000-of-00001.jsonl", "train.jsonl"});
  EXPECT_EQ(names("train"),
            (Names{"data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl"}));
  EXPECT_EQ(names("odd_split"), Names{"data/odd_split-00000-of-00001.jsonl"});
}

TEST_F(Resolve, FindsSplitsByFolder) {
  files({"train/a.jsonl", "train/b.jsonl", "my-eval-set/c.jsonl", "test.jsonl"});
  EXPECT_EQ(names("train"), (Names{"train/a.jsonl", "train/b.jsonl"}));
  EXPECT_EQ(names("test"), Names{"my-eval-set/c.jsonl"});
}

TEST_F(Resolve, FindsSplitsByFileName) {
  files({"my-train-file.jsonl", "x_dev.jsonl", "test2.jsonl", "trainer.jsonl", "README.md"});
  EXPECT_EQ(names("train"), Names{"my-train-file.jsonl"});
  EXPECT_EQ(names("validation"), Names{"x_dev.jsonl"});
  EXPECT_EQ(names("test"), Names{"test2.jsonl"});
}

TEST_F(Resolve, TakesEverythingAsTrainOtherwise) {
  files({"b.jsonl", "a/x.jsonl", ".hidden.jsonl", "__cache/y.jsonl", "dataset_info.json", "c.csv"});
  EXPECT_EQ(names("train"), (Names{"a/x.jsonl", "b.jsonl"}));
  const Error e = error("test");
  EXPECT_EQ(e.code(), "D008");
  EXPECT_NE(e.message().find("it has: train"), std::string::npos);
}

TEST_F(Resolve, TakesTheMostFrequentFormat) {
  files({"1.csv", "2.csv", "1.jsonl", "2.json", "3.ndjson"});
  EXPECT_EQ(names("train"), (Names{"1.csv", "2.csv"}));
}

TEST_F(Resolve, ReadsConfigs) {
  files({"0625/a.jsonl", "0625/b.jsonl", "Gen/g.jsonl", "val/v.jsonl"});
  folder.write("README.md", R"(---
license: apache-2.0
configs:
- config_name: '0625'
  data_files:
  - split: train
    path: 0625/*
  - split: validation
    path: [val/*]
- config_name: Gen
  data_files: Gen/*.jsonl
---
# Title
)");
  EXPECT_EQ(names("train", "0625"), (Names{"0625/a.jsonl", "0625/b.jsonl"}));
  EXPECT_EQ(names("validation", "0625"), Names{"val/v.jsonl"});
  EXPECT_EQ(names("train", "Gen"), Names{"Gen/g.jsonl"});
  EXPECT_EQ(error("train").code(), "D006");
  EXPECT_NE(error("train").hint().find("0625, Gen"), std::string::npos);
  EXPECT_NE(error("train", "0652").message().find("did you mean \"0625\""), std::string::npos);
}

TEST_F(Resolve, TakesTheDefaultConfig) {
  files({"a/train.jsonl", "b/train.jsonl"});
  folder.write("README.md",
               "---\nconfigs:\n- config_name: x\n  data_dir: a\n- config_name: y\n  data_dir: b\n"
               "  default: true\n---\n");
  EXPECT_EQ(names("train"), Names{"b/train.jsonl"});
  EXPECT_EQ(names("train", "x"), Names{"a/train.jsonl"});
  EXPECT_EQ(names("train", {}, "a"), Names{"a/train.jsonl"});
}

TEST_F(Resolve, NamesTheLineOfABrokenCard) {
  files({"a.jsonl"});
  folder.write("README.md", "---\na: 1\nconfigs:\n- name: x\n---\n");
  EXPECT_EQ(error("train").code(), "D005");
  EXPECT_EQ(error("train").where(), (folder / "README.md").string() + ":4");
  folder.write("README.md", "---\na: [1\nconfigs: x\n---\n");
  EXPECT_EQ(error("train").code(), "D005");
  folder.write("README.md", "---\nconfigs: 7\n---\n");
  EXPECT_EQ(error("train").code(), "D005");
  folder.write("README.md", "---\nconfigs:\n- config_name: x\n  data_files: none*.jsonl\n---\n");
  EXPECT_EQ(error("train").code(), "D007");
}

TEST_F(Resolve, TakesASubfolderForAConfigThatIsNotDeclared) {
  files({"0625/a.jsonl", "Gen/g.jsonl"});
  EXPECT_EQ(names("train", "0625"), Names{"0625/a.jsonl"});
  EXPECT_EQ(error("train", "0626").code(), "D006");
}

TEST_F(Resolve, ReadsDataFilesOfAMixture) {
  files({"x/a.jsonl", "x/b.jsonl", "c.jsonl"});
  const DatasetSource source{folder.path().string(),
                             {},
                             "x",
                             Json{{"train", "*.jsonl"}, {"test", Json::array({"b.jsonl"})}}};
  EXPECT_EQ(resolve_dataset(source, "train", {}).files.size(), 2U);
  EXPECT_EQ(resolve_dataset(source, "test", {}).files.size(), 1U);
}

TEST_F(Resolve, FindsTheHubCache) {
  const std::string snapshot = "datasets--BAAI--Infinity-Instruct/snapshots/abc";
  folder.write("datasets--BAAI--Infinity-Instruct/refs/main", "abc");
  folder.write("datasets--BAAI--Infinity-Instruct/blobs/f00", "{\"text\": \"x\"}\n");
  fs::create_directories(folder / snapshot);
  fs::create_symlink("../../blobs/f00", folder / (snapshot + "/train.jsonl"));
  HubEnvironment hub;
  hub.hf_hub_cache = folder.path().string();
  for (const char* name : {"BAAI/Infinity-Instruct", "hf://datasets/BAAI/Infinity-Instruct"}) {
    const auto found = resolve_dataset({name, {}, "", {}}, "train", hub);
    ASSERT_EQ(found.files.size(), 1U);
    EXPECT_EQ(found.files[0].filename(), "train.jsonl");
  }
  const Error e = error_of([&] { resolve_dataset({"BAAI/Other", {}, "", {}}, "train", hub); });
  EXPECT_EQ(e.code(), "D004");
  EXPECT_NE(e.where().find("datasets--BAAI--Other"), std::string::npos);
}

TEST_F(Resolve, RefusesWhatIsNotThere) {
  EXPECT_EQ(error_of([] { resolve_dataset({"./no/such/place", {}, "", {}}, "train", {}); }).code(),
            "D001");
  EXPECT_EQ(error_of([] {
              resolve_dataset({std::string(5000, 'x'), {}, "", {}}, "train", {});
            }).code()[0],
            'D');
  EXPECT_EQ(error("train").code(), "D007");
  files({"image.png"});
  EXPECT_EQ(error("train").code(), "D007");
}

TEST(Slice, KeepsThePartAsked) {
  const auto range = [](const std::string& slice) {
    const RowRange r = slice_range(slice, 200);
    return std::pair(r.begin, r.end);
  };
  EXPECT_EQ(range(""), std::pair(int64_t{0}, int64_t{200}));
  EXPECT_EQ(range(":100"), std::pair(int64_t{0}, int64_t{100}));
  EXPECT_EQ(range("10%:20%"), std::pair(int64_t{20}, int64_t{40}));
  EXPECT_EQ(range("-50:"), std::pair(int64_t{150}, int64_t{200}));
  EXPECT_EQ(range(":1%"), std::pair(int64_t{0}, int64_t{2}));
  EXPECT_EQ(range("150:100"), std::pair(int64_t{150}, int64_t{150}));
  EXPECT_EQ(range(":999"), std::pair(int64_t{0}, int64_t{200}));
  for (const char* wrong : {"5", "a:b", ":1.5", "99999999999999999999:"}) {
    EXPECT_EQ(error_of([&] { slice_range(wrong, 200); }).code(), "D009") << wrong;
  }
}

}  // namespace
}  // namespace sft
