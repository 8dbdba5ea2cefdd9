// Tells Kubeflow Trainer's status server how far a TrainJob's run is, where the controller has put
// the server's variables into the pod. Nothing that happens there ever reaches the run.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "core/json.h"

namespace sft {

struct KubeflowServer {
  std::string url;         // KUBEFLOW_TRAINER_SERVER_URL
  std::string ca_file;     // KUBEFLOW_TRAINER_SERVER_CA_CERT
  std::string token_file;  // KUBEFLOW_TRAINER_SERVER_TOKEN; read anew for each post, it is renewed
  double seconds_between = 5;
};

class KubeflowStatus {
 public:
  // Starts the thread that posts. `version` is for the user agent.
  KubeflowStatus(KubeflowServer server, const std::string& version);
  // Posts what is still to be said, and waits for it for five seconds at most.
  ~KubeflowStatus();

  // Null without the server's variable, or with DISABLE_KUBEFLOW_INTEGRATION=TRUE.
  static std::unique_ptr<KubeflowStatus> from(
      const std::function<std::string(const char*)>& variable, const std::string& version);

  void step(int64_t done, int64_t total);
  void line(const Json& line);  // of metrics.jsonl

 private:
  struct Poster;
  void say(bool now);

  std::mutex mutex_;
  Json values_ = Json::object();  // the last log line's numbers
  int64_t done_ = 0, total_ = 0, first_done_ = 0;
  double began_ = 0;
  bool ended_ = false;
  std::unique_ptr<Poster> poster_;
};

// The body of a post. `remaining` below 0: not known. RFC 3339 time.
std::string kubeflow_body(int percent, double remaining, const Json& metrics, double unix_seconds);

}  // namespace sft
