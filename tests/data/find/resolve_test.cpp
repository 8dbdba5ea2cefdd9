#include "data/find/resolve.h"

#include <sys/stat.h>

#include <algorithm>

#include "data/find/glob.h"
#include "data/read/reader.h"
#include "data/support.h"

namespace sft {
namespace {

namespace fs = std::filesystem;
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

TEST(Glob, LinksThatLeadBackAreNotWalkedInto) {
  const TemporaryFolder folder;
  folder.write("data/train.jsonl", "{}");
  folder.write("elsewhere/test.jsonl", "{}");
  for (const char* name : {"a", "b", "c", "d"}) {
    fs::create_directory_symlink(folder.path(), folder / "data" / name);
    fs::create_directory_symlink(folder / "data", folder / "data" / (std::string(name) + "2"));
  }
  fs::create_directory_symlink(folder / "elsewhere", folder / "data" / "there");
  const Names found = list_files(folder / "data");
  EXPECT_EQ(found, (Names{"there/test.jsonl", "train.jsonl"}));
}

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
  EXPECT_TRUE(glob_matches("**/val/**", "x/val/y"));
  EXPECT_FALSE(glob_matches("**/val/**", "eval/y"));  // "**/" is whole parts, or none
  EXPECT_TRUE(glob_matches("a[", "a["));
  // Neither time nor memory explodes on a hostile pattern.
  EXPECT_FALSE(glob_matches("**a**a**a**a**a**a**a**a**a**ab", std::string(200, 'a')));
}

TEST_F(Resolve, TakesAFile) {
  const auto path = folder.write("x.jsonl", "{}");
  const DatasetSource source{path.string(), {}, "", {}};
  EXPECT_EQ(resolve_dataset(source, "train", {}).files, std::vector<fs::path>{path});
  EXPECT_EQ(error_of([&] { resolve_dataset(source, "test", {}); }).code().text(), "D008");
  const DatasetSource with_config{path.string(), "en", "", {}};
  EXPECT_EQ(error_of([&] { resolve_dataset(with_config, "train", {}); }).code().text(), "D006");
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
  EXPECT_EQ(e.code().text(), "D008");
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
  EXPECT_EQ(error("train").code().text(), "D006");
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
  EXPECT_EQ(error("train").code().text(), "D005");
  EXPECT_EQ(error("train").where(), (folder / "README.md").string() + ":4");
  folder.write("README.md", "---\na: [1\nconfigs: x\n---\n");
  EXPECT_EQ(error("train").code().text(), "D005");
  folder.write("README.md", "---\nconfigs: 7\n---\n");
  EXPECT_EQ(error("train").code().text(), "D005");
  folder.write("README.md", "---\nconfigs:\n- config_name: x\n  data_files: none*.jsonl\n---\n");
  EXPECT_EQ(error("train").code().text(), "D007");
}

TEST_F(Resolve, TakesASubfolderForAConfigThatIsNotDeclared) {
  files({"0625/a.jsonl", "Gen/g.jsonl"});
  EXPECT_EQ(names("train", "0625"), Names{"0625/a.jsonl"});
  EXPECT_EQ(error("train", "0626").code().text(), "D006");
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
  EXPECT_EQ(e.code().text(), "D004");
  EXPECT_NE(e.where().find("datasets--BAAI--Other"), std::string::npos);
}

TEST_F(Resolve, RefusesWhatIsNotThere) {
  EXPECT_EQ(
      error_of([] { resolve_dataset({"./no/such/place", {}, "", {}}, "train", {}); }).code().text(),
      "D001");
  EXPECT_EQ(error_of([] { resolve_dataset({std::string(5000, 'x'), {}, "", {}}, "train", {}); })
                .code()
                .letter(),
            'D');
  EXPECT_EQ(error("train").code().text(), "D007");
  files({"image.png"});
  EXPECT_EQ(error("train").code().text(), "D007");
}

TEST_F(Resolve, TakesSumsOfSplits) {
  files({"train.jsonl", "test.jsonl", "dev.jsonl"});
  const DatasetSource source{folder.path().string(), {}, "", {}};
  const auto parts = resolve_splits(source, "train[:10%] + test[-5:]", {});
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(parts[0].split, "train");
  EXPECT_EQ(parts[0].slice, "[:10%]");
  EXPECT_EQ(parts[1].files, std::vector<fs::path>{folder / "test.jsonl"});
  EXPECT_EQ(parts[1].slice, "[-5:]");
  EXPECT_EQ(resolve_splits(source, "all", {}).size(), 3U);
  EXPECT_EQ(error("train+other").code().text(), "D008");
  EXPECT_EQ(error("train+test").code().text(), "D009");
  EXPECT_EQ(error("train+").code().text(), "D009");
}

TEST_F(Resolve, TakesWhatSaveToDiskLeft) {
  folder.write("one/state.json",
               R"({"_data_files": [{"filename": "data-00000-of-00002.arrow"},
                                    {"filename": "data-00001-of-00002.arrow"}]})");
  folder.write("two/dataset_dict.json", R"({"splits": ["train", "test"]})");
  for (const char* split : {"train", "test"}) {
    folder.write(std::string("two/") + split + "/state.json",
                 R"({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})");
  }
  const auto of = [&](const char* name, const char* split) {
    return resolve_dataset({(folder / name).string(), {}, "", {}}, split, {}).files;
  };
  EXPECT_EQ(of("one", "train"), (std::vector<fs::path>{folder / "one/data-00000-of-00002.arrow",
                                                       folder / "one/data-00001-of-00002.arrow"}));
  EXPECT_EQ(of("two", "test"),
            std::vector<fs::path>{folder / "two/test/data-00000-of-00001.arrow"});
  EXPECT_EQ(error_of([&] { of("two", "dev"); }).code().text(), "D008");
  folder.write("one/state.json", R"(["nothing"])");
  EXPECT_EQ(error_of([&] { of("one", "train"); }).code().text(), "D005");
}

TEST_F(Resolve, ReadsAFileThatFitsTwoPatternsOnce) {
  files({"test-eval.jsonl", "x/y.jsonl"});
  EXPECT_EQ(names("test"), Names{"test-eval.jsonl"});
}

TEST_F(Resolve, CountsFormatsBehindCompressions) {
  files({"a.jsonl.gz", "b.json.zst", "c.csv", "d.jsonl.xz"});
  EXPECT_EQ(names("train"), (Names{"a.jsonl.gz", "b.json.zst", "d.jsonl.xz"}));
  files({"e.zip"});
  EXPECT_EQ(error("train").code().text(), "D002");
}

TEST_F(Resolve, LooksForDataFilesElsewhere) {
  files({"home/x.jsonl", "away/deep/a1.jsonl", "away/deep/a2.jsonl"});
  const auto of = [&](const std::string& pattern) {
    const DatasetSource source{(folder / "home").string(), {}, "", pattern};
    return resolve_dataset(source, "train", {}).files.size();
  };
  EXPECT_EQ(of((folder / "away/deep/a1.jsonl").string()), 1U);
  EXPECT_EQ(of((folder / "away").string() + "/**/a?.jsonl"), 2U);
  EXPECT_EQ(of("../away/*/a1.jsonl"), 1U);
  EXPECT_EQ(error_of([&] { of("https://x.org/a.jsonl"); }).code().text(), "D005");
}

// Every place where a file of somebody else gives the name of another, with a name that leaves.
TEST_F(Resolve, NoNameInACardOrAStateFileLeavesItsFolder) {
  files({"secret/s.jsonl", "secret/data.arrow", "home/sub/a.jsonl"});
  fs::create_directory_symlink("../secret", folder / "home/out");
  const std::string secret = (folder / "secret").string();
  const auto try_all = [&] {
    Names codes;
    const auto attempt = [&] {
      try {
        const DatasetSource source{(folder / "home").string(), {}, "", {}};
        const auto found = resolve_splits(source, "all", {});
        codes.emplace_back(found.empty() ? "empty" : "");
      } catch (const Error& e) {
        codes.emplace_back(e.code().text());
        if (e.code() == "D080") {
          EXPECT_NE(e.message().find('"'), std::string::npos);
          EXPECT_TRUE(e.where().starts_with((folder / "home").string())) << e.where();
        }
      }
    };
    for (const std::string& name :
         {secret + "/s.jsonl", std::string("../secret/s.jsonl"), std::string("out/s.jsonl"),
          secret + "/*.jsonl", std::string("../*/s.jsonl"), std::string("sub/../../secret/*"),
          std::string("out/*")}) {
      for (const char* card : {"README.md", ".huggingface.yaml"}) {
        const std::string yaml =
            "configs:\n- config_name: default\n  data_files:\n"
            "  - split: train\n    path: \"" +
            name + "\"\n";
        folder.write(std::string("home/") + card,
                     std::string_view(card) == "README.md" ? "---\n" + yaml + "---\n" : yaml);
        attempt();
        fs::remove(folder / (std::string("home/") + card));
      }
    }
    for (const std::string& dir : {secret, std::string("../secret"), std::string("out")}) {
      folder.write("home/README.md",
                   "---\nconfigs:\n- config_name: default\n  data_dir: " + dir + "\n---\n");
      attempt();
      fs::remove(folder / "home/README.md");
    }
    for (const std::string& name : {secret + "/data.arrow", std::string("../secret/data.arrow"),
                                    std::string("out/data.arrow")}) {
      folder.write("home/state.json", Json{{"_data_files", {{{"filename", name}}}}}.dump());
      attempt();
      fs::remove(folder / "home/state.json");
    }
    for (const std::string& split : {secret, std::string("../secret"), std::string("out")}) {
      folder.write("secret/state.json", R"({"_data_files": [{"filename": "data.arrow"}]})");
      folder.write("home/sub/state.json", R"({"_data_files": [{"filename": "data.arrow"}]})");
      folder.write("home/dataset_dict.json", Json{{"splits", {split}}}.dump());
      attempt();
      fs::remove(folder / "home/dataset_dict.json");
    }
    return codes;
  };
  const Names refused = try_all();
  EXPECT_EQ(refused.size(), 23U);
  for (const std::string& code : refused) {
    EXPECT_EQ(code, "D080");
  }
}

std::string card_of(const std::string& entry) {
  return "---\nconfigs:\n- config_name: default\n  " + entry + "\n---\n";
}

TEST_F(Resolve, ATrustedCardNamesWhatItLikesAndNothingElseDoes) {
  files({"elsewhere/a.jsonl", "elsewhere/data.arrow", "home/x.jsonl"});
  fs::create_directory_symlink("../elsewhere", folder / "home/out");
  const auto found = [&](const fs::path& home, bool trusted) {
    const DatasetSource source{home.string(), {}, "", {}, trusted};
    return resolve_dataset(source, "train", {}).files.size();
  };
  const auto code = [&](const fs::path& home, bool trusted) {
    return std::string(error_of([&] { found(home, trusted); }).code().text());
  };
  const std::string elsewhere = (folder / "elsewhere").string();
  for (const std::string& entry :
       {"data_files: " + elsewhere + "/a.jsonl", "data_files: " + elsewhere + "/*.jsonl",
        std::string("data_files: ../elsewhere/a.jsonl"), std::string("data_files: out/a.jsonl"),
        "data_dir: " + elsewhere, std::string("data_dir: out")}) {
    folder.write("home/README.md", card_of(entry));
    EXPECT_EQ(code(folder / "home", false), "D080") << entry;
    EXPECT_GE(found(folder / "home", true), 1U) << entry;
    // The same in a hub's cache, named as a folder.
    const std::string snapshot = "models/hub/datasets--a--b/snapshots/0123";
    fs::create_directories(folder / "models/hub/datasets--a--b/blobs");
    folder.write(snapshot + "/README.md", card_of(entry));
    if (!fs::exists(folder / snapshot / "out")) {
      fs::create_directory_symlink(folder / "elsewhere", folder / snapshot / "out");
    }
    EXPECT_EQ(code(folder / snapshot, true), "D080") << entry;
  }
  folder.write("home/README.md", card_of("data_files: /proc/self/environ"));
  EXPECT_THROW(found(folder / "home", true), Error);
  fs::remove(folder / "home/README.md");
  folder.write("home/state.json", R"({"_data_files": [{"filename": "../elsewhere/data.arrow"}]})");
  EXPECT_EQ(code(folder / "home", true), "D080");
}

TEST_F(Resolve, WhatLiesInAFolderThatACardNamesDoesNotLeadOutEither) {
  files({"secret/s.jsonl", "home/data/a.jsonl"});
  fs::create_symlink("../../secret/s.jsonl", folder / "home/data/b.jsonl");
  for (const char* entry : {"data_dir: data", "default: true"}) {
    folder.write("home/README.md", card_of(entry));
    const DatasetSource source{(folder / "home").string(), {}, "", {}};
    EXPECT_EQ(error_of([&] { resolve_dataset(source, "train", {}); }).code().text(), "D080")
        << entry;
  }
}

TEST_F(Resolve, WhatTheUsersOwnFolderLinksToIsHisAndWhatACachedOneLinksToIsNot) {
  files({"elsewhere/a.jsonl", "elsewhere/more/b.jsonl"});
  const auto link_all = [&](const std::string& home) {
    fs::create_directories(folder / home);
    fs::create_symlink(folder / "elsewhere/a.jsonl", folder / home / "train.jsonl");
    fs::create_directory_symlink(folder / "elsewhere/more", folder / home / "train");
  };
  const std::string cached = "hub/datasets--a--b/snapshots/0123";
  fs::create_directories(folder / "hub/datasets--a--b/blobs");
  link_all("home");
  link_all(cached);
  const auto found = [&](const DatasetSource& source) {
    return resolve_dataset(source, "train", {}).files.size();
  };
  const auto code = [&](const DatasetSource& source) {
    return std::string(error_of([&] { found(source); }).code().text());
  };
  for (const std::string& home : {std::string("home"), cached}) {
    const std::string path = (folder / home).string();
    for (const DatasetSource& source :
         {DatasetSource{path, {}, "", {}}, DatasetSource{path, {}, "train", {}},
          DatasetSource{path, {}, "", "train.jsonl"}, DatasetSource{path, {}, "", "train/*.jsonl"},
          DatasetSource{path + "/train.jsonl", {}, "", {}}}) {
      if (home == "home") {
        EXPECT_EQ(found(source), 1U) << source.name << source.data_dir;
      } else {
        EXPECT_EQ(code(source), "D080") << source.name << source.data_dir << source.data_files;
      }
    }
    // A place that the user spells out is his choice, whatever folder stands beside it.
    EXPECT_EQ(found({path, {}, "", (folder / "elsewhere/a.jsonl").string()}), 1U);
  }
}

TEST_F(Resolve, LinksOfACachedSnapshotToItsBlobsAreItsOwnFiles) {
  files({"hub/datasets--a--b/blobs/ab"});
  fs::create_directories(folder / "hub/datasets--a--b/snapshots/0123");
  fs::create_symlink("../../blobs/ab", folder / "hub/datasets--a--b/snapshots/0123/train.jsonl");
  const std::string path = (folder / "hub/datasets--a--b/snapshots/0123").string();
  EXPECT_EQ(resolve_dataset({path, {}, "", {}}, "train", {}).files.size(), 1U);
  EXPECT_EQ(resolve_dataset({path + "/train.jsonl", {}, "", {}}, "train", {}).files.size(), 1U);
}

TEST_F(Resolve, ACardMayNameEverythingInItsFolder) {
  files({"a/x.jsonl", "a/y.jsonl"});
  fs::create_symlink("x.jsonl", folder / "a/z.jsonl");
  folder.write("README.md",
               "---\r\nconfigs:\r\n- config_name: default\r\n  data_files:\r\n  - split: train\r\n"
               "    path: a/?.jsonl\r\n---\r\n# card\r\n");
  EXPECT_EQ(names("train"), (Names{"a/x.jsonl", "a/y.jsonl", "a/x.jsonl"}));  // z, where it leads
}

TEST_F(Resolve, LinksThatLeadInCirclesEnd) {
  files({"a/train.jsonl"});
  for (const char* name : {"one", "two", "three"}) {
    fs::create_directory_symlink("..", folder / "a" / name);
    fs::create_directory_symlink(".", folder / name);
  }
  EXPECT_EQ(list_files(folder.path()), Names{"a/train.jsonl"});
}

TEST_F(Resolve, PipesAndTheSystemsFilesAreNotOpened) {
  const auto pipe = folder / "pipe.jsonl";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  fs::create_symlink("/proc/self/environ", folder / "environ.jsonl");
  for (const fs::path& path :
       {pipe, fs::path("/proc/self/environ"), folder / "environ.jsonl", fs::path("/dev/zero")}) {
    const DatasetSource source{path.string(), {}, "", {}};
    EXPECT_EQ(error_of([&] { resolve_dataset(source, "train", {}); }).code().text(), "D081")
        << path;
  }
  EXPECT_EQ(error_of([&] { open_reader(folder / "environ.jsonl"); }).code().text(), "D081");
}

TEST(Slice, KeepsThePartAsked) {
  const auto range = [](const std::string& slice, int64_t n = 200) {
    const RowRange r = slice_range(slice, n);
    return std::pair(r.begin, r.end);
  };
  const auto rows = [](int64_t begin, int64_t end) { return std::pair(begin, end); };
  EXPECT_EQ(range(""), rows(0, 200));
  EXPECT_EQ(range("[:100]"), rows(0, 100));
  EXPECT_EQ(range("[10%:20%]"), rows(20, 40));
  EXPECT_EQ(range("[10:20%]"), rows(20, 40));  // one sign counts for both ends
  EXPECT_EQ(range("[-50:]"), rows(150, 200));
  EXPECT_EQ(range("[-5%:]", 30), rows(28, 30));  // -1.5 rounds to the even -2
  EXPECT_EQ(range("[:50%]", 5), rows(0, 2));     // 2.5 rounds to the even 2
  EXPECT_EQ(range("[:1%]"), rows(0, 2));
  EXPECT_EQ(range("[:3%](pct1_dropremainder)", 250), rows(0, 6));
  EXPECT_EQ(range("[150:100]"), rows(150, 150));
  EXPECT_EQ(range("[:1_0]"), rows(0, 10));
  EXPECT_EQ(range("[:999]"), rows(0, 200));
  for (const char* wrong : {"[5]", "[a:b]", "[:1.5]", "[99999999999999999999:]", "[:101%]",
                            "[:5](closest)", "5:", "[:3%](pct1)"}) {
    EXPECT_EQ(error_of([&] { slice_range(wrong, 200); }).code().text(), "D009") << wrong;
  }
}

}  // namespace
}  // namespace sft
