// Short runs of the tiny models of tests/model/golden, on one rank or on several that are threads.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/rng.h"
#include "formats/convert.h"
#include "run/open_run.h"
#include "support/paths.h"
#include "support/staged_communicator.h"

namespace sft {

inline const fs::path kModel = fs::path(SFT_TEST_DIR) / "model" / "golden" / "qwen2";

// Random rows of 5 to 40 tokens; every third token is not trained.
class Rows : public PreparedDataset {
 public:
  explicit Rows(int64_t count, int32_t vocab = 128) {
    for (int64_t i = 0; i < count; ++i) {
      Example e;
      const auto row = static_cast<uint64_t>(i);
      const int64_t n = 5 + philox(1, row, 0)[0] % 36;
      for (int64_t t = 0; t < n; ++t) {
        const auto id = static_cast<int32_t>(philox(2, row, static_cast<uint64_t>(t))[0] %
                                             static_cast<uint32_t>(vocab));
        e.input_ids.push_back(id);
        e.labels.push_back(t % 3 == 0 ? kIgnored : id);
      }
      rows_.push_back(e);
    }
  }
  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  Example example(int64_t i) const override { return rows_[static_cast<size_t>(i)]; }
  int64_t length(int64_t i) const override {
    return static_cast<int64_t>(rows_[static_cast<size_t>(i)].input_ids.size());
  }

 private:
  std::vector<Example> rows_;
};

inline TrainOptions small_run(const fs::path& out) {
  TrainOptions o;
  o.output_dir = out.string();
  o.max_steps = 8;
  o.per_device_train_batch_size = 4;
  o.logging_steps = 1;
  o.save_strategy = "no";
  o.optim.learning_rate = 1e-3;
  o.optim.weight_decay = 0.1;
  return o;
}

// Tests run side by side as processes.
inline fs::path fresh_folder(const std::string& name) {
  const fs::path folder =
      fs::path(::testing::TempDir()) / fmt::format("sft_train_{}_{}", ::getpid(), name);
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

struct RunResult {
  std::vector<float> weights;  // on ranks that have them all
  Json log;
  TrainOutcome outcome;
};

// A log's lines with their keys in one order, to be compared.
inline nlohmann::json without_times(const Json& log) {
  nlohmann::json out = log;
  for (nlohmann::json& line : out) {
    for (const char* key :
         {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "train_runtime",
          "train_samples_per_second", "train_steps_per_second"}) {
      line.erase(key);
    }
  }
  return out;
}

// How one rank runs, beside its options.
struct RunSetup {
  std::string run = "0123456789abcdef";  // its id
  std::string resume_from{};
  int64_t stop_at = -1;             // the stop signal is raised after that step, or
  int64_t stop_at_eval_batch = -1;  // after that batch of all evaluations, on the last rank
  const PreparedDataset* eval = nullptr;
  int threads = 1;
  bool gpu = false;
  bool copy_engines = false;                    // between ranks with a GPU each
  std::function<void()> exporting{};            // called while a model is written
  std::function<void(int64_t done)> stepped{};  // called by rank 0 after each step
  std::function<void()> trained{};              // see Trainer::run
  std::function<void(ParamSpec&)> arrange{};    // what is not trained, and how it is kept
  fs::path cache{};   // of what a GPU's products chose, so that the next run chooses the same
  fs::path random{};  // the config.json of a model with random weights, instead of the tiny one
};

inline std::vector<float> values_of(std::span<const StreamedTensor> tensors) {
  std::vector<float> out;
  for (const StreamedTensor& t : tensors) {
    const auto n = static_cast<size_t>(t.shape.elements());
    std::vector<std::byte> stored(n * size_of(t.dtype));
    t.fill(0, stored);
    out.resize(out.size() + n);
    convert_to_f32(t.dtype, stored.data(), t.shape.elements(), out.data() + out.size() - n);
  }
  return out;
}

inline void arrange(Model& model, const std::function<void(ParamSpec&)>& each) {
  std::vector<ParamSpec> specs = model.family->parameters(model.config);
  for (ParamSpec& spec : specs) {
    each(spec);
  }
  model.set_parameters(specs);
}

inline RunResult run_rank(TrainOptions o, const PreparedDataset& rows, Communicator& host,
                          const RunSetup& setup = {}) {
  o.use_cpu = !setup.gpu;
  o.threads = setup.threads;
  if (!o.model.model_name_or_path) {
    o.model.model_name_or_path = kModel.string();
  }
  if (!setup.resume_from.empty()) {
    o.resume_from_checkpoint = setup.resume_from;
  }
  std::unique_ptr<Communicator> staged;  // between ranks with a GPU each, or all on one
  RunParts parts{.train = &rows, .eval = setup.eval, .config = setup.random, .id = setup.run};
  parts.ranks = [&](Device& device) -> Communicator& {
    if (!setup.gpu || host.size() == 1) {
      return host;
    }
    staged = std::make_unique<StagedCommunicator>(device, host);
    if (setup.copy_engines) {
      staged = copying_communicator(device, std::move(staged));
    }
    return *staged;
  };
  if (setup.arrange) {
    parts.adapt = [&](Model& shape) { arrange(shape, setup.arrange); };
  }
  const Logger quiet;
  const HubEnvironment no_hub;
  std::atomic<int> stop{0};
  RunSurroundings surroundings{quiet, no_hub, &stop};
  if (!setup.cache.empty()) {
    surroundings.environment = Environment({{"SFT_CACHE", setup.cache.string()}});
  }
  surroundings.launch.rank = host.rank();
  surroundings.launch.world = host.size();
  surroundings.launch.local_rank = setup.copy_engines ? host.rank() : 0;
  OpenRun run(o, surroundings, Outputs::checked, std::move(parts));
  std::optional<RunLog> log;
  if (run.first()) {
    log.emplace(RunLog::Setup{o.output_dir, {}, [] { return 0.0; }, {}});
  }
  TrainerHooks hooks;
  hooks.export_model = [&](const fs::path&, const TrainedModel&, ThreadPool*) {
    if (setup.exporting) {
      setup.exporting();
    }
    return SaveReport{};
  };
  hooks.on_step = [&](int64_t done, int64_t, std::string_view) {
    if (setup.stepped && run.first()) {
      setup.stepped(done);
    }
    if (done == setup.stop_at) {
      stop = SIGTERM;
    }
  };
  int64_t eval_batches = 0;
  hooks.on_eval_batch = [&](int64_t, int64_t) {
    if (++eval_batches == setup.stop_at_eval_batch && host.rank() == host.size() - 1) {
      stop = SIGTERM;
    }
  };
  const auto trainer = run.trainer(log ? &*log : nullptr, hooks);
  if (log) {
    log->start(trainer->run_id(), Json::object(), setup.resume_from);
  }
  RunResult result;
  result.outcome = trainer->run(setup.trained);
  result.weights = values_of(trainer->weights().tensors);
  if (log) {
    result.log = log->state().log_history;
  }
  return result;
}

inline RunResult run_one(const TrainOptions& o, const PreparedDataset& rows,
                         const RunSetup& setup = {}) {
  const auto comm = local_communicator();
  return run_rank(o, rows, *comm, setup);
}

// What is computed again, and what waits in the host's memory, changes no bit. With SFT_TEST_CUDA
// on the GPU.
inline void expect_same_under_every_policy(TrainOptions o) {
  const Rows rows(40);
  const auto comm = local_communicator();
  const bool gpu = std::getenv("SFT_TEST_CUDA") != nullptr;
  const fs::path cache = fresh_folder("choices");
  const auto run = [&](const char* policy, bool offloaded) {
    o.gradient_checkpointing = policy;
    o.activation_offloading = offloaded;
    return run_rank(o, rows, *comm, {.gpu = gpu, .cache = cache}).weights;
  };
  const std::vector<float> kept = run("none", false);
  for (const char* policy : {"norms", "mlp", "block"}) {
    EXPECT_EQ(kept, run(policy, false)) << policy;
  }
  for (const char* policy : {"none", "block"}) {
    EXPECT_EQ(kept, run(policy, true)) << policy << ", offloaded";
  }
}

// Every rank's result; an error of one is thrown when all have ended.
inline std::vector<RunResult> run_ranks(int ranks, const TrainOptions& o,
                                        const PreparedDataset& rows, const RunSetup& setup = {},
                                        std::vector<std::unique_ptr<Communicator>> comms = {}) {
  if (comms.empty()) {
    comms = thread_communicators(ranks);
  }
  std::vector<RunResult> results(static_cast<size_t>(ranks));
  std::vector<std::exception_ptr> errors(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < comms.size(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        results[rank] = run_rank(o, rows, *comms[rank], setup);
      } catch (...) {
        errors[rank] = std::current_exception();
        comms[rank].reset();
      }
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  for (const std::exception_ptr& error : errors) {
    if (error) {
      std::rethrow_exception(error);
    }
  }
  return results;
}

inline double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (a[i] - b[i]) * (a[i] - b[i]);
    norm += a[i] * a[i];
  }
  return std::sqrt(error / norm);
}

inline void expect_same_steps(const Json& a, const Json& b, double tolerance) {
  size_t compared = 0;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (!a[i].contains("loss")) {
      continue;
    }
    EXPECT_NEAR(a[i]["loss"].get<double>(), b[i]["loss"].get<double>(), tolerance) << i;
    EXPECT_NEAR(a[i]["grad_norm"].get<double>(), b[i]["grad_norm"].get<double>(), 100 * tolerance);
    EXPECT_EQ(a[i]["num_tokens"], b[i]["num_tokens"]);
    EXPECT_EQ(a[i]["learning_rate"], b[i]["learning_rate"]);
    EXPECT_NEAR(a[i]["mean_token_accuracy"].get<double>(),
                b[i]["mean_token_accuracy"].get<double>(), 1e-6);
    ++compared;
  }
  EXPECT_GT(compared, 0U);
}

}  // namespace sft
