// Posts to a status server on loopback: what is said, how often, and that silence ends nothing.
#include "report/trackers/kubeflow_status.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>

#include "core/file.h"
#include "core/file_writer.h"
#include "hub/http_server.h"

namespace sft {
namespace {

using testing::HttpServer;
using testing::Reply;
using testing::Request;

class Kubeflow : public ::testing::Test {
 protected:
  void SetUp() override { write_text(token_, "secret-1\n"); }
  void TearDown() override { fs::remove(token_); }
  KubeflowServer at(const std::string& url, double between) const {
    return {url, "", token_, between};
  }
  fs::path token_ = fs::temp_directory_path() / ("sft_token_" + std::to_string(getpid()));
};

const Json kRun{{"k", "run"}, {"t", 1.0}};
const Json kLog{{"k", "log"}, {"t", 2.0}, {"step", 5}, {"loss", 1.5}};
const Json kEnd{{"k", "end"}, {"t", 3.0}, {"step", 10}, {"status", "done"}};

TEST_F(Kubeflow, SaysHowFarTheRunIs) {
  HttpServer server([](const Request&) { return Reply{}; });
  {
    KubeflowStatus status(at(server.url() + "/status", 0), "1");
    status.line(kRun);
    status.line(kLog);
    status.step(5, 10);
    status.step(10, 10);
    status.line(kEnd);
  }
  const auto requests = server.requests();
  ASSERT_GE(requests.size(), 1u);
  const Request& last = requests.back();
  EXPECT_EQ(last.method, "POST");
  EXPECT_EQ(last.target, "/status");
  EXPECT_EQ(last.header("authorization"), "Bearer secret-1");
  EXPECT_EQ(last.header("content-type"), "application/json");
  const Json body = Json::parse(last.body)["trainerStatus"];
  EXPECT_EQ(body["progressPercentage"], 100);
  EXPECT_EQ(body["estimatedRemainingSeconds"], 0);
  EXPECT_EQ(body["metrics"][0], (Json{{"name", "loss"}, {"value", "1.5"}}));
  EXPECT_EQ(body["metrics"][1], (Json{{"name", "current_step"}, {"value", "10"}}));
}

TEST_F(Kubeflow, TheBody) {
  EXPECT_EQ(
      kubeflow_body(42, 3.7, {{"loss", 0.25}}, 0),
      R"({"trainerStatus":{"progressPercentage":42,"estimatedRemainingSeconds":3,)"
      R"("metrics":[{"name":"loss","value":"0.25"}],"lastUpdatedTime":"1970-01-01T00:00:00Z"}})");
  EXPECT_EQ(
      kubeflow_body(0, -1, Json::object(), 86400),
      R"({"trainerStatus":{"progressPercentage":0,"lastUpdatedTime":"1970-01-02T00:00:00Z"}})");
}

TEST_F(Kubeflow, NotMoreOftenThanTheServerWants) {
  HttpServer server([](const Request&) { return Reply{}; });
  {
    KubeflowStatus status(at(server.url(), 3600), "1");
    status.line(kRun);
    for (int i = 1; i <= 500; ++i) {
      status.step(i, 500);
    }
    status.line(kEnd);
  }
  EXPECT_LE(server.requests().size(), 3u);
}

TEST_F(Kubeflow, NothingReachesTheRun) {
  const auto began = std::chrono::steady_clock::now();
  {
    HttpServer refusing([](const Request&) { return Reply{500}; });
    KubeflowStatus status(at(refusing.url(), 0), "1");
    status.line(kRun);
    status.line(kEnd);
  }
  {
    KubeflowStatus status(at("http://127.0.0.1:1/", 0), "1");  // nobody listens
    status.line(kEnd);
  }
  fs::remove(token_);
  {
    HttpServer server([](const Request&) { return Reply{}; });
    KubeflowStatus status(at(server.url(), 0), "1");
    status.line(kEnd);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
}

TEST_F(Kubeflow, OnlyWithItsVariables) {
  const auto from = [](std::map<std::string, std::string> variables) {
    return KubeflowStatus::from([=](const char* name) mutable { return variables[name]; }, "1");
  };
  EXPECT_EQ(from({}), nullptr);
  EXPECT_NE(from({{"KUBEFLOW_TRAINER_SERVER_URL", "http://127.0.0.1:1/"}}), nullptr);
  EXPECT_EQ(from({{"KUBEFLOW_TRAINER_SERVER_URL", "http://127.0.0.1:1/"},
                  {"DISABLE_KUBEFLOW_INTEGRATION", "TRUE"}}),
            nullptr);
}

}  // namespace
}  // namespace sft
