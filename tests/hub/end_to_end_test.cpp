// The program against a hub on loopback: trains a model of the hub on a data set of the hub, and
// puts the result back.
#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>

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

// Model, GGUF file, card and report go up together; what the hub has got is not sent again.
TEST_F(HubEndToEnd, AFolderIsPushedAsOneCommitAndAPushThatBrokeOffGoesOn) {
  ASSERT_EQ(run("--save_strategy steps --save_steps 1").code, 0);
  const std::string out = (folder / "out").string();
  ASSERT_EQ(run_sft("export '" + out + "' --quant f16 -q").code, 0);
  const auto push = [&] {
    return run_sft("push '" + out + "' --hub_model_id mine --json -q",
                   "no_proxy='*' HF_HUB_OFFLINE=0 HF_TOKEN=" + hub.token + " HF_ENDPOINT=" +
                       hub.server->url() + " HF_HOME='" + (folder / "home").string() + "'");
  };
  hub.intercept = [](const Request& request) -> std::optional<Reply> {
    return request.path().find("/commit/") != std::string::npos
               ? std::optional(Reply{.status = 403, .body = "not now"})
               : std::nullopt;
  };
  EXPECT_NE(push().code, 0);
  hub.intercept = nullptr;
  const int sent = hub.storage->count("/upload/", "PUT");
  EXPECT_GT(sent, 0);
  const size_t before = hub.commits("models/me/mine");  // that made it
  const size_t files_before = hub.files("models/me/mine").size();
  const RunResult second = push();
  ASSERT_EQ(second.code, 0) << second.err;
  EXPECT_EQ(hub.storage->count("/upload/", "PUT"), sent);
  EXPECT_EQ(hub.commits("models/me/mine"), before + 1);
  const FakeFiles& files = hub.files("models/me/mine");
  int gguf = 0;
  for (const auto& [name, file] : files) {
    gguf += name.ends_with(".gguf") ? 1 : 0;
    EXPECT_EQ(name.find("checkpoint-"), std::string::npos);
  }
  EXPECT_EQ(gguf, 1);
  for (const char* name :
       {"config.json", "model.safetensors", "README.md", "report.html", "loss.svg", "Modelfile"}) {
    EXPECT_TRUE(files.contains(name)) << name;
  }
  const Json said = parse_json(second.out, "sft push");
  EXPECT_EQ(said["repository"], "me/mine");
  EXPECT_EQ(said["files"].get<size_t>(), files.size() - files_before);
  const RunResult third = push();
  ASSERT_EQ(third.code, 0) << third.err;
  EXPECT_TRUE(parse_json(third.out, "sft push")["commit"].is_null());
}

TEST_F(HubEndToEnd, AKillDuringAPushLeavesNothingBehind) {
  struct Seen {
    std::atomic<bool> pushing = false, killed = false;
  };
  const auto seen = std::make_shared<Seen>();  // the hub's threads may outlive this function
  hub.intercept = [seen](const Request& request) -> std::optional<Reply> {
    if (request.path().find("/commit/") != std::string::npos) {
      seen->pushing = true;
      for (int i = 0; i < 600 && !seen->killed; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
    }
    return std::nullopt;
  };
  for (const char* seconds : {"3", "10", "40"}) {
    run("--push_to_hub --hub_model_id result --save_strategy steps --save_steps 1 --hub_strategy "
        "every_save --hub_token " +
            hub.token,
        std::string("timeout -s KILL ") + seconds);
    if (seen->pushing) {
      break;
    }
  }
  seen->killed = true;
  ASSERT_TRUE(seen->pushing);
  ASSERT_TRUE(fs::exists(folder / "out/checkpoint-1"));
  for (const auto& entry : fs::recursive_directory_iterator(folder / "out")) {
    EXPECT_FALSE(entry.path().filename().string().starts_with("_")) << entry.path();
    EXPECT_TRUE(entry.is_directory() || entry.hard_link_count() == 1) << entry.path();
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

// All that a run is refused for before its first step, it is refused for before a byte of its
// weights is fetched; --dry_run refuses the same.
class HubRefusals : public HubEndToEnd {
 protected:
  FakeFiles tiny() const {
    FakeFiles files;
    const fs::path tiny_model = fs::path(SFT_TEST_DIR).parent_path() / "examples/tiny-model";
    for (const auto& entry : fs::directory_iterator(tiny_model)) {
      files[entry.path().filename().string()] = {read_text(entry.path()), false};
    }
    return files;
  }
  // "org/bad": the tiny model, a file of which is edited.
  void add_bad(const std::string& file, const std::function<void(Json&)>& edit) {
    FakeFiles files = tiny();
    Json json = parse_json(files[file].contents, file);
    edit(json);
    files[file].contents = json.dump();
    hub.add("models/org/bad", std::move(files));
  }
  void add_bad_text(const std::string& file, const std::string& text) {
    FakeFiles files = tiny();
    files[file].contents = text;
    hub.add("models/org/bad", std::move(files));
  }
  bool weights_were_asked_for() const {
    return std::ranges::any_of(hub.server->requests(), [](const Request& request) {
      return request.target.find("/resolve/") != std::string::npos &&
             request.target.find(".safetensors") != std::string::npos &&
             request.target.find(".index.json") == std::string::npos;
    });
  }
  void refused(const std::string& arguments, int code, const std::string& error,
               const std::string& environment = "") {
    for (const char* dry : {"", "--dry_run "}) {
      fs::remove_all(folder / "home");
      const RunResult result = run(dry + arguments, environment);
      EXPECT_EQ(result.code, code) << dry << arguments << "\n" << result.err;
      EXPECT_NE(result.err.find(error), std::string::npos) << dry << arguments << result.err;
      EXPECT_FALSE(weights_were_asked_for()) << dry << arguments;
      EXPECT_EQ(result.out.find("'loss'"), std::string::npos) << result.out;
      hub.server->forget();
    }
  }
};

TEST_F(HubRefusals, OfModelsComeBeforeTheirWeights) {
  const std::string bad = "--model_name_or_path org/bad";
  add_bad("config.json", [](Json& c) { c["architectures"] = {"SomebodysForCausalLM"}; });
  refused(bad, 4, "M031");
  add_bad("config.json", [](Json& c) { c["quantization_config"] = {{"quant_method", "gptq"}}; });
  refused(bad, 4, "M243");
  add_bad("config.json", [](Json& c) {
    c.erase("rope_parameters");
    c["rope_scaling"] = {{"rope_type", "spiral"}, {"factor", 2.0}};
  });
  refused(bad, 4, "M03");
  add_bad("config.json", [](Json& c) { c["hidden_act"] = "swish_of_another_kind"; });
  refused(bad, 4, "M03");
  for (const char* file : {"config.json", "generation_config.json", "special_tokens_map.json",
                           "tokenizer.json", "tokenizer_config.json"}) {
    add_bad_text(file, "{\"a\": ");
    refused(bad, 4, "error[M");
  }
  add_bad_text("generation_config.json", "[1]");
  refused(bad, 4, "M248");
  add_bad_text("special_tokens_map.json", "[1]");
  refused(bad, 4, "M110");
  add_bad_text("chat_template.jinja", "{% if %}");
  refused(bad, 4, "error[M");
  FakeFiles pickles = tiny();
  pickles.erase("model.safetensors");
  pickles["pytorch_model.bin"] = {"x", false};
  hub.add("models/org/bad", std::move(pickles));
  refused(bad, 4, "M242");
}

TEST_F(HubRefusals, OfOptionsPlacesAndDataComeBeforeTheWeights) {
  refused("--eval_strategy steps --metric_for_best_model accuracy", 2, "C053");
  refused("--eval_strategy steps --load_best_model_at_end --metric_for_best_model eval_los", 2,
          "C053");
  refused("--profile '" + (folder / "missing/trace.json").string() + "'", 7, "S010");
  std::ofstream(folder / "a_file") << "x";
  refused("--output_dir '" + (folder / "a_file").string() + "'", 7, "S010");
  refused("--output_dir '" + (folder / "a_file/out").string() + "'", 7, "S010");
  refused("--push_to_hub", 2, "C114");
  refused("--push_to_hub --hub_token hf_wrong", 4, "M302");
  refused("--push_to_hub --hub_model_id 'not/a/name' --hub_token " + hub.token, 2, "C116");
  refused("--resume_from_checkpoint '" + (folder / "out/checkpoint-7").string() + "'", 4, "M265");
  fs::create_directories(folder / "foreign");
  refused("--resume_from_checkpoint '" + (folder / "foreign").string() + "'", 4, "M260");
  std::ofstream(folder / "foreign/trainer_state.json") << "{}";
  refused("--resume_from_checkpoint '" + (folder / "foreign").string() + "'", 4, "M266");
  refused("--dataset_name org/nothing", 4, "M300");
  refused("--dataset_train_split nothing", 3, "D008");
  refused("--eval_strategy epoch --dataset_test_split nothing", 3, "D008");
  EXPECT_EQ(run("--eval_strategy epoch --dataset_test_split nothing").err.find("training data:"),
            std::string::npos);
  refused("--dataloader_drop_last --per_device_train_batch_size 100000", 3, "D063");
  refused("--chat_template_path missing.jinja", 3, "D070");
}

TEST_F(HubRefusals, DryRunInspectAndConfigFetchNoWeights) {
  const RunResult dry = run("--dry_run");
  ASSERT_EQ(dry.code, 0) << dry.err;
  EXPECT_FALSE(weights_were_asked_for());
  EXPECT_FALSE(fs::exists(folder / "out"));
  const RunResult real = run("--save_strategy no");
  ASSERT_EQ(real.code, 0) << real.err;
  EXPECT_TRUE(weights_were_asked_for());
}

// The names of files, and what is shaped like a path, are files that are not there.
TEST_F(HubEndToEnd, NamesOfFilesAreNotAskedOfTheHub) {
  const std::string model =
      "--model_name_or_path '" +
      (fs::path(SFT_TEST_DIR).parent_path() / "examples/tiny-model").string() + "' ";
  for (const char* name : {"mydata/bakery.jsonl", "bakery.parquet", "mydata/bakery.csv.gz",
                           "./bakery", "a/b/c", "mydata/", "out/checkpoint-12"}) {
    const RunResult run_on = run(model + "--dataset_name " + name);
    EXPECT_EQ(run_on.code, 3) << name << run_on.err;
    EXPECT_NE(run_on.err.find("D001"), std::string::npos) << run_on.err;
  }
  for (const char* name : {"mymodels/tiny.gguf", "tiny.safetensors", "out/checkpoint-12",
                           "mymodels/config.json", "./tiny", "a/b/c"}) {
    const RunResult of = run("--model_name_or_path " + std::string(name));
    EXPECT_EQ(of.code, 4) << name << of.err;
    EXPECT_NE(of.err.find("M240"), std::string::npos) << of.err;
  }
  EXPECT_TRUE(hub.server->requests().empty());
}

// "here/bakery", where the folder `here` is: the hub is asked once, and what it does not have is a
// file that is missing.
TEST_F(HubEndToEnd, ANameBelowAFolderThatIsHereIsAFileUnlessTheHubKnowsIt) {
  const std::string parent = "here_" + std::to_string(::getpid());
  fs::create_directories(fs::path(parent) / "bakery");
  const RunResult data = run("--dataset_name " + parent + "/bakry");
  EXPECT_EQ(data.code, 3) << data.err;
  EXPECT_NE(data.err.find("D001"), std::string::npos) << data.err;
  EXPECT_NE(data.err.find("did you mean  " + parent + "/bakery?"), std::string::npos) << data.err;
  const RunResult model = run("--model_name_or_path " + parent + "/tiny");
  EXPECT_EQ(model.code, 4) << model.err;
  EXPECT_NE(model.err.find("M240"), std::string::npos) << model.err;
  const RunResult down =
      run("--dataset_name " + parent + "/bakry", "HF_ENDPOINT=http://127.0.0.1:1");
  EXPECT_LT(down.code, 128) << down.err;
  hub.add_folder("models/" + parent + "/tiny",
                 fs::path(SFT_TEST_DIR).parent_path() / "examples/tiny-model");
  const RunResult known = run("--dry_run --model_name_or_path " + parent + "/tiny");
  EXPECT_EQ(known.code, 0) << known.err;
  fs::remove_all(parent);
}

// 140 asks a scheduler to try again because a peer was lost; a hub that is away is none.
TEST_F(HubEndToEnd, AHubThatCannotBeReachedIsNoLostPeer) {
  const RunResult down = run("", "HF_ENDPOINT=http://127.0.0.1:1 HF_HUB_ETAG_TIMEOUT=1");
  EXPECT_EQ(down.code, 7) << down.err;
  EXPECT_NE(down.err.find("S302"), std::string::npos) << down.err;
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
