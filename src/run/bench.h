// Times training steps of a model's shape on random tokens and weights, for `sft bench`.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "data/tokens/loader.h"
#include "optim/sharding_options.h"
#include "optim/state_layout.h"
#include "run/choose_device.h"
#include "state/loaded_model.h"

namespace sft {

struct BenchSettings {
  int64_t seq = 1024;          // tokens a document
  int64_t batch = 8;           // documents a micro-batch
  int64_t accumulation = 1;    // micro-batches a step
  int64_t warm_up = 2;         // steps that come before
  int64_t steps = 10;          // those that are timed
  double trained_share = 1.0;  // of each document's tokens, the last ones
  MemoryPolicy memory;
  ShardingOptions sharding;  // between ranks
  OptimizerSettings optimizer;
  bool by_op = false;   // also time each op of one micro-batch and the optimizer
  std::string profile;  // where to write a trace of these; empty: nowhere
};

struct BenchResult {
  double tokens_per_s = 0;  // of the median step, all ranks together
  double step_s = 0, fastest_step_s = 0;
  double flops_per_token = 0;  // 6 N + 6 layers heads head_dim seq: N without an untied embedding
  double loss = 0;
  double device_bytes = 0;                 // allocated on this rank's device
  double planned_bytes = 0;                // what the memory plan said it would be
  std::map<std::string, double> ms_by_op;  // of one micro-batch
};

// Every rank calls it with the same settings; `model` is what this rank holds.
BenchResult run_bench(const BenchSettings& settings, LoadedModel& model, Device& device,
                      Communicator& comm);

// A micro-batch of such documents; `number` makes others.
MicroBatch random_batch(const BenchSettings& settings, int64_t vocab, uint64_t number);

struct SweepRow {
  int64_t batch;
  MemoryPolicy memory;
  BenchResult result;
};
// Micro-batches of 1, 2, 4, ... documents, each with the cheapest recompute that fits: until none
// does, or two in a row are no more than 1 % faster than the best so far. `on_row`: as they come.
std::vector<SweepRow> sweep_batches(BenchSettings settings, LoadedModel& model, Device& device,
                                    Communicator& comm,
                                    const std::function<void(const SweepRow&)>& on_row);

}  // namespace sft
