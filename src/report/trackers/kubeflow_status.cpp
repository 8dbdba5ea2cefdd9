#include "report/trackers/kubeflow_status.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>

#include "core/file.h"
#include "core/strings.h"
#include "hub/http.h"

namespace sft {
namespace {

using Clock = std::chrono::steady_clock;

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

HubEnvironment surroundings(const KubeflowServer& server, const std::string& version) {
  HubEnvironment e;
  e.endpoint = server.url;
  e.implicit_token = false;
  e.ca_file = server.ca_file;
  e.user_agent = "sft/" + version;
  return e;
}

}  // namespace

// The thread. Only the newest body is kept: what is old when its turn comes is not worth sending.
struct KubeflowStatus::Poster {
  Poster(KubeflowServer s, const std::string& version)
      : server(std::move(s)), http(surroundings(server, version)), thread([this] { run(); }) {}

  ~Poster() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    thread.join();
  }

  void give(std::string body, bool now) {
    {
      const std::lock_guard lock(mutex);
      waiting = std::move(body);
      at_once = at_once || now;
    }
    changed.notify_all();
  }

  void run() {
    Clock::time_point last = Clock::now() - std::chrono::hours(1);
    std::unique_lock lock(mutex);
    while (true) {
      const auto next = last + std::chrono::duration_cast<Clock::duration>(
                                   std::chrono::duration<double>(server.seconds_between));
      changed.wait(lock, [&] { return stopping || !waiting.empty(); });
      if (!stopping && !at_once) {
        changed.wait_until(lock, next, [&] { return stopping || at_once; });
      }
      if (waiting.empty()) {
        return;  // stopping, and all is said
      }
      const std::string body = std::exchange(waiting, {});
      at_once = false;
      lock.unlock();
      post(body);
      last = Clock::now();
      lock.lock();
    }
  }

  void post(const std::string& body) const {
    try {
      HttpRequest request;
      request.method = "POST";
      request.url = server.url;
      request.headers = {"Content-Type: application/json"};
      const std::string token(trim(read_text(server.token_file)));
      request.headers.push_back("Authorization: Bearer " + token);
      request.body = body;
      request.with_token = false;
      request.silence_seconds = 5;
      request.total_seconds = 5;
      http.send(request);
    } catch (const std::exception&) {  // the next one may come through; the run does not care
    }
  }

  KubeflowServer server;
  HttpClient http;
  std::mutex mutex;
  std::condition_variable changed;
  std::string waiting;
  bool at_once = false, stopping = false;
  std::thread thread;  // last: it uses the others
};

std::string kubeflow_body(int percent, double remaining, const Json& metrics, double unix_seconds) {
  Json status{{"progressPercentage", std::clamp(percent, 0, 100)}};
  if (remaining >= 0 && std::isfinite(remaining)) {
    status["estimatedRemainingSeconds"] = static_cast<int64_t>(remaining);
  }
  if (!metrics.empty()) {
    status["metrics"] = Json::array();
    for (const auto& [name, value] : metrics.items()) {
      status["metrics"].push_back(
          {{"name", name},
           {"value", value.is_number_integer() ? fmt::format("{}", value.get<int64_t>())
                                               : fmt::format("{}", value.get<double>())}});
    }
  }
  status["lastUpdatedTime"] =
      fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(unix_seconds)));
  return to_text(Json{{"trainerStatus", status}});
}

KubeflowStatus::KubeflowStatus(KubeflowServer server, const std::string& version)
    : began_(unix_now()), poster_(std::make_unique<Poster>(std::move(server), version)) {}

KubeflowStatus::~KubeflowStatus() = default;

std::unique_ptr<KubeflowStatus> KubeflowStatus::from(
    const std::function<std::string(const char*)>& variable, const std::string& version) {
  KubeflowServer server{variable("KUBEFLOW_TRAINER_SERVER_URL"),
                        variable("KUBEFLOW_TRAINER_SERVER_CA_CERT"),
                        variable("KUBEFLOW_TRAINER_SERVER_TOKEN")};
  if (server.url.empty() || to_lower(variable("DISABLE_KUBEFLOW_INTEGRATION")) == "true") {
    return nullptr;
  }
  try {
    return std::make_unique<KubeflowStatus>(std::move(server), version);
  } catch (const std::exception&) {  // no libcurl, say
    return nullptr;
  }
}

void KubeflowStatus::step(int64_t done, int64_t total) {
  const std::lock_guard lock(mutex_);
  done_ = done;
  total_ = total;
  say(false);
}

void KubeflowStatus::line(const Json& line) {
  const std::lock_guard lock(mutex_);
  const std::string kind = line.value("k", "");
  if (kind == "run") {  // a resumed run's time a step is that of its own steps
    first_done_ = line.value("step", int64_t{0});
    began_ = unix_now();
    say(true);
  } else if (kind == "log" || kind == "eval" || kind == "finish") {
    for (const auto& [name, value] : line.items()) {
      if (value.is_number() && name != "t" && name != "step") {
        values_[name] = value;
      }
    }
  } else if (kind == "end") {
    ended_ = line.value("status", "") == "done";
    say(true);
  }
}

void KubeflowStatus::say(bool now) {
  Json metrics = values_;
  if (total_ > 0) {
    metrics["current_step"] = done_;
    metrics["total_steps"] = total_;
  }
  const double share = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 0.0;
  const double spent = unix_now() - began_;
  const int64_t own = done_ - first_done_;
  const double remaining =
      ended_    ? 0
      : own > 0 ? spent / static_cast<double>(own) * static_cast<double>(total_ - done_)
                : -1;
  // 100 means that the model is saved, too.
  const int percent = ended_ ? 100 : std::min(99, static_cast<int>(share * 100));
  poster_->give(kubeflow_body(percent, remaining, metrics, unix_now()), now);
}

}  // namespace sft
