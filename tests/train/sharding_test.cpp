// ZeRO changes memory, never the result: stages, groups, rank counts, formats of weights and
// states, and the stage and number of ranks that a run goes on with.
#include "core/file_writer.h"
#include "small_runs.h"
#include "state/sharder.h"
#include "support/file_store.h"

namespace sft {
namespace {

TrainOptions sharded(const std::string& name, int64_t stage) {
  TrainOptions o = small_run(fresh_folder(name));
  o.per_device_train_batch_size = 2;
  o.gradient_accumulation_steps = 2;
  o.sharding.zero_stage = stage;
  o.sharding.reduce_gradients = "auto";
  return o;
}

TEST(Sharding, every_stage_gives_the_same_bits) {
  const Rows rows(41), eval(5);  // epochs end unevenly inside the run
  for (const int ranks : {2, 3}) {
    for (const char* optim : {"adamw_torch", "adamw_8bit"}) {
      TrainOptions o = sharded("stages", 0);
      o.optim.optim = optim;
      o.eval_strategy = "steps";
      o.eval_steps = 3;
      o.sharding.reduce_gradients = "micro_batch";
      const RunResult whole = run_ranks(ranks, o, rows, {.eval = &eval})[0];
      for (const int64_t stage : {1, 2, 3}) {
        for (const bool overlap : {true, false}) {
          SCOPED_TRACE(fmt::format("{} ranks, {}, stage {}", ranks, optim, stage));
          o.sharding.zero_stage = stage;
          o.sharding.reduce_gradients = stage == 1 ? "micro_batch" : "auto";
          o.sharding.overlap_comm = overlap;
          const RunResult parts = run_ranks(ranks, o, rows, {.eval = &eval})[0];
          EXPECT_EQ(whole.weights, parts.weights);
          EXPECT_EQ(without_times(whole.log), without_times(parts.log));
        }
      }
    }
  }
}

// Every rule of the table, with all of its states, and what resuming needs of them.
TEST(Sharding, every_optimizer_gives_the_same_bits_at_every_stage_and_goes_on) {
  const std::pair<const char*, const char*> optimizers[] = {
      {"lion_32bit", ""},
      {"lion_8bit", ""},
      {"sgd", ""},
      {"sgd", "momentum=0.9,nesterov=true"},
      {"rmsprop", "momentum=0.5,centered=true"},
      {"adagrad", "lr_decay=0.01"},
      {"adafactor", ""},
      {"muon", ""}};
  const Rows rows(40);
  for (const auto& [optim, args] : optimizers) {
    SCOPED_TRACE(fmt::format("{} {}", optim, args));
    TrainOptions o = sharded("optimizers", 0);
    o.optim.optim = optim;
    o.optim.optim_args = args;
    o.optim.weight_decay = 0.1;
    o.sharding.reduce_gradients = "micro_batch";
    const RunResult whole = run_ranks(2, o, rows)[0];
    for (const int64_t stage : {1, 3}) {
      SCOPED_TRACE(stage);
      TrainOptions part = sharded("optimizers_part", stage);
      part.optim = o.optim;
      part.sharding.reduce_gradients = stage == 1 ? "micro_batch" : "auto";
      part.save_strategy = "steps";
      part.save_steps = 4;
      EXPECT_EQ(whole.weights, run_ranks(2, part, rows)[0].weights);
      const fs::path checkpoint = fs::path(part.output_dir) / "checkpoint-4";
      part.save_strategy = "no";
      const RunSetup again{.resume_from = checkpoint.string()};
      EXPECT_EQ(whole.weights, run_ranks(2, part, rows, again)[0].weights);
    }
  }
}

bool in_mlp(const ParamSpec& s) { return s.name.find("mlp") != std::string::npos; }

// What may be frozen: whole matrices, norms, all of a block, the tied table, nearly everything.
const std::pair<const char*, bool (*)(const ParamSpec&)> kFrozen[] = {
    {"the MLPs", in_mlp},
    {"norms", [](const ParamSpec& s) { return s.kind == ParamKind::norm; }},
    {"the first layer and the table", [](const ParamSpec& s) { return s.block <= 1; }},
    {"all but one projection",
     [](const ParamSpec& s) { return s.name != "model.layers.1.self_attn.o_proj.weight"; }}};

// Runs at every stage with 2 ranks, and goes on from a checkpoint of each: always the same bits.
void same_at_every_stage(const RunSetup& setup, const ModelOptions& model = {}) {
  const Rows rows(40);
  TrainOptions o = sharded("frozen", 0);
  o.model = model;
  o.sharding.reduce_gradients = "micro_batch";
  const std::vector<float> whole = run_ranks(2, o, rows, setup)[0].weights;
  for (const int64_t stage : {1, 2, 3}) {
    SCOPED_TRACE(stage);
    TrainOptions part = o;
    part.output_dir = fresh_folder("frozen_part").string();
    part.sharding.zero_stage = stage;
    part.sharding.reduce_gradients = stage == 1 ? "micro_batch" : "auto";
    part.save_strategy = "steps";
    part.save_steps = 4;
    EXPECT_EQ(whole, run_ranks(2, part, rows, setup)[0].weights);
    RunSetup again = setup;
    again.resume_from = (fs::path(part.output_dir) / "checkpoint-4").string();
    part.save_strategy = "no";
    EXPECT_EQ(whole, run_ranks(2, part, rows, again)[0].weights);
  }
}

TEST(Sharding, frozen_weights_have_no_part_in_the_state_at_any_stage) {
  for (const auto& [what, frozen] : kFrozen) {
    SCOPED_TRACE(what);
    same_at_every_stage({.arrange = [&](ParamSpec& s) { s.trained = !frozen(s); }});
  }
}

ModelOptions with_adapters(double dropout) {
  ModelOptions o;
  o.use_peft = true;
  o.lora_r = 4;
  o.lora_alpha = 64;
  o.lora_dropout = dropout;
  o.lora_target_modules = {"all-linear"};
  return o;
}

TEST(Sharding, adapters_are_shared_out_too_and_drop_the_same_at_every_stage) {
  for (const double dropout : {0.0, 0.3}) {
    SCOPED_TRACE(dropout);
    same_at_every_stage({}, with_adapters(dropout));
  }
}

// What is dropped depends on the document and the step, not on who computes it, nor when again: by
// adapters, and by a model that drops attention's weights, what layers add, and embeddings.
TEST(Sharding, dropout_does_not_depend_on_ranks_micro_batches_or_recomputation) {
  const Rows rows(60);
  ModelOptions dropping;
  dropping.model_name_or_path = (kModel.parent_path() / "starcoder2").string();
  dropping.model_init_kwargs = {
      {"attention_dropout", 0.3}, {"residual_dropout", 0.2}, {"embedding_dropout", 0.1}};
  ModelOptions silent = dropping;
  silent.model_init_kwargs = nullptr;
  for (const auto& [with, without] :
       {std::pair(with_adapters(0.3), with_adapters(0.0)), std::pair(dropping, silent)}) {
    TrainOptions o = small_run(fresh_folder("dropout"));
    o.model = with;
    o.max_steps = 4;
    o.per_device_train_batch_size = 12;
    const RunResult one = run_one(o, rows);
    TrainOptions other = o;
    other.model = without;
    EXPECT_GT(relative_distance(one.weights, run_one(other, rows).weights), 1e-3);
    for (const int ranks : {1, 2, 3}) {
      for (const char* recompute : {"none", "block"}) {
        SCOPED_TRACE(fmt::format("{} ranks, {}", ranks, recompute));
        o.per_device_train_batch_size = 2;
        o.gradient_accumulation_steps = 6 / ranks;
        o.gradient_checkpointing = recompute;
        EXPECT_LT(relative_distance(one.weights, run_ranks(ranks, o, rows)[0].weights), 1e-5);
      }
    }
  }
}

TEST(Sharding, packed_weights_are_shared_out_too) {
  for (const DType type :
       {DType::nf4, DType::fp4_nested, DType::i8_rows, DType::f8_rows, DType::bf16}) {
    SCOPED_TRACE(std::string(name_of(type)));
    same_at_every_stage({.arrange = [&](ParamSpec& s) {
      s.trained = !in_mlp(s) || s.kind != ParamKind::matrix;
      s.stored = type;
    }});
  }
}

// Ways to keep the base of adapters.
std::vector<std::pair<std::string, ModelOptions>> packed_bases(double dropout) {
  std::vector<std::pair<std::string, ModelOptions>> out;
  const auto add = [&](const char* name) -> ModelOptions& {
    return out.emplace_back(name, with_adapters(dropout)).second;
  };
  add("nf4").load_in_4bit = true;
  ModelOptions& nested = add("fp4, nested");
  nested.load_in_4bit = nested.use_bnb_nested_quant = true;
  nested.bnb_4bit_quant_type = "fp4";
  ModelOptions& lengths = add("nf4, DoRA");
  lengths.load_in_4bit = lengths.use_dora = true;
  add("int8").load_in_8bit = true;
  add("fp8").base_dtype = "fp8";
  ModelOptions& skips = add("some in 8 bits");
  skips.model_init_kwargs = {
      {"quantization_config",
       {{"load_in_8bit", true}, {"llm_int8_skip_modules", {"v_proj", "lm_head"}}}}};
  return out;
}

TEST(Sharding, adapters_on_a_packed_base_get_the_same_bits_at_every_stage) {
  for (const auto& [name, model] : packed_bases(0.2)) {
    SCOPED_TRACE(name);
    same_at_every_stage({}, model);
  }
}

// With SFT_TEST_CUDA on the GPU, in bfloat16.
TEST(Sharding,
     adapters_on_a_packed_base_get_the_same_bits_whatever_is_computed_again_or_offloaded) {
  for (const auto& [name, model] : packed_bases(0.2)) {
    SCOPED_TRACE(name);
    TrainOptions o = small_run(fresh_folder("packed_recompute"));
    o.model = model;
    o.max_steps = 4;
    expect_same_under_every_policy(o);
  }
}

// In float32, what is trained gets the very step that it gets when all is.
TEST(Sharding, a_step_on_what_is_trained_does_not_depend_on_what_is_frozen) {
  const Rows rows(40);
  TrainOptions one = small_run(fresh_folder("frozen_one"));
  one.max_steps = 1;
  one.optim.max_grad_norm = 0;
  const auto comm = local_communicator();
  const std::vector<float> all = run_rank(one, rows, *comm).weights;
  const Model model = Model::from_config(ModelSource::open(kModel.string(), "", {})->config());
  for (const auto& [what, frozen] : kFrozen) {
    SCOPED_TRACE(what);
    const RunResult some =
        run_rank(one, rows, *comm, {.arrange = [&](ParamSpec& s) { s.trained = !frozen(s); }});
    std::vector<float> expected;
    auto at = all.begin();
    for (const ParamSpec& spec : model.trained) {
      if (!frozen(spec)) {
        expected.insert(expected.end(), at, at + spec.shape.elements());
      }
      at += spec.shape.elements();
    }
    EXPECT_EQ(some.weights, expected);
  }
}

// Ranks that speak through loopback instead of sharing memory.
std::vector<std::unique_ptr<Communicator>> over_gloo(int ranks) {
  const fs::path folder = fresh_folder("gloo");
  testing::FileStore store(folder);
  std::vector<std::unique_ptr<Communicator>> comms(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      comms[static_cast<size_t>(rank)] = gloo_communicator(
          {rank, ranks, &store, "world", "127.0.0.1", "", std::chrono::seconds(20)});
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  return comms;
}

TEST(Sharding, every_communicator_gives_the_same_bits) {
  if (!gloo_built()) {
    GTEST_SKIP() << "built without Gloo";
  }
  const Rows rows(41);
  for (const int64_t stage : {0, 1, 2, 3}) {
    const TrainOptions o = sharded("communicators", stage);
    const RunResult threads = run_ranks(3, o, rows)[0];
    const RunResult processes = run_ranks(3, o, rows, {}, over_gloo(3))[0];
    EXPECT_EQ(threads.weights, processes.weights) << stage;
    EXPECT_EQ(without_times(threads.log), without_times(processes.log)) << stage;
  }
}

// Rows 0, 1, 4, 5, ... have labels; in the files' order the second of two ranks gets none.
class OneSidedRows : public Rows {
 public:
  using Rows::Rows;
  Example example(int64_t i) const override {
    Example e = Rows::example(i);
    if (i / 2 % 2 == 1) {
      std::ranges::fill(e.labels, kIgnored);
    }
    return e;
  }
};

TEST(Sharding, a_rank_without_trained_tokens_changes_nothing) {
  const OneSidedRows rows(40);
  TrainOptions o = small_run(fresh_folder("one_sided"));
  o.data.train_sampling_strategy = "sequential";
  const RunResult one = run_one(o, rows);
  o.per_device_train_batch_size = 2;
  for (const int64_t stage : {0, 1, 2, 3}) {
    o.sharding.zero_stage = stage;
    const RunResult two = run_ranks(2, o, rows)[0];
    EXPECT_LT(relative_distance(one.weights, two.weights), 1e-5) << stage;
    expect_same_steps(one.log, two.log, 2e-6);
  }
}

TEST(Sharding, stages_0_and_1_give_the_same_bits_when_they_sum_once_a_step) {
  const Rows rows(40);
  const RunResult whole = run_ranks(3, sharded("once0", 0), rows)[0];
  EXPECT_EQ(whole.weights, run_ranks(3, sharded("once1", 1), rows)[0].weights);
}

TEST(Sharding, weights_in_bfloat16_are_shared_out_too) {
  const Rows rows(40);
  TrainOptions o = sharded("bf16", 0);
  o.model.dtype = "bfloat16";
  o.optim.optim = "adamw_bf16";
  o.sharding.reduce_gradients = "micro_batch";
  const RunResult whole = run_ranks(2, o, rows)[0];
  o.sharding.reduce_gradients = "auto";
  for (const int64_t stage : {2, 3}) {
    o.sharding.zero_stage = stage;
    EXPECT_EQ(whole.weights, run_ranks(2, o, rows)[0].weights) << stage;
  }
}

TEST(Sharding, blocks_large_enough_for_8_bits) {
  const fs::path folder = fresh_folder("blocks");
  Json shape = read_json(kModel / "config.json");
  shape["hidden_size"] = 64;
  shape["intermediate_size"] = 96;
  write_text(folder / "shape.json", shape.dump());
  const RunSetup setup{.random = folder / "shape.json"};
  const Rows rows(40);
  TrainOptions o = sharded("blocks_run", 0);
  o.optim.optim = "adamw_8bit";
  o.sharding.reduce_gradients = "micro_batch";
  const RunResult whole = run_ranks(3, o, rows, setup)[0];
  o.sharding = {};
  o.sharding.zero_stage = 3;
  o.save_strategy = "steps";
  o.save_steps = 4;
  EXPECT_EQ(whole.weights, run_ranks(3, o, rows, setup)[0].weights);
  const fs::path checkpoint = fs::path(o.output_dir) / "checkpoint-4";
  RunSetup again = setup;
  again.resume_from = checkpoint.string();
  EXPECT_EQ(whole.weights, run_ranks(3, o, rows, again)[0].weights);
}

// The same run once more, gone on with from its checkpoint of step 6.
RunResult from_step_6(int ranks, TrainOptions o, const PreparedDataset& rows, RunSetup setup) {
  o.save_strategy = "steps";
  o.save_steps = 6;
  run_ranks(ranks, o, rows, setup);
  o.save_strategy = "no";
  setup.resume_from = (fs::path(o.output_dir) / "checkpoint-6").string();
  return run_ranks(ranks, o, rows, setup)[0];
}

// Two ranks on one GPU, in bfloat16: programs cut at their marks, gathered blocks, recorded pieces.
TEST(Sharding, every_stage_gives_the_same_bits_on_a_gpu) {
  if (std::getenv("SFT_TEST_CUDA") == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  const Rows rows(41), eval(5);
  const RunSetup setup{.eval = &eval, .gpu = true};
  for (const char* dtype : {"float32", "bfloat16"}) {
    TrainOptions o = sharded("gpu", 0);
    o.model.dtype = dtype;
    o.max_steps = 12;  // the third time a size comes its program is recorded
    o.eval_strategy = "steps";
    o.eval_steps = 5;
    o.sharding.reduce_gradients = "micro_batch";
    const RunResult whole = run_ranks(2, o, rows, setup)[0];
    for (const int64_t stage : {1, 2, 3}) {
      SCOPED_TRACE(fmt::format("{}, stage {}", dtype, stage));
      o.sharding.zero_stage = stage;
      const RunResult parts = run_ranks(2, o, rows, setup)[0];
      EXPECT_EQ(whole.weights, parts.weights);
      EXPECT_EQ(without_times(whole.log), without_times(parts.log));
      if (fs::exists("/dev/nvidia1")) {
        RunSetup copying = setup;
        copying.copy_engines = true;
        EXPECT_EQ(whole.weights, run_ranks(2, o, rows, copying)[0].weights);
      }
      EXPECT_EQ(whole.weights, from_step_6(2, o, rows, setup).weights);
    }
  }
}

// Hybrid sharding: groups share a copy, and their sums meet across groups.
TEST(Sharding, groups_of_ranks_share_a_copy_on_a_gpu) {
  if (std::getenv("SFT_TEST_CUDA") == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  const Rows rows(64), eval(5);
  const RunSetup setup{.eval = &eval, .gpu = true};
  TrainOptions o = sharded("gpu_groups", 0);
  o.max_steps = 12;  // the third time a size comes its program is recorded
  o.eval_strategy = "steps";
  o.eval_steps = 5;
  const RunResult whole = run_ranks(4, o, rows, setup)[0];
  o.sharding.zero_shard_group = 2;
  for (const int64_t stage : {1, 2, 3}) {
    SCOPED_TRACE(stage);
    o.sharding.zero_stage = stage;
    const RunResult groups = run_ranks(4, o, rows, setup)[0];
    EXPECT_LT(relative_distance(whole.weights, groups.weights), 2e-3);
    EXPECT_EQ(groups.weights, from_step_6(4, o, rows, setup).weights);
  }
}

// The processors' update instead of the GPU's; blocks of weights that come from the host's memory.
TEST(Sharding, offloading_changes_no_more_than_rounding) {
  if (std::getenv("SFT_TEST_CUDA") == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  const Rows rows(41), eval(5);
  const RunSetup setup{.eval = &eval, .threads = 4, .gpu = true};
  for (const char* dtype : {"float32", "bfloat16"}) {
    for (const int ranks : {1, 2}) {
      SCOPED_TRACE(fmt::format("{}, {} ranks", dtype, ranks));
      TrainOptions o = sharded("offload", ranks == 1 ? 0 : 2);
      o.model.dtype = dtype;
      o.max_steps = 12;
      o.eval_strategy = "steps";
      o.eval_steps = 5;
      const RunResult there = run_ranks(ranks, o, rows, setup)[0];
      o.sharding.offload_optimizer = true;
      const RunResult here = run_ranks(ranks, o, rows, setup)[0];
      EXPECT_LT(relative_distance(there.weights, here.weights), 2e-3);
      o.sharding.zero_stage = 3;
      o.sharding.offload_param = true;
      o.save_strategy = "steps";
      o.save_steps = 6;
      const RunResult streamed = run_ranks(ranks, o, rows, setup)[0];
      if (ranks == 1) {  // whose micro-batches were added in the products before
        EXPECT_LT(relative_distance(here.weights, streamed.weights), 2e-3);
      } else {
        EXPECT_EQ(here.weights, streamed.weights);
        EXPECT_EQ(without_times(here.log), without_times(streamed.log));
      }
      RunSetup again = setup;
      again.resume_from = (fs::path(o.output_dir) / "checkpoint-6").string();
      EXPECT_EQ(streamed.weights, run_ranks(ranks, o, rows, again)[0].weights);
    }
  }
}

TEST(Sharding, groups_of_ranks_share_a_copy) {
  const Rows rows(40);
  TrainOptions o = sharded("groups", 0);
  const RunResult whole = run_ranks(4, o, rows)[0];
  o.sharding.zero_shard_group = 2;
  for (const int64_t stage : {1, 2, 3}) {
    o.sharding.zero_stage = stage;
    const RunResult groups = run_ranks(4, o, rows)[0];
    EXPECT_LT(relative_distance(whole.weights, groups.weights), 1e-5) << stage;
    expect_same_steps(whole.log, groups.log, 2e-6);
  }
  o.sharding.zero_shard_group = 3;
  EXPECT_THROW(place_of(o.sharding, 0, 4), Error);
}

// 36 sequences a step over ranks and accumulation.
TEST(Sharding, the_same_36_sequences_over_any_number_of_ranks) {
  const Rows rows(180);
  TrainOptions o = small_run(fresh_folder("36"));
  o.max_steps = 6;
  o.per_device_train_batch_size = 36;
  const RunResult one = run_one(o, rows);
  for (const int ranks : {1, 2, 3, 4}) {
    for (const int64_t stage : {0, 1, 2, 3}) {
      SCOPED_TRACE(fmt::format("{} ranks, stage {}", ranks, stage));
      o.per_device_train_batch_size = 3;
      o.gradient_accumulation_steps = 12 / ranks;
      o.sharding.zero_stage = stage;
      const RunResult many = run_ranks(ranks, o, rows)[0];
      size_t compared = 0;
      for (size_t i = 0; i < one.log.size(); ++i) {
        if (!one.log[i].contains("loss")) {
          continue;
        }
        for (const char* key : {"loss", "grad_norm"}) {
          const double expected = one.log[i][key];
          EXPECT_NEAR(many.log[i][key].get<double>(), expected, 1e-5 * expected) << key;
        }
        ++compared;
      }
      EXPECT_EQ(compared, 6U);
      EXPECT_LT(relative_distance(one.weights, many.weights), 1e-5);
    }
  }
}

// What was saved by N ranks at one stage goes on with M ranks at another.
TEST(Sharding, any_number_of_ranks_and_stage_goes_on) {
  const Rows rows(150);
  for (const int saved_by : {1, 2, 3, 4}) {
    for (const int64_t saved_at : {0, 1, 2, 3}) {
      TrainOptions o = small_run(fresh_folder("resume"));
      o.per_device_train_batch_size = 1;
      o.gradient_accumulation_steps = 12 / saved_by;
      o.max_steps = 4;
      o.sharding.zero_stage = saved_at;
      o.save_strategy = "steps";
      o.save_steps = 2;
      const RunResult whole = run_ranks(saved_by, o, rows)[0];
      const RunSetup setup{.resume_from = (fs::path(o.output_dir) / "checkpoint-2").string()};
      for (const int ranks : {1, 2, 3, 4}) {
        const int64_t stage = (saved_at + ranks) % 4;
        SCOPED_TRACE(fmt::format("{} ranks at stage {}, then {} at stage {}", saved_by, saved_at,
                                 ranks, stage));
        o.gradient_accumulation_steps = 12 / ranks;
        o.sharding.zero_stage = ranks == saved_by ? saved_at : stage;
        o.save_strategy = "no";
        const RunResult rest = run_ranks(ranks, o, rows, setup)[0];
        if (ranks == saved_by) {
          EXPECT_EQ(whole.weights, rest.weights);
        } else {
          EXPECT_LT(relative_distance(whole.weights, rest.weights), 1e-5);
        }
      }
    }
  }
}

TEST(Sharding, a_step_that_is_not_finite_is_explained_on_every_rank) {
  const Rows rows(40);
  for (const int64_t stage : {2, 3}) {
    TrainOptions o = sharded("nan", stage);
    o.optim.learning_rate = 1e30;
    try {
      run_ranks(2, o, rows);
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_EQ(e.code().text(), "X010") << e.message();
    }
  }
}

void takes_the_memory_of_the_formula(const Model& model) {
  const auto source = ModelSource::open(kModel.string(), "", {});
  const auto elements = static_cast<double>(model.layout.elements);
  for (const int ranks : {1, 2, 3, 4, 7}) {
    for (const int64_t stage : {0, 1, 2, 3}) {
      SCOPED_TRACE(fmt::format("{} ranks, stage {}", ranks, stage));
      ShardingOptions o;
      o.zero_stage = stage;
      auto comms = thread_communicators(ranks);
      std::vector<std::thread> threads;
      std::vector<ShardBytes> planned(comms.size());
      std::vector<double> held(comms.size());
      for (size_t rank = 0; rank < comms.size(); ++rank) {
        threads.emplace_back([&, rank] {
          const auto own = Device::cpu(1);
          const ShardPlace place = place_of(o, static_cast<int>(rank), ranks);
          LoadedModel loaded = load_model(*source, model, *own, DType::f32, DType::f32, {place});
          const Sharder sharder(*own, *comms[rank], loaded, o, {}, 2);
          planned[rank] = shard_bytes(model, {place}, DType::f32, DType::f32, {},
                                      sums_gradients_apart(o, place, 2));
          double bytes = static_cast<double>(loaded.weights.size() + loaded.copy.size() +
                                             loaded.norms.size() + loaded.gathered.size()) +
                         static_cast<double>(loaded.frozen.size());
          for (const Optimizer& optimizer : sharder.optimizers()) {
            bytes += static_cast<double>(optimizer.bytes());
          }
          held[rank] = bytes + sharder.gradient_bytes();
        });
      }
      for (std::thread& t : threads) {
        t.join();
      }
      for (size_t rank = 0; rank < comms.size(); ++rank) {
        const ShardBytes& p = planned[rank];
        EXPECT_EQ(held[rank], p.weights + p.masters + p.gradients + p.moments) << rank;
        // 8 bytes of moments an element, shared by all; slices are filled up to whole tiles.
        const double share = stage == 0 ? 1.0 : 1.0 / ranks;
        EXPECT_LE(p.moments, 8.0 * (elements * share + 256.0 * 16));
      }
    }
  }
}

TEST(Sharding, each_rank_takes_the_memory_of_the_formula) {
  Model model = Model::from_config(ModelSource::open(kModel.string(), "", {})->config());
  takes_the_memory_of_the_formula(model);
  arrange(model, [](ParamSpec& s) {
    s.trained = !in_mlp(s);
    s.stored = DType::nf4_nested;
  });
  takes_the_memory_of_the_formula(model);
}

}  // namespace
}  // namespace sft
