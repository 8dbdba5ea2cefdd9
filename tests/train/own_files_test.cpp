// A run in a folder that others have used, the best model, and what a state holds: nothing of
// another run is taken, removed or replaced, and no missing file costs the result.
#include <functional>

#include "core/json.h"
#include "io/checkpoint.h"
#include "io/checkpoint_manifest.h"
#include "small_runs.h"

namespace sft {
namespace {

// The loss falls: with `greater` the first step that is evaluated is the best.
TrainOptions best_run(const fs::path& out, bool greater) {
  TrainOptions o = small_run(out);
  o.optim.lr_scheduler_type = "constant";  // so that a shorter run is the beginning of a longer one
  o.eval_strategy = "steps";
  o.eval_steps = 2;
  o.save_strategy = "steps";
  o.save_steps = 4;
  o.load_best_model_at_end = true;
  o.metric_for_best_model = "loss";
  o.greater_is_better = greater;
  return o;
}

std::vector<float> weights_after(int64_t steps, const Rows& rows) {
  TrainOptions o = small_run(fresh_folder("plain"));
  o.optim.lr_scheduler_type = "constant";
  o.max_steps = steps;
  return run_one(o, rows).weights;
}

std::vector<std::string> checkpoints_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const CheckpointFolder& checkpoint : list_checkpoints(folder)) {
    names.push_back(checkpoint.path.filename().string());
  }
  return names;
}

TEST(BestModel, only_a_step_that_has_a_checkpoint_is_the_best_to_load) {
  const Rows rows(40), eval(6);
  const auto comm = local_communicator();
  const TrainOptions o = best_run(fresh_folder("best"), true);
  const RunResult result = run_rank(o, rows, *comm, {.eval = &eval});
  EXPECT_EQ(result.weights, weights_after(4, rows));
  const fs::path file = fs::path(o.output_dir) / "trainer_state.json";
  const TrainerState state = TrainerState::parse(read_json(file), file);
  EXPECT_EQ(state.best_global_step, 2);  // as in transformers
  EXPECT_EQ(fs::path(*state.best_model_checkpoint).filename(), "checkpoint-4");
}

TEST(BestModel, one_that_is_gone_or_damaged_costs_nothing_but_itself) {
  const Rows rows(40), eval(6);
  const auto comm = local_communicator();
  const std::vector<float> last = weights_after(8, rows);
  const std::vector<std::function<void(const fs::path&)>> harms = {
      [](const fs::path& checkpoint) { fs::remove_all(checkpoint); },
      [](const fs::path& checkpoint) { fs::remove(checkpoint / "manifest.json"); },
      [](const fs::path& checkpoint) {
        fs::resize_file(checkpoint / "optimizer.safetensors", 1000);
      },
      [](const fs::path& checkpoint) {  // another run's
        fs::remove_all(checkpoint);
        CheckpointWriter(checkpoint.parent_path(), 4, "another").commit();
      }};
  for (size_t i = 0; i < harms.size(); ++i) {
    const TrainOptions o = best_run(fresh_folder("gone"), true);
    const fs::path best = fs::path(o.output_dir) / "checkpoint-4";
    const auto harm = [&](int64_t done) {
      for (int wait = 0; done == 7 && !fs::exists(best) && wait < 10000; ++wait) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      if (done == 7) {
        harms[i](best);
      }
    };
    const RunResult result = run_rank(o, rows, *comm, {.eval = &eval, .stepped = harm});
    EXPECT_EQ(result.outcome.steps, 8);
    EXPECT_EQ(result.weights, last) << "harm " << i;
  }
}

// The output_dir is another one: its steps have no checkpoints here.
TEST(BestModel, of_a_run_that_moved_the_best_is_one_of_those_saved_since) {
  const Rows rows(40), eval(6);
  const auto comm = local_communicator();
  TrainOptions o = best_run(fresh_folder("first"), true);
  const RunResult first = run_rank(o, rows, *comm, {.stop_at = 4, .eval = &eval});
  o.output_dir = fresh_folder("second").string();
  const RunResult second =
      run_rank(o, rows, *comm, {.resume_from = first.outcome.last_checkpoint, .eval = &eval});
  EXPECT_EQ(second.weights, weights_after(8, rows));
  EXPECT_EQ(checkpoints_in(o.output_dir), (std::vector<std::string>{"checkpoint-8"}));
}

TEST(BestModel, ranks_load_the_same) {
  const Rows rows(40), eval(6);
  TrainOptions o = best_run(fresh_folder("ranks"), true);
  o.per_device_train_batch_size = 2;
  for (const bool gone : {false, true}) {
    o.output_dir = fresh_folder("ranks").string();
    RunSetup setup{.eval = &eval};
    setup.stepped = [&](int64_t done) {
      const fs::path best = fs::path(o.output_dir) / "checkpoint-4";
      for (int wait = 0; gone && done == 7 && !fs::exists(best) && wait < 10000; ++wait) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      if (gone && done == 7) {
        fs::remove_all(best);
      }
    };
    const std::vector<RunResult> results = run_ranks(2, o, rows, setup);
    EXPECT_EQ(results[0].weights, results[1].weights);
    EXPECT_LT(relative_distance(results[0].weights, weights_after(gone ? 8 : 4, rows)), 1e-5);
  }
}

TEST(OwnFiles, a_used_output_dir_loses_nothing_and_lends_nothing) {
  const Rows rows(40), eval(6);
  const auto comm = local_communicator();
  TrainOptions o = best_run(fresh_folder("used"), false);
  const fs::path out = o.output_dir;
  o.save_steps = 2;
  o.max_steps = 12;
  run_rank(o, rows, *comm, {.run = "first", .eval = &eval});
  ASSERT_EQ(checkpoints_in(out).size(), 6U);
  o.optim.learning_rate = 3e-3;
  o.max_steps = 8;
  o.save_steps = 4;
  o.save_total_limit = 1;
  const RunResult used = run_rank(o, rows, *comm, {.run = "second", .eval = &eval});
  for (const char* name : {"checkpoint-2", "checkpoint-4.of-first", "checkpoint-6",
                           "checkpoint-8.of-first", "checkpoint-10", "checkpoint-12"}) {
    EXPECT_NO_THROW(verify_checkpoint(out / name)) << name;
    EXPECT_EQ(origin_of(out / name).run, "first") << name;
  }
  EXPECT_EQ(origin_of(out / "checkpoint-8").run, "second");
  EXPECT_FALSE(fs::exists(out / "checkpoint-4"));  // its own, rotated away
  o.output_dir = fresh_folder("fresh").string();
  EXPECT_EQ(used.weights, run_rank(o, rows, *comm, {.eval = &eval}).weights);
}

TEST(OwnFiles, a_resumed_run_keeps_its_id_and_rotates_what_it_saved_before) {
  const Rows rows(40);
  const auto comm = local_communicator();
  TrainOptions o = small_run(fresh_folder("id"));
  o.save_strategy = "steps";
  o.save_steps = 2;
  o.save_total_limit = 1;
  const RunResult first = run_rank(o, rows, *comm, {.run = "first", .stop_at = 4});
  EXPECT_EQ(origin_of(first.outcome.last_checkpoint).run, "first");
  run_rank(o, rows, *comm, {.run = "unused", .resume_from = first.outcome.last_checkpoint});
  EXPECT_EQ(checkpoints_in(o.output_dir), (std::vector<std::string>{"checkpoint-8"}));
  EXPECT_EQ(origin_of(fs::path(o.output_dir) / "checkpoint-8").run, "first");
}

// Values that may be missing; everything else in a state is there.
void expect_numbers(const Json& value, const std::string& name) {
  const bool optional = name == "best_metric" || name == "best_saved" || name == "scaler" ||
                        name == "plateau" || name == "greedy" || name == "random" ||
                        name == "best" || name.find("--") != std::string::npos ||
                        name.find("config.json") != std::string::npos;
  EXPECT_TRUE(optional || !value.is_null()) << name << " is no number";
  for (const auto& [key, inner] : value.items()) {
    if (value.is_object()) {
      expect_numbers(inner, key);
    }
  }
}

// The first update destroys the weights: from then on every loss and metric is no number.
TEST(State, holds_numbers_only_and_goes_on_after_steps_that_were_skipped) {
  const Rows rows(40), eval(6);
  const auto comm = local_communicator();
  TrainOptions o = best_run(fresh_folder("nan"), false);
  o.optim.learning_rate = 1e30;
  o.eval_steps = o.save_steps = 1;
  o.logging_steps = 10;  // the interval's sums go into the checkpoint
  const RunResult result = run_rank(o, rows, *comm, {.stop_at = 2, .eval = &eval});
  ASSERT_EQ(result.outcome.stopped_by, SIGTERM);
  for (const int step : {1, 2}) {
    const fs::path checkpoint = fs::path(o.output_dir) / fmt::format("checkpoint-{}", step);
    const Json state = read_json(checkpoint / "sft_state.json");
    EXPECT_EQ(state["skipped"], step - 1);
    EXPECT_TRUE(state["best_metric"].is_null()) << "what is no number is the best";
    EXPECT_TRUE(state["best_saved"].is_null());
    expect_numbers(state, "");
    try {
      run_rank(o, rows, *comm, {.resume_from = checkpoint.string(), .eval = &eval});
      ADD_FAILURE() << "three steps in a row were skipped and the run went on";
    } catch (const Error& e) {
      EXPECT_EQ(e.code().text(), "X010") << e.message();
    }
  }
}

TEST(State, a_run_whose_metrics_are_no_numbers_ends_with_its_model) {
  const Rows rows(40), eval(6);
  const auto comm = local_communicator();
  TrainOptions o = best_run(fresh_folder("nan"), false);
  o.optim.learning_rate = 1e30;
  o.max_steps = 2;
  o.eval_steps = o.save_steps = 1;
  bool trained = false;
  const RunResult result =
      run_rank(o, rows, *comm, {.eval = &eval, .trained = [&] { trained = true; }});
  EXPECT_TRUE(trained);
  EXPECT_EQ(result.outcome.steps, 2);
}

// Two epochs of 20 rows. Stopped after 12 rows, and gone on with other batches.
TEST(Resuming, with_other_batches_counts_the_rows_and_not_the_steps) {
  const Rows rows(20);
  const auto comm = local_communicator();
  TrainOptions o = small_run(fresh_folder("rows"));
  o.max_steps = -1;
  o.num_train_epochs = 2;
  o.save_strategy = "steps";
  o.save_steps = 100;
  const RunResult first = run_rank(o, rows, *comm, {.stop_at = 3});
  o.resume_with_changes = true;
  const auto go_on = [&](int64_t batch, int64_t accumulation, const Rows& data) {
    o.per_device_train_batch_size = batch;
    o.gradient_accumulation_steps = accumulation;
    o.output_dir = fresh_folder("rows_on").string();
    return run_rank(o, data, *comm, {.resume_from = first.outcome.last_checkpoint});
  };
  EXPECT_EQ(go_on(2, 1, rows).outcome.steps, 3 + 4 + 10);
  EXPECT_EQ(go_on(3, 1, rows).outcome.steps, 3 + 3 + 7);
  EXPECT_EQ(go_on(3, 2, rows).outcome.steps, 3 + 2 + 4);
  EXPECT_EQ(go_on(2, 2, rows).outcome.steps, 3 + 2 + 5);  // the same steps, cut otherwise
  EXPECT_EQ(go_on(4, 1, Rows(10)).outcome.steps, 3 + 3);  // this epoch is over
  EXPECT_EQ(go_on(4, 1, Rows(30)).outcome.steps, 3 + 5 + 8);
}

TEST(Resuming, a_run_that_went_on_with_other_batches_is_a_run_like_any_other) {
  const Rows rows(21);
  const auto comm = local_communicator();
  TrainOptions o = small_run(fresh_folder("other"));
  o.max_steps = -1;
  o.num_train_epochs = 2;
  o.save_strategy = "steps";
  o.save_steps = 100;
  o.optim.lr_scheduler_type = "cosine";
  const RunResult first = run_rank(o, rows, *comm, {.stop_at = 2});
  o.per_device_train_batch_size = 3;
  o.resume_with_changes = true;
  o.output_dir = fresh_folder("other_whole").string();
  const RunResult whole = run_rank(o, rows, *comm, {.resume_from = first.outcome.last_checkpoint});
  o.output_dir = fresh_folder("other_half").string();
  const RunResult half =
      run_rank(o, rows, *comm, {.resume_from = first.outcome.last_checkpoint, .stop_at = 5});
  o.resume_with_changes = false;  // nothing has changed since
  const RunResult rest = run_rank(o, rows, *comm, {.resume_from = half.outcome.last_checkpoint});
  EXPECT_EQ(whole.weights, rest.weights);
  EXPECT_EQ(without_times(whole.log), without_times(rest.log));
  EXPECT_EQ(whole.outcome.steps, 2 + 5 + 7);
}

}  // namespace
}  // namespace sft
