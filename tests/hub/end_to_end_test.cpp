// The program against a hub on loopback: trains a model of the hub on a data set of the hub, and
// puts the result back.
#include "cli/run_sft.h"
#include "core/json.h"
#include "hub/support.h"
#include "support/paths.h"

namespace sft {
namespace {

using namespace sft::testing;

class HubEndToEnd : public ::testing::Test {
 protected:
  HubEndToEnd() {
    const fs::path repository = fs::path(SFT_TEST_DIR).parent_path();
    hub.add_folder("models/org/tiny", repository / "examples/tiny-model", 10'000);
    hub.add_folder("datasets/org/stories", repository / "examples/data/ostrafell");
  }
  RunResult run(const std::string& arguments, const std::string& more = "") {
    return run_sft(
        "--model_name_or_path org/tiny --dataset_name org/stories --max_steps 2 "
        "--per_device_train_batch_size 2 --max_length 64 --logging_steps 1 "
        "--output_dir '" +
            (folder / "out").string() + "' " + arguments,
        "no_proxy='*' HF_HUB_OFFLINE=0 HF_ENDPOINT=" + hub.server->url() + " HF_HOME='" +
            (folder / "home").string() + "' " + more);
  }

  FakeHub hub;
  TemporaryFolder folder;
};

TEST_F(HubEndToEnd, TrainsWhatTheHubHas) {
  const RunResult first = run("--save_strategy no");
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_TRUE(fs::exists(folder / "out/model.safetensors"));
  EXPECT_NE(first.err.find("org/tiny"), std::string::npos);
  hub.server->forget();
  const RunResult again = run("--save_strategy no");
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.out.substr(0, again.out.find("runtime")),
            first.out.substr(0, first.out.find("runtime")));
  EXPECT_EQ(hub.server->requests().size(), 2u);  // one for the model, one for the data set
  const RunResult offline = run("--save_strategy no", "HF_HUB_OFFLINE=1");
  EXPECT_EQ(offline.code, 0) << offline.err;
  EXPECT_EQ(hub.server->requests().size(), 2u);
}

TEST_F(HubEndToEnd, PushesTheModelAndKeepsTheToken) {
  const RunResult pushed =
      run("--push_to_hub --hub_model_id result --hub_private_repo --save_strategy steps "
          "--save_steps 1 --hub_strategy checkpoint --hub_always_push --hub_token " +
          hub.token);
  ASSERT_EQ(pushed.code, 0) << pushed.err;
  const FakeFiles& files = hub.files("models/me/result");
  EXPECT_TRUE(hub.repository("models/me/result").is_private);
  for (const char* name : {"config.json", "model.safetensors", "README.md", "tokenizer.json",
                           "last-checkpoint/optimizer.safetensors"}) {
    EXPECT_TRUE(files.contains(name)) << name;
  }
  EXPECT_FALSE(files.contains("optimizer.safetensors"));
  EXPECT_EQ(files.at("model.safetensors").contents, read_text(folder / "out/model.safetensors"));
  for (const auto& [name, file] : files) {
    EXPECT_EQ(file.contents.find(hub.token), std::string::npos) << name;
  }
  EXPECT_EQ((pushed.out + pushed.err).find(hub.token), std::string::npos);
  for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
    if (entry.is_regular_file()) {
      EXPECT_EQ(read_text(entry.path()).find(hub.token), std::string::npos) << entry.path();
    }
  }
  for (const char* format : {"", "--json"}) {
    const RunResult config =
        run_sft("config --push_to_hub --hub_token " + hub.token + " " + format);
    EXPECT_EQ((config.out + config.err).find(hub.token), std::string::npos);
  }
}

TEST_F(HubEndToEnd, RefusalsComeBeforeTheTraining) {
  hub.repository("models/org/tiny").gated = true;
  const RunResult gated = run("");
  EXPECT_EQ(gated.code, 4);
  EXPECT_NE(gated.err.find("M301"), std::string::npos) << gated.err;
  hub.repository("models/org/tiny").gated = false;
  const RunResult no_token = run("--push_to_hub");
  EXPECT_EQ(no_token.code, 2);
  EXPECT_NE(no_token.err.find("C114"), std::string::npos) << no_token.err;
  const RunResult revision = run("--model_revision v9");
  EXPECT_NE(revision.err.find("M303"), std::string::npos) << revision.err;
  EXPECT_EQ(revision.out, "");
}

TEST_F(HubEndToEnd, AFailedPushLeavesTheModel) {
  hub.intercept = [](const Request& request) -> std::optional<Reply> {
    return request.target.find("/commit/") != std::string::npos
               ? std::optional(refusal(403, "", "read-only"))
               : std::nullopt;
  };
  const RunResult pushed = run("--push_to_hub --hub_strategy end", "HF_TOKEN=" + hub.token);
  EXPECT_EQ(pushed.code, 4);
  EXPECT_NE(pushed.err.find("not pushed"), std::string::npos) << pushed.err;
  EXPECT_TRUE(fs::exists(folder / "out/model.safetensors"));
}

}  // namespace
}  // namespace sft
