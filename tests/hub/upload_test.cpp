#include "hub/upload.h"

#include <fstream>

#include "hub/support.h"

namespace sft {
namespace {

using namespace sft::testing;

class HubUploadTest : public ::testing::Test {
 protected:
  HubUploadTest() {
    without_proxies();
    write("config.json", "{}\n");
    write("model.safetensors", big);
    write("additional_chat_templates/tools.jinja", std::string("\0\xff text", 7));
    write("empty.txt", "");
    write("checkpoint-5/model.safetensors", "no");
    write("_private/x", "no");
    write(".hidden", "no");
    write("half.json.tmp", "no");
    environment = hub.environment(folder / "cache");
    environment.token_variable = hub.token;
  }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((folder / "out" / name).parent_path());
    std::ofstream(folder / "out" / name, std::ios::binary) << text;
  }
  std::optional<HubCommit> push(const std::string& branch = "main") const {
    const HubUploader uploader(environment, "");
    uploader.create("me/model", true);
    if (branch != "main") {
      uploader.create_branch("me/model", branch);
    }
    return uploader.commit("me/model", branch,
                           uploadable_files(folder / "out", [](const std::string&) {}),
                           "End of training");
  }

  FakeHub hub;
  TemporaryFolder folder;
  HubEnvironment environment;
  const std::string big = noise(1'000'000);
};

TEST_F(HubUploadTest, OneCommitHasAllFiles) {
  const auto commit = push();
  ASSERT_TRUE(commit);
  EXPECT_EQ(commit->files, 4);
  const FakeFiles& files = hub.files("models/me/model");
  EXPECT_EQ(files.size(), 5u);  // and .gitattributes
  EXPECT_EQ(files.at("model.safetensors").contents, big);
  EXPECT_TRUE(files.at("model.safetensors").lfs);
  EXPECT_EQ(files.at("additional_chat_templates/tools.jinja").contents,
            std::string("\0\xff text", 7));
  EXPECT_EQ(files.at("empty.txt").contents, "");
  EXPECT_TRUE(hub.repository("models/me/model").is_private);
  EXPECT_EQ(commit->commit, hub.newest("models/me/model"));
}

TEST_F(HubUploadTest, ALinkThatLeadsOutIsNotSentAndNamed) {
  std::ofstream(folder / "key.txt") << "secret";
  fs::create_symlink("../key.txt", folder / "out/notes.txt");
  fs::create_symlink(folder / "key.txt", folder / "out/more.txt");
  fs::create_directory_symlink("..", folder / "out/above");
  fs::create_symlink("config.json", folder / "out/same.json");
  std::vector<std::string> said;
  std::vector<std::string> names;
  for (const HubUploadFile& file :
       uploadable_files(folder / "out", [&](const std::string& line) { said.push_back(line); })) {
    names.push_back(file.name);
  }
  EXPECT_EQ(std::ranges::count(names, "same.json"), 1);
  EXPECT_EQ(std::ranges::count(names, "config.json"), 1);
  EXPECT_EQ(names.size(), 5u);
  ASSERT_EQ(said.size(), 3u);
  for (const char* name : {"notes.txt", "more.txt", "above"}) {
    EXPECT_TRUE(std::ranges::any_of(said, [&](const std::string& line) {
      return line.find(name) != std::string::npos;
    })) << name;
  }
}

TEST_F(HubUploadTest, WhatIsThereIsNotSentAgain) {
  push();
  hub.server->forget(), hub.storage->forget();
  EXPECT_FALSE(push());
  EXPECT_EQ(hub.server->count("/commit/"), 0);
  write("config.json", "{\"changed\": 1}\n");
  const auto commit = push();
  ASSERT_TRUE(commit);
  EXPECT_EQ(commit->files, 1);
  EXPECT_EQ(hub.storage->requests().size(), 0u);
  EXPECT_EQ(hub.files("models/me/model").at("config.json").contents, "{\"changed\": 1}\n");
  EXPECT_EQ(hub.files("models/me/model").at("model.safetensors").contents, big);
}

TEST_F(HubUploadTest, LargeFilesGoInPartsWhereTheStorageAsksForIt) {
  hub.part_size = 300'000;
  push();
  EXPECT_EQ(hub.storage->count("/upload/", "PUT"), 4);
  EXPECT_EQ(hub.files("models/me/model").at("model.safetensors").contents, big);
}

TEST_F(HubUploadTest, ABranchOfItsOwn) {
  push("v2/test");
  EXPECT_EQ(hub.files("models/me/model", "v2/test").size(), 5u);
  EXPECT_EQ(hub.files("models/me/model").size(), 1u);
  push("v2/test");
}

TEST_F(HubUploadTest, TheTokenStaysWithTheHub) {
  push();
  ASSERT_GT(hub.storage->requests().size(), 0u);
  for (const Request& request : hub.storage->requests()) {
    EXPECT_EQ(request.header("authorization"), "");
  }
  EXPECT_EQ(HubUploader(environment, "").user(), "me");
}

TEST_F(HubUploadTest, BrokenUploadsAreTriedAgain) {
  std::atomic<int> failures{0};
  hub.part_size = 300'000;
  hub.intercept = [&](const Request& request) -> std::optional<Reply> {
    const bool puts = request.method == "PUT" && failures < 3;
    const bool asks = request.target.find("/preupload/") != std::string::npos && failures == 0;
    const bool commits = request.target.find("/commit/") != std::string::npos && failures < 5;
    if (puts || asks || commits) {
      ++failures;
      return Reply{.status = 503};
    }
    return std::nullopt;
  };
  EXPECT_TRUE(push());
  EXPECT_EQ(failures, 5);
  EXPECT_EQ(hub.files("models/me/model").at("model.safetensors").contents, big);
}

TEST_F(HubUploadTest, EachRefusalHasItsOwnSentence) {
  HubEnvironment e = environment;
  e.token_variable = "hf_wrong";
  const Error wrong = error_of([&] { HubUploader(e, "").user(); });
  EXPECT_EQ(wrong.code().text(), "M302");
  EXPECT_EQ(wrong.text().find("hf_wrong"), std::string::npos);
  EXPECT_EQ(HubUploader(e, hub.token).user(), "me");
  e.token_variable = "";
  EXPECT_EQ(error_of([&] { HubUploader(e, ""); }).code().text(), "C114");
  e.offline = true;
  EXPECT_EQ(error_of([&] { HubUploader(e, "x"); }).code().text(), "C115");
  const HubUploader uploader(environment, "");
  EXPECT_EQ(error_of([&] { uploader.create("strangers/model", {}); }).code().text(), "M306");
}

TEST_F(HubUploadTest, AnswersThatCannotBeUsedAreRefused) {
  const auto with = [&](const std::string& what, const Reply& reply) {
    hub.intercept = [=](const Request& request) -> std::optional<Reply> {
      return request.target.find(what) != std::string::npos ? std::optional(reply) : std::nullopt;
    };
    return std::string(error_of([&] { push(); }).code().text());
  };
  EXPECT_EQ(with("/preupload/", {.body = "[]"}), "M311");
  EXPECT_EQ(with("/preupload/", {.body = R"({"files":[5]})"}), "M311");
  EXPECT_EQ(with("/preupload/", {.body = "no"}), "M308");
  EXPECT_EQ(with("/objects/batch", {.body = "{}"}), "M311");
  EXPECT_EQ(with("/objects/batch", {.body = R"({"objects":[{"oid":5}]})"}), "M311");
  const std::string oid = sha256_of(big);
  EXPECT_EQ(with("/objects/batch",
                 json_reply({{"objects",
                              {{{"oid", oid},
                                {"size", 1},
                                {"error", {{"code", 413}, {"message", "too large"}}}}}}})),
            "M312");
  EXPECT_EQ(with("/upload/", {.status = 400}), "M312");
  EXPECT_EQ(with("/verify/", {.status = 422}), "M308");
  EXPECT_EQ(with("/commit/", {.body = "{}"}), "M311");
  EXPECT_EQ(with("/commit/", {.status = 412}), "M308");
}

TEST(HubBase64, IsWhatTheStandardSays) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64("\xff\xfe\xfd"), "//79");
}

}  // namespace
}  // namespace sft
