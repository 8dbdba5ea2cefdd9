#include "report/trackers/mlflow.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "core/error.h"
#include "core/strings.h"
#include "core/threads.h"
#include "hub/upload.h"
#include "settings/train_options.h"

namespace sft {
namespace {

constexpr Code kServer = "S060";
// Of one request, by MLflow's documentation of runs/log-batch.
constexpr size_t kMostMetrics = 1000, kMostParams = 100, kMostValue = 6000;
constexpr size_t kMostWaiting = 20000;  // lines; a server that is away longer loses the run

HubEnvironment surroundings(const MlflowServer& server) {
  HubEnvironment e;
  e.endpoint = server.url;
  e.implicit_token = false;
  e.user_agent = "sft/" + server.version;
  return e;
}

int64_t milliseconds(const Json& line) {
  return static_cast<int64_t>(std::llround(1000 * line.value("t", 0.0)));
}

// MLflow takes letters, digits and _-./ and blanks in names.
std::string name_for(std::string name) {
  for (char& c : name) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-' || c == '.' || c == '/' || c == ' ';
    c = fine ? c : '_';
  }
  return name;
}

// Numbers that JSON has not are named, as in protocol buffers.
Json value_for(double value) {
  return std::isfinite(value) ? Json(value)
         : std::isnan(value)  ? Json("NaN")
                              : Json(value > 0 ? "Infinity" : "-Infinity");
}

}  // namespace

Mlflow::Mlflow(MlflowServer server)
    : server_(std::move(server)),
      http_(surroundings(server_)),
      thread_(start_thread("mlflow", [this] { work(); })) {}

Mlflow::~Mlflow() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Mlflow::line(const Json& line) {
  const std::string kind = line.value("k", "");
  const bool end = kind == "end";
  if (kind != "run" && kind != "log" && kind != "eval" && kind != "finish" && !end) {
    return;
  }
  std::unique_lock lock(mutex_);
  if (failure_.empty()) {
    waiting_.push_back(line);
    changed_.notify_all();
  }
  if (waiting_.size() > kMostWaiting) {
    failure_ = fmt::format("{} takes longer than the run", server_.url);
  }
  if (end) {
    const auto patience = std::chrono::duration<double>(server_.patience_s);
    if (!changed_.wait_for(lock, patience,
                           [&] { return (waiting_.empty() && !busy_) || !failure_.empty(); })) {
      failure_ = fmt::format("{} has not taken all in {:.0f} s", server_.url, server_.patience_s);
    }
  }
  if (!failure_.empty()) {
    waiting_.clear();
    throw Error(kServer, failure_).hint("metrics.jsonl has all of it");
  }
}

void Mlflow::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty() || (stopping_ && !failure_.empty())) {
      return;
    }
    const Json line = std::move(waiting_.front());
    waiting_.pop_front();
    busy_ = true;
    lock.unlock();
    std::string failure;
    for (int attempt = 0; attempt < 3; ++attempt) {
      try {
        send_line(line);
        failure.clear();
        break;
      } catch (const std::exception& e) {
        failure = e.what();
      }
      lock.lock();  // waits longer each time, and not at all where the run is over
      changed_.wait_for(lock, std::chrono::seconds(1 << attempt), [&] { return stopping_; });
      lock.unlock();
    }
    lock.lock();
    busy_ = false;
    failure_ = failure_.empty() ? failure : failure_;
    changed_.notify_all();
    if (!failure_.empty()) {
      waiting_.clear();
    }
  }
}

Json Mlflow::exchange(HttpRequest request) const {
  request.with_token = false;
  request.silence_seconds = 10;
  request.total_seconds = 30;
  if (!server_.token.empty()) {
    request.headers.push_back("Authorization: Bearer " + server_.token);
  } else if (!server_.user.empty()) {
    request.headers.push_back("Authorization: Basic " +
                              base64(server_.user + ":" + server_.password));
  }
  const HttpResponse response = http_.send(request);
  if (!response.ok()) {
    throw Error(kServer, fmt::format("{} answers {}: {}", request.url, response.status,
                                     response.body.substr(0, 300)));
  }
  return parse_json(response.body, request.url);
}

Json Mlflow::post(const std::string& path, const Json& body) const {
  HttpRequest request;
  request.method = "POST";
  request.url = server_.url + "/api/2.0/mlflow/" + path;
  request.headers = {"Content-Type: application/json"};
  request.body = to_text(body);
  return exchange(std::move(request));
}

void Mlflow::begin(const Json& line) {
  if (run_.empty() && !server_.run_id.empty()) {  // goes on with a run that is there
    run_ = server_.run_id;
    post("runs/update", {{"run_id", run_}, {"status", "RUNNING"}});
    return;
  }
  if (!run_.empty()) {
    return;
  }
  const Json found =
      post("experiments/search",
           {{"filter", fmt::format("name = '{}'", server_.experiment)}, {"max_results", 1}});
  const Json list = found.value("experiments", Json::array());
  const std::string experiment = list.empty()
                                     ? post("experiments/create", {{"name", server_.experiment}})
                                           .at("experiment_id")
                                           .get<std::string>()
                                     : list[0].at("experiment_id").get<std::string>();
  Json tags = Json::array();
  for (const auto& [key, value] : server_.tags.items()) {
    tags.push_back(
        {{"key", key}, {"value", value.is_string() ? value.get<std::string>() : to_text(value)}});
  }
  tags.push_back({{"key", "mlflow.source.name"}, {"value", "sft"}});
  Json body{{"experiment_id", experiment}, {"start_time", milliseconds(line)}, {"tags", tags}};
  if (!server_.run_name.empty()) {
    body["run_name"] = server_.run_name;
  }
  run_ = post("runs/create", body).at("run").at("info").at("run_id").get<std::string>();
  log_params(line.value("config", Json::object()));
}

// What is longer than MLflow takes is cut.
void Mlflow::log_params(const Json& config) {
  Json params = Json::array();
  const auto send = [&] {
    if (!params.empty()) {
      post("runs/log-batch", {{"run_id", run_}, {"params", params}});
      params = Json::array();
    }
  };
  for (const auto& [key, value] : config.items()) {
    const std::string text = value.is_string() ? value.get<std::string>() : to_text(value);
    params.push_back({{"key", name_for(key)}, {"value", text.substr(0, kMostValue)}});
    if (params.size() == kMostParams) {
      send();
    }
  }
  send();
}

void Mlflow::log_metrics(const Json& line) {
  Json metrics = Json::array();
  for (const auto& [name, value] : line.items()) {
    if (value.is_number() && name != "t" && name != "step" && name != "samples" &&
        metrics.size() < kMostMetrics) {
      metrics.push_back({{"key", name_for(name)},
                         {"value", value_for(value.get<double>())},
                         {"timestamp", milliseconds(line)},
                         {"step", line.value("step", int64_t{0})}});
    }
  }
  if (!metrics.empty()) {
    post("runs/log-batch", {{"run_id", run_}, {"metrics", metrics}});
  }
}

void Mlflow::send_line(const Json& line) {
  const std::string kind = line.value("k", "");
  if (kind == "run") {
    begin(line);
  } else if (kind == "end") {
    const std::string status = line.value("status", "");
    post("runs/update", {{"run_id", run_},
                         {"status", status == "done"     ? "FINISHED"
                                    : status == "failed" ? "FAILED"
                                                         : "KILLED"},
                         {"end_time", milliseconds(line)}});
  } else {
    log_metrics(line);
  }
}

std::unique_ptr<Tracker> make_mlflow(const TrainOptions& o, const Variables& variables,
                                     const Logger& log) {
  MlflowServer server;
  server.url = variables("MLFLOW_TRACKING_URI");
  while (server.url.ends_with('/')) {
    server.url.pop_back();
  }
  if (!server.url.starts_with("http://") && !server.url.starts_with("https://")) {
    throw Error(kServer, server.url.empty()
                             ? "MLFLOW_TRACKING_URI is not set"
                             : fmt::format("MLFLOW_TRACKING_URI is {}, wanted the address of a "
                                           "server",
                                           server.url))
        .hint("mlflow server --port 5000 &  export MLFLOW_TRACKING_URI=http://127.0.0.1:5000");
  }
  server.token = variables("MLFLOW_TRACKING_TOKEN");
  server.user = variables("MLFLOW_TRACKING_USERNAME");
  server.password = variables("MLFLOW_TRACKING_PASSWORD");
  server.experiment = variables("MLFLOW_EXPERIMENT_NAME");
  if (server.experiment.empty()) {
    server.experiment = o.project;
  }
  server.run_id = variables("MLFLOW_RUN_ID");
  server.run_name = o.run_name.value_or("");
  if (const std::string tags = variables("MLFLOW_TAGS"); !tags.empty()) {
    server.tags = parse_json(tags, "MLFLOW_TAGS");
  }
  log.note(fmt::format("mlflow: the run goes to {}, experiment {}", server.url, server.experiment));
  return std::make_unique<Mlflow>(std::move(server));
}

}  // namespace sft
