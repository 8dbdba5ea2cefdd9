// MLflow's interface and trackio's tables: what is sent and written, and that what fails ends
// nothing.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"
#include "hub/http_server.h"
#include "report/trackers/mlflow.h"
#include "report/trackers/trackio.h"

namespace sft {
namespace {

using testing::HttpServer;
using testing::Reply;
using testing::Request;

const Json kRun{{"k", "run"},
                {"t", 1000.5},
                {"id", "0123456789abcdef"},
                {"config", {{"learning_rate", 1e-5}, {"report_to", {"mlflow"}}}}};
const Json kLog{{"k", "log"}, {"t", 1002.25}, {"step", 3}, {"loss", 1.25}, {"grad_norm", NAN}};
const Json kEval{{"k", "eval"}, {"t", 1003.0}, {"step", 3}, {"eval_loss", 2.5}, {"samples", 9}};
const Json kEnd{{"k", "end"}, {"t", 1004.5}, {"step", 4}, {"status", "done"}};

Reply mlflow_reply(const Request& request) {
  const std::string path = request.path();
  if (path.ends_with("experiments/search")) {
    return Reply{.body = "{}"};
  }
  if (path.ends_with("experiments/create")) {
    return Reply{.body = R"({"experiment_id": "7"})"};
  }
  return Reply{.body =
                   path.ends_with("runs/create") ? R"({"run": {"info": {"run_id": "r1"}}})" : "{}"};
}

TEST(Mlflow, SendsParametersMetricsAndTheEnd) {
  HttpServer server(mlflow_reply);
  {
    MlflowServer to{.url = server.url(), .user = "me", .password = "pw", .experiment = "tuning"};
    to.run_name = "first";
    to.tags = {{"team", "a"}};
    Mlflow mlflow(to);
    for (const Json& line : {kRun, kLog, kEval, kEnd}) {
      mlflow.line(line);
    }
  }
  std::vector<std::pair<std::string, Json>> sent;
  for (const Request& request : server.requests()) {
    EXPECT_EQ(request.header("authorization"), "Basic bWU6cHc=");
    sent.emplace_back(request.path().substr(std::string("/api/2.0/mlflow/").size()),
                      Json::parse(request.body));
  }
  ASSERT_EQ(sent.size(), 7u);
  EXPECT_EQ(sent[1].second["name"], "tuning");
  EXPECT_EQ(sent[2].second["experiment_id"], "7");
  EXPECT_EQ(sent[2].second["run_name"], "first");
  EXPECT_EQ(sent[2].second["start_time"], 1000500);
  EXPECT_EQ(sent[2].second["tags"][0]["key"], "team");
  EXPECT_EQ(sent[3].second["params"][0], (Json{{"key", "learning_rate"}, {"value", "1e-05"}}));
  EXPECT_EQ(sent[4].second["metrics"][0],
            (Json{{"key", "loss"}, {"value", 1.25}, {"timestamp", 1002250}, {"step", 3}}));
  EXPECT_EQ(sent[4].second["metrics"][1]["value"], "NaN");
  EXPECT_EQ(sent[5].second["metrics"].size(), 1u);
  EXPECT_EQ(sent[6].first, "runs/update");
  EXPECT_EQ(sent[6].second["status"], "FINISHED");
}

TEST(Mlflow, AServerThatRefusesIsOneWarningAndNoMore) {
  HttpServer server([](const Request&) { return Reply{.status = 403, .body = "no"}; });
  std::vector<std::string> said;
  const Logger log{Logger::Level::details,
                   [&](Logger::Level, std::string_view text) { said.emplace_back(text); }};
  Trackers trackers(log);
  trackers.add(std::make_unique<Mlflow>(MlflowServer{.url = server.url(), .experiment = "x"}));
  trackers.line(kRun);
  trackers.line(kEnd);  // waits till the thread has given up
  EXPECT_TRUE(trackers.empty());
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].find("403"), std::string::npos);
}

class TrackioFile : public ::testing::Test {
 protected:
  void SetUp() override { fs::remove_all(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_ = fs::path(::testing::TempDir()) / ("sft_trackio_" + std::to_string(::getpid()));
};

TEST_F(TrackioFile, RowsAreInTheTablesThatItsReadersKnow) {
  {
    Trackio trackio(folder_ / "p.db", "mine");
    for (const Json& line : {kRun, kLog, kEval, kEnd}) {
      trackio.line(line);
    }
  }
  {
    Trackio again(folder_ / "p.db", "mine");  // the tables are there already
    again.line(kRun);
  }
  const std::string file = read_text(folder_ / "p.db");
  EXPECT_TRUE(file.starts_with("SQLite format 3"));
  for (const char* part : {"CREATE TABLE metrics", "CREATE TABLE configs", "0123456789abcdef",
                           R"({"train/loss":1.25,"train/grad_norm":"NaN"})", R"({"eval/loss":2.5})",
                           "1970-01-01T00:16:42.250000+00:00"}) {
    EXPECT_NE(file.find(part), std::string::npos) << part;
  }
}

TEST_F(TrackioFile, AFileOfAnotherKindIsLeftAlone) {
  fs::create_directories(folder_);
  write_text(folder_ / "p.db", std::string(4096, 'x'));
  try {
    Trackio(folder_ / "p.db", "");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "S061");
  }
  EXPECT_EQ(read_text(folder_ / "p.db"), std::string(4096, 'x'));
}

}  // namespace
}  // namespace sft
