#include "hub/repository.h"

#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <fstream>

#include "core/file_writer.h"
#include "core/json.h"
#include "hub/http.h"
#include "hub/support.h"

namespace sft {
namespace {

using namespace sft::testing;

class HubRepositoryTest : public ::testing::Test {
 protected:
  HubRepositoryTest() { without_proxies(); }

  HubEnvironment environment() const {
    HubEnvironment e = hub.environment(cache.path());
    e.report.warn = [this](std::string_view text) { warnings.emplace_back(text); };
    e.report.note = [this](std::string_view text) { notes.emplace_back(text); };
    return e;
  }
  std::string fetched(const std::string& file, const HubEnvironment& e,
                      const std::string& revision = "") {
    HubRepository repository(HubKind::model, "org/name", revision, e);
    return read_text(repository.fetch({file}) / file);
  }
  std::string fetched(const std::string& file) { return fetched(file, environment()); }

  FakeHub hub;
  TemporaryFolder cache;
  mutable std::vector<std::string> warnings, notes;
  const std::string big = noise(3'000'000);
};

TEST_F(HubRepositoryTest, FillsTheCacheAsThePythonToolsLayItOut) {
  const std::string commit = hub.add("models/org/name", {{"config.json", {"{}"}},
                                                         {"sub/other name.txt", {"hello"}},
                                                         {"model.safetensors", {big, true}}});
  HubRepository repository(HubKind::model, "org/name", "", environment());
  EXPECT_EQ(repository.commit(), commit);
  EXPECT_EQ(repository.files().size(), 3u);
  repository.fetch({"config.json", "sub/other name.txt", "model.safetensors"});
  const fs::path folder = cache / "models--org--name";
  EXPECT_EQ(read_text(folder / "refs/main"), commit);
  const fs::path snapshot = folder / "snapshots" / commit;
  EXPECT_EQ(repository.folder(), snapshot);
  EXPECT_EQ(fs::read_symlink(snapshot / "model.safetensors"), "../../blobs/" + sha256_of(big));
  EXPECT_EQ(fs::read_symlink(snapshot / "sub/other name.txt"),
            "../../../blobs/b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0");
  EXPECT_EQ(read_text(snapshot / "model.safetensors"), big);
  EXPECT_EQ(read_text(snapshot / "sub/other name.txt"), "hello");
  EXPECT_TRUE(fs::exists(folder / "trees" / (commit + ".json")));
  for (const auto& entry : fs::directory_iterator(folder / "blobs")) {
    EXPECT_EQ(entry.path().filename().string().find("sft"), std::string::npos) << entry.path();
  }
  repository.note_absent({"chat_template.jinja", "config.json"});
  EXPECT_TRUE(fs::exists(folder / ".no_exist" / commit / "chat_template.jinja"));
  EXPECT_FALSE(fs::exists(folder / ".no_exist" / commit / "config.json"));
}

TEST_F(HubRepositoryTest, WhatIsCachedIsCheckedWithOneRequest) {
  hub.add("models/org/name", {{"config.json", {"{}"}}, {"model.safetensors", {big, true}}});
  HubRepository(HubKind::model, "org/name", "", environment())
      .fetch({"config.json", "model.safetensors"});
  hub.server->forget(), hub.storage->forget();
  HubRepository again(HubKind::model, "org/name", "", environment());
  again.files();
  again.fetch({"config.json", "model.safetensors"});
  EXPECT_EQ(hub.server->requests().size(), 1u);
  EXPECT_EQ(hub.storage->requests().size(), 0u);
  HubRepository by_commit(HubKind::model, "org/name", again.commit(), environment());
  by_commit.fetch({"config.json"});
  EXPECT_EQ(hub.server->requests().size(), 1u);
}

TEST_F(HubRepositoryTest, ANewCommitFetchesOnlyWhatChanged) {
  hub.add("models/org/name", {{"a.txt", {"one"}}, {"model.safetensors", {big, true}}});
  HubRepository(HubKind::model, "org/name", "", environment())
      .fetch({"a.txt", "model.safetensors"});
  hub.storage->forget();
  hub.add("models/org/name", {{"a.txt", {"two"}}, {"model.safetensors", {big, true}}});
  HubRepository next(HubKind::model, "org/name", "", environment());
  EXPECT_EQ(read_text(next.fetch({"a.txt", "model.safetensors"}) / "a.txt"), "two");
  EXPECT_EQ(hub.storage->requests().size(), 0u);
  EXPECT_EQ(read_text(next.folder() / "model.safetensors"), big);
}

TEST_F(HubRepositoryTest, RevisionsAreBranchesTagsAndCommits) {
  const std::string first = hub.add("models/org/name", {{"a.txt", {"one"}}});
  hub.add("models/org/name", {{"a.txt", {"two"}}});
  hub.add("models/org/name", {{"a.txt", {"three"}}}, "feature/x");
  EXPECT_EQ(fetched("a.txt", environment(), first), "one");
  EXPECT_EQ(fetched("a.txt", environment(), "main"), "two");
  EXPECT_EQ(fetched("a.txt", environment(), "feature/x"), "three");
  EXPECT_TRUE(fs::exists(cache / "models--org--name/refs/feature/x"));
  EXPECT_EQ(error_of([&] { fetched("a.txt", environment(), "v9"); }).code().text(), "M303");
  for (const char* bad : {"../main", "a b", "a//b", "/a", "a\nb", "a\\b"}) {
    EXPECT_EQ(error_of([&] { fetched("a.txt", environment(), bad); }).code().text(), "M310") << bad;
  }
}

TEST_F(HubRepositoryTest, ListingsGoOnOverPages) {
  FakeFiles files;
  for (int i = 0; i < 25; ++i) {
    files["f" + std::to_string(i)] = {"x" + std::to_string(i)};
  }
  hub.add("datasets/org/name", files);
  hub.page = 10;
  HubRepository repository(HubKind::dataset, "org/name", "", environment());
  EXPECT_EQ(repository.files().size(), 25u);
  EXPECT_EQ(hub.server->count("/tree/"), 3);
  std::vector<std::string> all;
  for (const HubFile& file : repository.files()) {
    all.push_back(file.path);
  }
  EXPECT_EQ(read_text(repository.fetch(all) / "f24"), "x24");
  EXPECT_TRUE(fs::exists(cache / "datasets--org--name/snapshots"));
}

// Folders alone, page after page; and the text of a refusal that drips for a quarter of an hour.
TEST_F(HubRepositoryTest, AnswersWithoutAnEndAreGivenUp) {
  const std::string commit(40, 'a');
  std::atomic<int> pages = 0;
  HttpServer endless([&](const Request& request) {
    Reply reply;
    if (request.path().find("/tree/") != std::string::npos) {
      reply.body = R"([{"type": "directory", "path": "d", "oid": "0"}])";
      reply.headers.emplace_back(
          "Link", "<" + request.path() + "?cursor=" + std::to_string(++pages) + ">; rel=\"next\"");
    } else if (request.path().find("/revision/") != std::string::npos) {
      reply.body = R"({"sha": ")" + commit + "\"}";
    } else {
      reply.status = 404;
      reply.body = std::string(40 << 20, 'x');
      reply.piece = 4096;
      reply.pause_ms = 100;
    }
    return reply;
  });
  HubEnvironment e = environment();
  e.endpoint = endless.url();
  EXPECT_EQ(
      error_of([&] { HubRepository(HubKind::dataset, "org/name", "", e).files(); }).code().text(),
      "M308");
  EXPECT_LE(pages, 2001);
  const auto begun = std::chrono::steady_clock::now();
  const HttpResponse refused = HttpClient(e).send({.url = endless.url() + "/refusal"});
  EXPECT_EQ(refused.status, 404);
  EXPECT_LE(refused.body.size(), 64u << 10);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(60));
}

TEST_F(HubRepositoryTest, EachRefusalHasItsOwnSentence) {
  hub.add("models/org/name", {{"a.txt", {"one"}}});
  HubEnvironment e = environment();
  const auto open = [&](const std::string& id) {
    HubRepository repository(HubKind::model, id, "", e);
    repository.files();
    repository.fetch({"a.txt"});
  };
  EXPECT_EQ(error_of([&] { open("org/other"); }).code().text(), "M300");
  hub.repository("models/org/name").gated = true;
  const Error gated = error_of([&] { open("org/name"); });
  EXPECT_EQ(gated.code().text(), "M301");
  EXPECT_NE(gated.hint().find("HF_TOKEN"), std::string::npos);
  hub.repository("models/org/name").is_private = true;
  EXPECT_EQ(error_of([&] { open("org/name"); }).code().text(), "M300");
  e.token_variable = "hf_wrong";
  const Error wrong = error_of([&] { open("org/name"); });
  EXPECT_EQ(wrong.code().text(), "M302");
  EXPECT_EQ(wrong.text().find("hf_wrong"), std::string::npos);
  e.token_variable = hub.token;
  open("org/name");
  EXPECT_EQ(error_of([&] { fetched("b.txt", e); }).code().text(), "M304");
  EXPECT_EQ(error_of([&] { fetched("../b.txt", e); }).code().text(), "M309");
  e.endpoint = "http://127.0.0.1:1";
  EXPECT_EQ(error_of([&] { open("org/other"); }).code().text(), "S302");
  e.endpoint = "http://no-such-host.invalid";
  const Error unknown = error_of([&] { open("org/other"); });
  EXPECT_EQ(unknown.code().text(), "S301");
  EXPECT_TRUE(
      unknown.message().starts_with("the model org/other is not on this machine and cannot"))
      << unknown.message();
  e.endpoint = "ftp://x";
  EXPECT_EQ(error_of([&] { open("org/other"); }).code().text(), "C112");
  e.endpoint = "https" + hub.server->url().substr(4);
  EXPECT_EQ(error_of([&] { open("org/other"); }).code().text(), "S304");
  EXPECT_EQ(error_of([&] { open("a/b/c"); }).code().text(), "M310");
}

TEST_F(HubRepositoryTest, WithoutTheNetworkTheCacheServes) {
  HubEnvironment e = environment();
  hub.add("models/org/name", {{"a.txt", {"one"}}, {"b.txt", {"two"}}});
  e.offline = true;
  EXPECT_EQ(error_of([&] { fetched("a.txt", e); }).code().text(), "M305");
  EXPECT_EQ(hub.server->requests().size(), 0u);
  fetched("a.txt");
  hub.server->forget();
  EXPECT_EQ(fetched("a.txt", e), "one");
  const Error missing = error_of([&] { fetched("b.txt", e); });
  EXPECT_EQ(missing.code().text(), "M305");
  EXPECT_NE(missing.message().find("HF_HUB_OFFLINE"), std::string::npos);
  EXPECT_EQ(hub.server->requests().size(), 0u);
  EXPECT_TRUE(warnings.empty());
  e.offline = false;
  e.endpoint = "http://127.0.0.1:1";
  EXPECT_EQ(fetched("a.txt", e), "one");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("from the cache"), std::string::npos);
  hub.intercept = [](const Request&) { return refusal(503, "", "down"); };
  EXPECT_EQ(fetched("a.txt"), "one");
  EXPECT_EQ(warnings.size(), 2u);
}

// A damaged small file and a damaged large one: noticed when asked, fetched again, or said.
TEST_F(HubRepositoryTest, WhatIsDamagedInTheCacheIsFoundWhenAsked) {
  const std::string commit =
      hub.add("models/org/name", {{"config.json", {"{}"}}, {"model.safetensors", {big, true}}});
  HubEnvironment verifying = environment();
  verifying.verify = true;
  const fs::path snapshot = cache / "models--org--name/snapshots" / commit;
  for (const char* file : {"config.json", "model.safetensors"}) {
    const std::string sound = fetched(file);
    std::string damaged = sound;
    damaged.back() = static_cast<char>(damaged.back() ^ 1);
    write_text(fs::canonical(snapshot / file), damaged);
    warnings.clear();
    EXPECT_EQ(fetched(file), damaged) << "nobody asked";
    HubEnvironment offline = verifying;
    offline.offline = true;
    EXPECT_EQ(error_of([&] { fetched(file, offline); }).code().text(), "M314");
    EXPECT_EQ(fetched(file, verifying), sound);
    ASSERT_EQ(warnings.size(), 1U);
    EXPECT_NE(warnings[0].find("fetched again"), std::string::npos) << warnings[0];
    EXPECT_EQ(fetched(file, offline), sound);
    EXPECT_EQ(warnings.size(), 1U);
  }
}

TEST_F(HubRepositoryTest, TheTokenStaysWithTheHub) {
  hub.add("models/org/name", {{"model.safetensors", {big, true}}});
  hub.repository("models/org/name").is_private = true;
  HubEnvironment e = environment();
  e.token_variable = hub.token;
  EXPECT_EQ(fetched("model.safetensors", e), big);
  EXPECT_GT(hub.storage->requests().size(), 0u);
  for (const Request& request : hub.storage->requests()) {
    EXPECT_EQ(request.header("authorization"), "");
  }
  for (const Request& request : hub.server->requests()) {
    EXPECT_EQ(request.header("authorization"), "Bearer " + hub.token);
  }
  for (const std::string& note : notes) {
    EXPECT_EQ(note.find(hub.token), std::string::npos);
    EXPECT_EQ(note.find("s3cr"), std::string::npos);
  }
}

TEST_F(HubRepositoryTest, NamesFromTheServerCannotLeaveTheCache) {
  for (const std::string& name : std::vector<std::string>{
           "../evil", "a/../../evil", "/etc/evil", "a\\b", "a//b", "./a", "a/.",
           std::string("a\0b", 3), std::string("a\nb"), std::string(300, 'x')}) {
    hub.add("models/org/name", {{name, {"evil"}}});
    HubRepository repository(HubKind::model, "org/name", "", environment());
    EXPECT_EQ(error_of([&] { repository.files(); }).code().text(), "M309") << name;
  }
}

TEST_F(HubRepositoryTest, AnswersThatCannotBeUsedAreRefused) {
  hub.add("models/org/name", {{"a.txt", {"one"}}});
  const auto with = [&](const std::string& what, Reply reply) {
    hub.intercept = [=](const Request& request) -> std::optional<Reply> {
      if (request.target.find(what) != std::string::npos) {
        return reply;
      }
      return std::nullopt;
    };
    return std::string(error_of([&] {
                         HubRepository repository(HubKind::model, "org/name", "", environment());
                         repository.files();
                       })
                           .code()
                           .text());
  };
  EXPECT_EQ(with("/revision/", {.body = "<html>"}), "M308");
  EXPECT_EQ(with("/revision/", {.body = "[]"}), "M308");
  EXPECT_EQ(with("/revision/", {.body = R"({"sha":"../../x"})"}), "M308");
  EXPECT_EQ(with("/revision/", {.body = R"({"sha":5})"}), "M308");
  EXPECT_EQ(with("/revision/", {.raw = "SSH-2.0-OpenSSH\r\n"}), "M308");
  EXPECT_EQ(with("/revision/", {.status = 302, .headers = {{"Location", "file:///etc/passwd"}}}),
            "M308");
  EXPECT_EQ(with("/revision/", {.status = 302, .headers = {{"Location", "/api/revision/x"}}}),
            "M308");
  EXPECT_EQ(with("/tree/", {.body = "{}"}), "M308");
  EXPECT_EQ(with("/tree/", {.body = "[1]"}), "M308");
  EXPECT_EQ(with("/tree/", {.body = R"([{"type":"file","path":"a","size":-1,"oid":"x"}])"}),
            "M308");
  EXPECT_EQ(with("/tree/", {.body = std::string(20 << 20, ' ')}), "M308");
  const std::string here = hub.server->url() + "/api/tree/x";
  EXPECT_EQ(with("/tree/", {.headers = {{"Link", "<" + here + ">; rel=\"next\""}}, .body = "[]"}),
            "M308");
}

TEST_F(HubRepositoryTest, WhereLinksCannotBeMadeThereAreCopies) {
  const std::string commit = hub.add("models/org/name", {{"a.txt", {"one"}}});
  HubEnvironment e = environment();
  e.symlinks = false;
  EXPECT_EQ(fetched("a.txt", e), "one");
  EXPECT_FALSE(fs::is_symlink(cache / "models--org--name/snapshots" / commit / "a.txt"));
}

TEST_F(HubRepositoryTest, ACacheThatCannotBeWrittenSaysSo) {
  hub.add("models/org/name", {{"a.txt", {"one"}}});
  std::ofstream(cache / "file") << "not a folder";
  HubEnvironment e = environment();
  e.hf_hub_cache = (cache / "file").string();
  EXPECT_EQ(error_of([&] { fetched("a.txt", e); }).code().text(), "S030");
}

TEST_F(HubRepositoryTest, AHugeFileDoesNotFitOnTheDisk) {
  hub.add("models/org/name", {{"a.txt", {"one"}}});
  hub.intercept = [](const Request& request) -> std::optional<Reply> {
    if (request.target.find("/tree/") == std::string::npos) {
      return std::nullopt;
    }
    return Reply{.body = R"([{"type":"file","path":"a.txt","size":1152921504606846976,
                             "oid":"b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"}])"};
  };
  EXPECT_EQ(error_of([&] { fetched("a.txt"); }).code().text(), "S031");
}

}  // namespace
}  // namespace sft
