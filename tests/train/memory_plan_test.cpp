// The memory plan: what it picks, what it refuses and what it then names, on a device that has just
// as much memory as the test says; and a run that stays within it.
#include "train/memory_plan.h"
#include "support/paths.h"

#include <gtest/gtest.h>

#include <unistd.h>
#include <cstdlib>
#include <fstream>

#include "core/error.h"
#include "core/json.h"
#include "core/rng.h"
#include "core/strings.h"
#include "model/adapters.h"
#include "run/open_run.h"

namespace sft {
namespace {

const fs::path kModel = fs::path(SFT_TEST_DIR) / "model" / "golden" / "qwen2";

// A GPU with nothing but a number of free bytes.
class Pretended : public Device {
 public:
  explicit Pretended(double free) : Device(DeviceKind::cuda, 1), free_(free) {}
  std::string name() const override { return "a pretended GPU"; }
  size_t free_memory() const override { return static_cast<size_t>(free_); }
  void upload(void* /*to*/, const void* /*from*/, size_t /*bytes*/) override {}
  void download(void* /*to*/, const void* /*from*/, size_t /*bytes*/) override {}
  void download_beside(void* /*to*/, const void* /*from*/, size_t /*bytes*/) override {}
  void copy(void* /*to*/, const void* /*from*/, size_t /*bytes*/) override {}
  void zero(void* /*to*/, size_t /*bytes*/) override {}
  void add(const Tensor& /*x*/, Tensor& /*y*/, bool /*accumulate*/) override {}

 protected:
  Buffer take(size_t /*bytes*/) override {
    ADD_FAILURE() << "a plan allocates nothing";
    return {};
  }

 private:
  double free_;
};

Model tall_model() {
  Json config = read_json(kModel / "config.json");
  config["num_hidden_layers"] = 8;
  config.erase("layer_types");
  return Model::from_config(config);
}

MemoryWish wish_for(const std::string& recompute, bool offload = false) {
  MemoryWish wish;
  wish.recompute = recompute;
  wish.offload_activations = offload;
  wish.rows = 8;
  wish.longest = [](int64_t rows) { return 2048 * rows; };
  return wish;
}

double needed(const Model& model, const MemoryWish& wish) {
  return estimate_memory(wish, model, Pretended(1e15), DType::bf16).needed();
}

TEST(MemoryPlan, auto_takes_the_cheapest_policy_that_fits) {
  const Model model = tall_model();
  double before = 1e15;
  for (const char* policy : {"none", "norms", "mlp", "block"}) {
    const double bytes = needed(model, wish_for(policy));
    EXPECT_LT(bytes, before) << policy;
    before = bytes;
    const MemoryPlan plan =
        estimate_memory(wish_for("auto", true), model, Pretended(bytes), DType::bf16);
    EXPECT_STREQ(name_of(plan.policy.recompute), policy);
    EXPECT_FALSE(plan.policy.offload);
    EXPECT_EQ(plan.host, 0);
    EXPECT_TRUE(plan.fits());
  }
  const MemoryPlan last =
      estimate_memory(wish_for("auto", true), model, Pretended(before - 64), DType::bf16);
  EXPECT_TRUE(last.policy.offload);
  EXPECT_TRUE(last.fits());
  EXPECT_GT(last.host, 0);
}

TEST(MemoryPlan, a_given_policy_is_taken_as_it_is) {
  const Model model = tall_model();
  const MemoryPlan plan = estimate_memory(wish_for("norms"), model, Pretended(1), DType::bf16);
  EXPECT_EQ(plan.policy, MemoryPolicy(Recompute::norms));
  EXPECT_FALSE(plan.fits());
  EXPECT_TRUE(
      estimate_memory(wish_for("mlp", true), model, Pretended(1), DType::bf16).policy.offload);
}

TEST(MemoryPlan, evaluation_and_masters_count) {
  const Model model = tall_model();
  MemoryWish wish = wish_for("block");
  const MemoryPlan plain = estimate_memory(wish, model, Pretended(1e15), DType::bf16);
  wish.eval_tokens = 64 * wish.longest(wish.rows);
  const MemoryPlan both = estimate_memory(wish, model, Pretended(1e15), DType::bf16);
  EXPECT_GT(both.activations, 2 * plain.activations);
  EXPECT_EQ(plain.masters, 2 * plain.weights);
  EXPECT_EQ(plain.gradients, plain.masters);
  const MemoryPlan wide = estimate_memory(wish, model, Pretended(1e15), DType::f32);
  EXPECT_EQ(wide.masters, 0);
  EXPECT_EQ(wide.weights, plain.masters);
}

// Every setting that is named does fit, and the bytes are those of its own plan.
TEST(MemoryPlan, what_does_not_fit_is_told_what_would) {
  const Model model = tall_model();
  const MemoryWish wish = wish_for("none");
  const double mlp = needed(model, wish_for("mlp"));
  const std::string found = fitting_settings(wish, model, Pretended(mlp), DType::bf16);
  EXPECT_EQ(found.find("--gradient_checkpointing none"), std::string::npos) << found;
  EXPECT_EQ(found.find("--gradient_checkpointing norms"), std::string::npos) << found;
  EXPECT_NE(found.find("--gradient_checkpointing mlp ("), std::string::npos) << found;
  EXPECT_NE(found.find("--gradient_checkpointing block ("), std::string::npos) << found;
  EXPECT_NE(found.find("--gradient_checkpointing block --activation_offloading ("),
            std::string::npos)
      << found;
  EXPECT_NE(found.find("--gradient_accumulation_steps"), std::string::npos) << found;

  MemoryWish shorter = wish_for("block", true);
  shorter.rows = 1;
  shorter.longest = [](int64_t rows) { return 64 * rows; };
  const std::string cut =
      fitting_settings(wish, model, Pretended(needed(model, shorter)), DType::bf16);
  EXPECT_EQ(cut.find("--max_length 64 --per_device_train_batch_size 1"), 0U) << cut;
  EXPECT_EQ(fitting_settings(wish, model, Pretended(1000), DType::bf16), "");
}

// The table of words moves to the host's memory, byte for byte, where nothing but its rows is read.
TEST(MemoryPlan, embeddings_on_the_host_are_named_where_that_is_enough) {
  Json config = read_json(kModel / "config.json");
  config["tie_word_embeddings"] = false;
  Model model = Model::from_config(config);
  EXPECT_FALSE(only_looks_up_embeddings(model)) << "it is trained";
  LoraConfig adapters;
  adapters.target_expression = "all-linear";
  add_adapters(model, plan_adapters(model, adapters), adapters);
  EXPECT_TRUE(only_looks_up_embeddings(model));
  const MemoryWish wish = wish_for("block", true);
  MemoryWish away = wish;
  away.holding.offload_embeddings = true;
  const MemoryPlan here = estimate_memory(wish, model, Pretended(1e15), DType::bf16);
  const MemoryPlan there = estimate_memory(away, model, Pretended(1e15), DType::bf16);
  const double table = 2.0 * static_cast<double>(model.config.vocab * model.config.hidden);
  EXPECT_EQ(here.needed() - there.needed(), table);
  EXPECT_EQ(there.host - here.host, table);
  const std::string found = fitting_settings(wish, model, Pretended(there.needed()), DType::bf16);
  EXPECT_NE(found.find("--offload_embeddings --gradient_checkpointing block"), std::string::npos)
      << found;
  Model tied = tall_model();
  add_adapters(tied, plan_adapters(tied, adapters), adapters);
  EXPECT_FALSE(only_looks_up_embeddings(tied)) << "the head reads all of it";
}

// What QLoRA would take is said, beside what else fits.
TEST(MemoryPlan, four_bits_are_named_where_they_fit) {
  const Model model = tall_model();
  const MemoryWish wish = wish_for("none");
  Model packed = with_packed_base(model, DType::nf4_nested);
  packed.trained_type = DType::bf16;
  const double room = needed(packed, wish);
  EXPECT_LT(room, needed(model, wish));
  const std::string found = fitting_settings(wish, model, Pretended(room), DType::bf16);
  const std::string flags = "--load_in_4bit --use_bnb_nested_quant (" + human_bytes(room);
  EXPECT_NE(found.find("--use_peft " + flags), std::string::npos) << found;
  // On a base that is packed there is nothing to gain.
  EXPECT_EQ(fitting_settings(wish, packed, Pretended(room), DType::bf16).find("4bit"),
            std::string::npos);
}

// Users of TRL ask for recomputation as a matter of course: they hear of what is faster.
TEST(MemoryPlan, less_recomputation_is_named_where_it_fits) {
  const Model model = tall_model();
  const auto named = [&](const MemoryWish& wish, double free) {
    const Pretended device(free);
    return cheaper_policy(wish, estimate_memory(wish, model, device, DType::bf16), model, device,
                          DType::bf16);
  };
  const double norms = needed(model, wish_for("norms"));
  EXPECT_EQ(named(wish_for("block"), norms).find("--gradient_checkpointing norms ("), 0U);
  EXPECT_EQ(named(wish_for("block"), 1e15).find("--gradient_checkpointing none ("), 0U);
  EXPECT_EQ(named(wish_for("norms"), norms), "");
  EXPECT_EQ(named(wish_for("auto"), norms), "");
  EXPECT_EQ(named(wish_for("none"), 1e15), "");
  const double block = needed(model, wish_for("block"));
  EXPECT_EQ(named(wish_for("block"), block), "");
  EXPECT_EQ(named(wish_for("block", true), block).find("--gradient_checkpointing block ("), 0U);
}

// All sizes of the ladder share the arena that the largest was planned for.
TEST(MemoryPlan, a_smaller_batch_needs_no_more) {
  const Model model = tall_model();
  for (const Target target : {Target{}, Target{DeviceKind::cuda, DType::bf16}}) {
    for (const char* name : {"none", "norms", "mlp", "block"}) {
      int64_t before = 0;
      for (int64_t tokens = 16; tokens <= 1024; tokens = ladder_size(tokens + 1)) {
        const MemoryPlan plan = [&] {
          MemoryWish wish = wish_for(name);
          wish.longest = [&](int64_t) { return tokens; };
          return target.device == DeviceKind::cpu
                     ? estimate_memory(wish, model, *Device::cpu(1), DType::f32)
                     : estimate_memory(wish, model, Pretended(1e15), DType::bf16);
        }();
        EXPECT_GE(plan.activations, static_cast<double>(before)) << name << tokens;
        before = static_cast<int64_t>(plan.activations);
      }
    }
  }
}

// At real shapes the copies of the kept rows are made up for by the rows that are dropped.
TEST(MemoryPlan, dropping_rows_in_the_last_block_needs_no_more) {
  Json config = read_json(kModel / "config.json");
  config["num_hidden_layers"] = 3;
  config["hidden_size"] = 896;
  config["intermediate_size"] = 4864;
  config["num_attention_heads"] = 14;
  config["num_key_value_heads"] = 2;
  config["vocab_size"] = 151936;
  config.erase("layer_types");
  const Model model = Model::from_config(config);
  for (const Target target : {Target{}, Target{DeviceKind::cuda, DType::bf16}}) {
    for (const Recompute policy :
         {Recompute::none, Recompute::norms, Recompute::mlp, Recompute::block}) {
      const auto bytes = [&](int64_t trained) {
        BatchSize size = program_size(target.device, 8192, 8, 1024);
        size.kept = kept_bound(target.device, 8192, trained, true);
        EXPECT_EQ(size.kept > 0, trained < 6200);
        return plan_memory(
                   record_training(model, size, LossType::nll, true, policy, target).program)
            .bytes;
      };
      for (const int64_t trained : {0, 1000, 4000, 6100}) {
        EXPECT_LE(bytes(trained), bytes(8192)) << name_of(policy) << trained;
      }
    }
  }
}

// --- a run ---------------------------------------------------------------------------------------

// Rows of very different lengths.
class Ragged : public PreparedDataset {
 public:
  int64_t size() const override { return 4000; }
  Example example(int64_t i) const override {
    Example e;
    const auto row = static_cast<uint64_t>(i);
    for (int64_t t = 0; t < length(i); ++t) {
      e.input_ids.push_back(
          static_cast<int32_t>(philox(2, row, static_cast<uint64_t>(t))[0] % 128U));
      e.labels.push_back(t % 3 == 0 ? kIgnored : e.input_ids.back());
    }
    return e;
  }
  int64_t length(int64_t i) const override {
    return 2 + philox(1, static_cast<uint64_t>(i), 0)[0] % 60U;
  }
};

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double all = 0, resident = 0;
  statm >> all >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

// Nothing is allocated after the first step. With SFT_TEST_CUDA the run is on the GPU and takes
// 1,000 steps; there what is recorded grows, within the plan.
void expect_within_plan(bool gpu, int64_t rows_each) {
  const fs::path folder = fs::path(::testing::TempDir()) / "sft_memory_plan";
  fs::create_directories(folder);
  TrainOptions o;
  o.model.model_name_or_path = kModel.string();
  o.use_cpu = !gpu;
  o.threads = gpu ? 2 : 1;
  o.output_dir = folder.string();
  o.max_steps = gpu ? 1000 : 300;
  o.per_device_train_batch_size = rows_each;
  o.gradient_accumulation_steps = 2;
  o.logging_strategy = "no";
  o.save_strategy = "no";
  const Ragged rows;
  const Logger quiet;
  const HubEnvironment no_hub;
  const RunSurroundings surroundings{quiet, no_hub};
  const auto comm = local_communicator();
  OpenRun run(o, surroundings, Outputs::checked,
              {.train = &rows, .ranks = [&](Device&) -> Communicator& { return *comm; }});
  Device* const device = &run.device();
  const auto free_before = static_cast<double>(device->free_memory());
  const MemoryPlan& plan = run.memory();
  int64_t allocations = 0;
  double resident = 0, least_free = 1e18;
  TrainerHooks hooks;
  hooks.on_step = [&](int64_t done, int64_t /*total*/, std::string_view /*tail*/) {
    if (done == 1) {
      allocations = device->allocations();
    }
    if (done == 100) {
      resident = resident_bytes();
    }
    least_free = std::min(least_free, static_cast<double>(device->free_memory()));
  };
  run.trainer(nullptr, hooks)->run();
  EXPECT_GT(allocations, 0);
  EXPECT_LT(resident_bytes() - resident, gpu ? 256e6 : 24e6);
  if (gpu) {
    EXPECT_LE(free_before - least_free, plan.total());
    GTEST_LOG_(INFO) << "planned " << plan.total() << ", took " << free_before - least_free;
  }
  EXPECT_EQ(device->allocations(), allocations);
}

// 64 rows are enough tokens for a GPU to drop those without a label in the last block.
TEST(MemoryPlan, a_ragged_run_stays_within_it) {
  const bool gpu = std::getenv("SFT_TEST_CUDA") != nullptr;
  expect_within_plan(gpu, 4);
  if (gpu) {
    expect_within_plan(gpu, 64);
  }
}

}  // namespace
}  // namespace sft
