// What must not change a run: the number of ranks, where it was stopped and resumed, recompute, and
// how a batch is cut into accumulated pieces. With the tiny models of tests/model/golden.
#include "train/trainer.h"

#include <cstdlib>

#include "core/file_writer.h"
#include "optim/optimizers.h"
#include "small_runs.h"
#include "train/bad_numbers.h"

namespace sft {
namespace {

TEST(Trainer, two_ranks_as_threads_train_as_one) {
  const Rows rows(40);
  TrainOptions one = small_run(fresh_folder("one"));
  const RunResult single = run_one(one, rows);
  // Two ranks of two rows each see the four rows of one rank's batch.
  TrainOptions two = small_run(fresh_folder("two"));
  two.per_device_train_batch_size = 2;
  const std::vector<RunResult> results = run_ranks(2, two, rows);
  EXPECT_EQ(results[0].weights, results[1].weights) << "ranks drift apart";
  EXPECT_LT(relative_distance(single.weights, results[0].weights), 1e-5);
  expect_same_steps(single.log, results[0].log, 2e-6);
}

TEST(Trainer, accumulation_equals_one_large_batch) {
  const Rows rows(40);
  const RunResult large = run_one(small_run(fresh_folder("large")), rows);
  TrainOptions o = small_run(fresh_folder("accumulated"));
  o.per_device_train_batch_size = 1;
  o.gradient_accumulation_steps = 4;
  const RunResult accumulated = run_one(o, rows);
  EXPECT_LT(relative_distance(large.weights, accumulated.weights), 1e-5);
  for (size_t i = 0; i < large.log.size(); ++i) {
    if (large.log[i].contains("loss")) {
      EXPECT_NEAR(large.log[i]["loss"].get<double>(), accumulated.log[i]["loss"].get<double>(),
                  2e-6);
    }
  }
}

// With SFT_TEST_CUDA on the GPU, in bfloat16, and with activations offloaded too.
TEST(Trainer, recompute_changes_no_bit) {
  const bool gpu = std::getenv("SFT_TEST_CUDA") != nullptr;
  const Rows rows(40);
  const auto run = [&](const char* policy, bool offload) {
    TrainOptions o = small_run(fresh_folder("recompute"));
    o.gradient_checkpointing = policy;
    o.activation_offloading = offload;
    const auto comm = local_communicator();
    return run_rank(o, rows, *comm, {.gpu = gpu}).weights;
  };
  const std::vector<float> plain = run("none", false);
  for (const char* policy : {"norms", "mlp", "block", "auto"}) {
    EXPECT_EQ(plain, run(policy, false)) << policy;
  }
  for (const char* policy : {"none", "block"}) {
    EXPECT_EQ(plain, run(policy, true)) << policy;
  }
}

TEST(Trainer, the_same_run_twice_gives_the_same_bits) {
  const Rows rows(40);
  const auto comm = local_communicator();
  TrainOptions o = small_run(fresh_folder("twice"));
  EXPECT_EQ(run_rank(o, rows, *comm, {.threads = 2}).weights,
            run_rank(o, rows, *comm, {.threads = 2}).weights);
}

TEST(Trainer, stopping_and_resuming_changes_no_bit) {
  const Rows rows(13);  // epochs end inside the run
  const Rows eval(5);
  const auto comm = local_communicator();
  for (const int64_t stop_at : {1, 3, 5}) {
    TrainOptions o = small_run(fresh_folder("whole"));
    o.gradient_accumulation_steps = 2;
    o.logging_steps = 2;  // a log line covers steps from both sides of the stop
    o.eval_strategy = "steps";
    o.eval_steps = 3;
    o.optim.lr_scheduler_type = "cosine";
    o.optim.warmup_steps = 2;
    const RunResult whole = run_rank(o, rows, *comm, {.eval = &eval});
    o.output_dir = fresh_folder("halves").string();
    o.save_strategy = "steps";
    o.save_steps = 100;
    const RunResult first = run_rank(o, rows, *comm, {.stop_at = stop_at, .eval = &eval});
    EXPECT_EQ(first.outcome.stopped_by, SIGTERM);
    ASSERT_EQ(fs::path(first.outcome.last_checkpoint).filename(),
              fmt::format("checkpoint-{}", stop_at));
    const RunResult second =
        run_rank(o, rows, *comm, {.resume_from = first.outcome.last_checkpoint, .eval = &eval});
    EXPECT_EQ(whole.weights, second.weights);
    EXPECT_EQ(without_times(whole.log), without_times(second.log));
  }
}

// An evaluation may take longer than those who send SIGTERM wait.
TEST(Trainer, a_stop_breaks_an_evaluation_off_which_is_made_when_the_run_goes_on) {
  const Rows rows(40), eval(12);  // three batches an evaluation
  for (const int ranks : {1, 2}) {
    for (const int64_t batch : {1, 2, 4}) {
      SCOPED_TRACE(fmt::format("{} ranks, batch {}", ranks, batch));
      TrainOptions o = small_run(fresh_folder("whole"));
      o.per_device_train_batch_size = 4 / ranks;
      o.per_device_eval_batch_size = 4 / ranks;
      o.max_steps = 6;
      o.eval_strategy = "steps";
      o.eval_steps = 3;
      o.optim.lr_scheduler_type = "reduce_lr_on_plateau";  // what is evaluated changes the rate
      o.optim.lr_scheduler_kwargs = {{"patience", 0}, {"threshold", 1.0}};
      o.metric_for_best_model = "loss";
      const RunResult whole = run_ranks(ranks, o, rows, {.eval = &eval})[0];
      o.output_dir = fresh_folder("halves").string();
      o.save_strategy = "steps";
      o.save_steps = 100;
      const RunResult first =
          run_ranks(ranks, o, rows, {.stop_at_eval_batch = batch, .eval = &eval})[0];
      EXPECT_EQ(first.outcome.stopped_by, SIGTERM);
      EXPECT_EQ(first.outcome.steps, batch < 3 ? 3 : 6);
      EXPECT_EQ(fs::path(first.outcome.last_checkpoint).filename(),
                fmt::format("checkpoint-{}", first.outcome.steps));
      EXPECT_EQ(std::ranges::count_if(first.log,
                                      [](const Json& line) { return line.contains("eval_loss"); }),
                batch < 3 ? 0 : 1);
      const RunResult second = run_ranks(
          ranks, o, rows, {.resume_from = first.outcome.last_checkpoint, .eval = &eval})[0];
      EXPECT_EQ(second.outcome.stopped_by, 0);
      EXPECT_EQ(whole.weights, second.weights);
      EXPECT_EQ(without_times(whole.log), without_times(second.log));
    }
  }
}

TEST(Trainer, an_evaluation_that_is_left_needs_its_data) {
  const Rows rows(40), eval(12);
  const auto comm = local_communicator();
  TrainOptions o = small_run(fresh_folder("left"));
  o.per_device_eval_batch_size = 4;
  o.eval_strategy = "steps";
  o.eval_steps = 3;
  o.save_strategy = "steps";
  o.save_steps = 100;
  const RunResult first = run_rank(o, rows, *comm, {.stop_at_eval_batch = 1, .eval = &eval});
  o.eval_strategy = "no";
  bool trained = false;
  const RunResult second =
      run_rank(o, rows, *comm,
               {.resume_from = first.outcome.last_checkpoint, .trained = [&] { trained = true; }});
  EXPECT_EQ(second.outcome.steps, 8);
  EXPECT_TRUE(trained);  // the run is over, not stopped
}

// The weights before the first step are no checkpoint's.
TEST(Trainer, an_evaluation_at_the_start_is_never_the_best) {
  const Rows rows(40), eval(12);
  const auto comm = local_communicator();
  TrainOptions o = small_run(fresh_folder("start"));
  o.optim.learning_rate = 0.5;  // every step is worse than none
  o.eval_on_start = true;
  o.eval_strategy = o.save_strategy = "steps";
  o.eval_steps = o.save_steps = 4;
  o.load_best_model_at_end = true;
  o.metric_for_best_model = "loss";
  const RunResult run = run_rank(o, rows, *comm, {.eval = &eval});
  EXPECT_EQ(run.outcome.steps, 8);
  for (const Json& line : run.log) {
    EXPECT_GE(line.value("eval_loss", 1e9), run.log[0]["eval_loss"].get<double>());
  }
}

TEST(Trainer, every_format_of_the_state_resumes_without_a_changed_bit) {
  const Rows rows(40);
  const auto comm = local_communicator();
  for (const auto& [optim, dtype] :
       {std::pair("adamw_8bit", "float32"), std::pair("adamw_bf16", "float32"),
        std::pair("adamw_8bit", "bfloat16"), std::pair("adamw_bf16", "bfloat16")}) {
    SCOPED_TRACE(fmt::format("{} {}", optim, dtype));
    const fs::path out = fresh_folder(fmt::format("{}_{}", optim, dtype));
    TrainOptions o = small_run(out);
    o.optim.optim = optim;
    o.model.dtype = dtype;
    const RunResult whole = run_rank(o, rows, *comm);
    o.save_strategy = "steps";
    o.save_steps = 3;
    const RunResult first = run_rank(o, rows, *comm, {.stop_at = 3});
    const RunResult rest =
        run_rank(o, rows, *comm, {.resume_from = (out / "checkpoint-3").string()});
    EXPECT_EQ(whole.weights, rest.weights);
    EXPECT_NE(first.weights, rest.weights);
    if (optim != std::string("adamw_bf16")) {
      continue;  // tensors this small are in float32 in both
    }
    o.optim.optim = "adamw_torch";
    o.resume_with_changes = true;  // C063 without
    try {
      run_rank(o, rows, *comm, {.resume_from = (out / "checkpoint-3").string()});
      ADD_FAILURE() << "another format was read";
    } catch (const Error& e) {
      EXPECT_EQ(e.code().text(), "M264");
    }
  }
}

// A model whose matrices are large enough for 8-bit blocks. With SFT_TEST_CUDA on the GPU.
// SGD reads the weights of AdamW's checkpoint, and its moments would be dropped without a word.
TEST(Trainer, tensors_that_nobody_reads_are_refused) {
  const Rows rows(40);
  const auto comm = local_communicator();
  TrainOptions o = small_run(fresh_folder("unread"));
  o.save_strategy = "steps";
  o.save_steps = 3;
  run_rank(o, rows, *comm, {.stop_at = 3});
  o.optim.optim = "sgd";
  o.resume_with_changes = true;
  try {
    run_rank(o, rows, *comm, {.resume_from = o.output_dir + "/checkpoint-3"});
    ADD_FAILURE() << "AdamW's moments were dropped";
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "M264");
    EXPECT_NE(e.message().find("exp_avg"), std::string::npos) << e.message();
  }
}

TEST(Trainer, eight_bit_blocks_train_like_float32_and_resume_without_a_changed_bit) {
  const bool gpu = std::getenv("SFT_TEST_CUDA") != nullptr;
  const fs::path out = fresh_folder("blocks");
  Json shape = read_json(kModel / "config.json");
  shape["hidden_size"] = 64;
  shape["intermediate_size"] = 96;
  const fs::path config = out / "shape.json";
  write_text(config, shape.dump());
  const Model model = Model::from_config(shape);
  const auto bytes = [&](StateFormat format) {
    const ElementRange all{0, model.layout.elements};
    OptimizerSettings settings;
    settings.format = format;
    return StateLayout(model.trained, model.layout, settings, all).bytes();
  };
  ASSERT_LT(bytes(StateFormat::block8), bytes(StateFormat::f32) * 6 / 10);
  const Rows rows(40);
  const auto comm = local_communicator();
  TrainOptions o = small_run(out);
  const auto train = [&](const std::string& resume_from, int64_t stop_at) {
    return run_rank(o, rows, *comm,
                    {.resume_from = resume_from, .stop_at = stop_at, .gpu = gpu, .random = config});
  };
  const RunResult exact = train("", -1);
  o.optim.optim = "adamw_8bit";
  const RunResult whole = train("", -1);
  const double distance = relative_distance(exact.weights, whole.weights);
  EXPECT_GT(distance, 0.0);
  EXPECT_LT(distance, 2e-2);
  for (size_t i = 0; i + 1 < exact.log.size(); ++i) {
    const double loss = exact.log[i]["loss"];
    EXPECT_NEAR(whole.log[i]["loss"].get<double>(), loss, 1e-2 * loss) << i;
  }
  o.save_strategy = "steps";
  o.save_steps = 3;
  train("", 3);
  EXPECT_EQ(train((out / "checkpoint-3").string(), -1).weights, whole.weights);
  o.optim.optim = "adamw_torch";
  o.resume_with_changes = true;  // C063 without
  try {
    train((out / "checkpoint-3").string(), -1);
    ADD_FAILURE() << "8-bit states were read as float32";
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "M264");
  }
}

TEST(Trainer, resuming_with_other_batches_is_refused) {
  const Rows rows(20);
  const auto comm = local_communicator();
  TrainOptions o = small_run(fresh_folder("other"));
  o.save_strategy = "steps";
  o.save_steps = 2;
  o.max_steps = 2;
  const RunResult first = run_one(o, rows);
  o.per_device_train_batch_size = 2;
  try {
    run_rank(o, rows, *comm, {.resume_from = first.outcome.last_checkpoint});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "C063");
    EXPECT_NE(e.message().find("rows of a step was 4 and is 2"), std::string::npos);
  }
}

TEST(Trainer, three_steps_that_are_not_finite_end_the_run) {
  const Rows rows(20);
  TrainOptions o = small_run(fresh_folder("nan"));
  o.optim.learning_rate = 1e30;  // the first update destroys the weights
  try {
    run_one(o, rows);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "X010");
    EXPECT_EQ(e.exit_code(), ExitCode::failure);
    // What broke, and where: a weight, or an instruction and the rows of its micro-batch.
    const bool weight = e.message().find("the weight ") != std::string::npos;
    const bool rows_named = e.message().find("micro-batch 1 of 1: row ") != std::string::npos;
    EXPECT_TRUE(weight || rows_named) << e.message();
  }
}

TEST(Trainer, changes_are_named_and_can_be_insisted_on) {
  const Rows rows(20);
  const auto comm = local_communicator();
  TrainOptions o = small_run(fresh_folder("insist"));
  o.save_strategy = "steps";
  o.save_steps = 2;
  o.max_steps = 2;
  const RunResult first = run_one(o, rows);
  o.max_steps = 4;
  try {
    run_rank(o, rows, *comm, {.resume_from = first.outcome.last_checkpoint});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "C063");
    EXPECT_NE(e.message().find("steps was 2 and is 4"), std::string::npos) << e.message();
  }
  o.resume_with_changes = true;
  EXPECT_EQ(run_rank(o, rows, *comm, {.resume_from = first.outcome.last_checkpoint}).outcome.steps,
            4);
}

TEST(Trainer, another_trainers_checkpoint_is_used_only_when_told_to) {
  const Rows rows(20);
  const auto comm = local_communicator();
  TrainOptions o = small_run(fresh_folder("foreign"));
  const fs::path foreign = fs::path(o.output_dir) / "checkpoint-3";
  fs::create_directories(foreign);
  fs::copy(kModel / "model.safetensors", foreign / "model.safetensors");
  fs::copy(kModel / "config.json", foreign / "config.json");
  TrainerState state;
  state.global_step = 3;
  write_text(foreign / "trainer_state.json", state.text());
  write_text(foreign / "optimizer.pt", "a pickle");
  try {
    run_rank(o, rows, *comm, {.resume_from = foreign.string()});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "M266");
    EXPECT_NE(e.message().find("pickle"), std::string::npos);
  }
  o.resume_with_changes = true;
  const RunResult result = run_rank(o, rows, *comm, {.resume_from = foreign.string()});
  EXPECT_EQ(result.outcome.steps, 8);
  EXPECT_EQ(result.log[0]["step"], 4);
}

// With a loss scale the schedule stands at the steps that were not skipped, which the last learning
// rate that was logged tells.
TEST(TrainerState, the_schedule_stands_where_the_last_learning_rate_says) {
  const auto rate = [](int64_t steps) { return 1e-3 * (1.0 - static_cast<double>(steps) / 8.0); };
  TrainerState state;
  state.global_step = 5;
  const auto after = [&](double last) {
    state.log_history = Json::array({{{"step", 2}, {"learning_rate", rate(1)}},
                                     {{"step", 4}, {"learning_rate", last}},
                                     {{"step", 4}, {"eval_loss", 1.0}}});
    return state.steps_scheduled(rate);
  };
  EXPECT_EQ(after(rate(3)), 5);  // none was skipped
  EXPECT_EQ(after(rate(2)), 4);  // one was
  EXPECT_EQ(after(rate(0)), 2);
  EXPECT_EQ(after(0.5), 5);  // of another schedule
  state.log_history = Json::array();
  EXPECT_EQ(state.steps_scheduled(rate), 5);
}

// A checkpoint that takes long to write holds up nothing but the next one.
TEST(Trainer, training_goes_on_while_a_checkpoint_is_written) {
  const Rows rows(40);
  for (const int64_t stage : {0, 2}) {
    TrainOptions o = small_run(fresh_folder("slow_disk"));
    o.save_strategy = "steps";
    o.save_steps = 4;
    o.sharding.zero_stage = stage;
    std::atomic<int64_t> done{0}, seen{0};
    RunSetup setup;
    setup.stepped = [&](int64_t steps) { done = steps; };
    setup.exporting = [&] {  // until the steps before the next save are done, if they may be
      for (int i = 0; i < 1000 && done < 7; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      if (seen == 0) {
        seen = done.load();
      }
    };
    run_ranks(stage == 0 ? 1 : 2, o, rows, setup);
    EXPECT_EQ(seen, 7) << "stage " << stage;
  }
}

// The final model need not wait for the last checkpoint.
TEST(Trainer, the_weights_are_final_while_the_last_checkpoint_is_written) {
  const Rows rows(20);
  TrainOptions o = small_run(fresh_folder("slow_disk_at_the_end"));
  o.save_strategy = "steps";
  o.save_steps = 1000;  // the one after the last step
  std::atomic<bool> trained{false}, seen{false};
  RunSetup setup;
  setup.trained = [&] { trained = true; };
  setup.exporting = [&] {
    for (int i = 0; i < 1000 && !trained; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    seen = trained.load();
  };
  const auto comm = local_communicator();
  const RunResult result = run_rank(o, rows, *comm, setup);
  EXPECT_TRUE(seen);
  EXPECT_TRUE(fs::exists(fs::path(result.outcome.last_checkpoint) / "manifest.json"));
}

TEST(Trainer, a_save_that_fails_beside_training_ends_the_run) {
  const Rows rows(20);
  TrainOptions o = small_run(fresh_folder("unwritable"));
  o.save_strategy = "steps";
  o.save_steps = 2;
  write_text(fs::path(o.output_dir) / "checkpoint-2", "a file where the folder has to go");
  try {
    run_one(o, rows);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "S020");
  }
}

TEST(BadNumbers, nan_and_inf_are_found_and_minus_inf_is_not) {
  const auto device = Device::cpu(1);
  std::vector<float> x(10, 1.0F);
  const Tensor tensor{x.data(), {10}, DType::f32};
  x[2] = -INFINITY;
  EXPECT_FALSE(find_not_finite(*device, tensor));
  x[7] = INFINITY;
  EXPECT_EQ(find_not_finite(*device, tensor)->at, 7);
  x[5] = NAN;
  EXPECT_EQ(find_not_finite(*device, tensor)->at, 5);
  std::vector<BFloat16> half(4, to_bfloat16(1.0F));
  half[3] = to_bfloat16(NAN);
  EXPECT_EQ(find_not_finite(*device, {half.data(), {4}, DType::bf16})->at, 3);
  std::vector<int32_t> ids(4, -1);  // the bits of a nan
  EXPECT_FALSE(find_not_finite(*device, {ids.data(), {4}, DType::i32}));
}

TEST(Trainer, the_best_model_is_loaded_at_the_end) {
  const Rows rows(20);
  const Rows eval(5);
  const auto comm = local_communicator();
  TrainOptions o = small_run(fresh_folder("best"));
  o.optim.learning_rate = 0.05;  // the evaluation gets worse soon
  o.optim.lr_scheduler_type = "constant";
  o.eval_strategy = o.save_strategy = "steps";
  o.eval_steps = o.save_steps = 1;
  o.metric_for_best_model = "loss";
  o.greater_is_better = false;
  o.load_best_model_at_end = true;
  o.save_total_limit = 2;
  const RunResult best = run_rank(o, rows, *comm, {.eval = &eval});
  double lowest = 1e9;
  int64_t step = 0;
  for (const Json& line : best.log) {
    if (line.contains("eval_loss") && line["eval_loss"].get<double>() < lowest) {
      lowest = line["eval_loss"];
      step = line["step"];
    }
  }
  ASSERT_GT(step, 0);
  TrainOptions shorter = small_run(fresh_folder("shorter"));
  shorter.optim.learning_rate = 0.05;
  shorter.optim.lr_scheduler_type = "constant";
  shorter.max_steps = step;
  EXPECT_EQ(run_one(shorter, rows).weights, best.weights);
  EXPECT_TRUE(fs::exists(fs::path(o.output_dir) / fmt::format("checkpoint-{}", step)));
}

TEST(Trainer, a_row_longer_than_the_positions_is_refused) {
  class Long : public PreparedDataset {
   public:
    int64_t size() const override { return 1; }
    int64_t length(int64_t) const override { return 100000; }
    Example example(int64_t) const override {
      return {std::vector<int32_t>(100000, 1), std::vector<int32_t>(100000, 1), {}};
    }
  };
  try {
    run_one(small_run(fresh_folder("long")), Long());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "M037");
    EXPECT_NE(e.hint().find("--max_length"), std::string::npos);
  }
}

}  // namespace
}  // namespace sft
