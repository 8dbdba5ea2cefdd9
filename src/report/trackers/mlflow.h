// `--report_to mlflow`: a run on an MLflow server, through its REST interface (/api/2.0/mlflow).
// What a run says is sent by a thread of its own, so that a slow server keeps no step waiting.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/json.h"
#include "hub/http.h"
#include "report/trackers/tracker.h"

namespace sft {

struct MlflowServer {
  std::string url = {};                  // MLFLOW_TRACKING_URI, without a slash at its end
  std::string token = {};                // MLFLOW_TRACKING_TOKEN
  std::string user = {}, password = {};  // or MLFLOW_TRACKING_USERNAME and _PASSWORD
  std::string experiment = {}, run_id = {}, run_name = {};
  Json tags = Json::object();  // MLFLOW_TAGS
  std::string version = {};    // of this program
  double patience_s = 20;      // for what is left at the end
};

class Mlflow final : public Tracker {
 public:
  explicit Mlflow(MlflowServer server);
  ~Mlflow() override;

  std::string name() const override { return "mlflow"; }
  // Throws what the thread has met: the server that cannot be reached, or refuses. At the end of
  // the run waits until all is sent.
  void line(const Json& line) override;

 private:
  void work();
  void send_line(const Json& line);
  Json post(const std::string& path, const Json& body) const;
  Json exchange(HttpRequest request) const;
  void begin(const Json& line);
  void log_params(const Json& config);
  void log_metrics(const Json& line);

  MlflowServer server_;
  HttpClient http_;
  std::string run_;  // the server's id of it

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Json> waiting_;
  std::string failure_;
  bool busy_ = false, stopping_ = false;
  std::thread thread_;  // last: it uses the others
};

// S060 where MLFLOW_TRACKING_URI is no http address: MLflow's own files are its affair.
std::unique_ptr<Tracker> make_mlflow(const TrainOptions& options, const Variables& variables,
                                     const Logger& log);

}  // namespace sft
