// Times training steps of a model's shape on random tokens and weights, for `sft bench`.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "train/choose_device.h"
#include "train/loaded_model.h"

namespace sft {

struct BenchSettings {
  int64_t seq = 1024;          // tokens a document
  int64_t batch = 8;           // documents a micro-batch
  int64_t accumulation = 1;    // micro-batches a step
  int64_t steps = 10;          // timed; two more come before
  double trained_share = 1.0;  // of each document's tokens, the last ones
  Recompute recompute = Recompute::none;
  bool by_op = false;   // also time each op of one micro-batch and the optimizer
  std::string profile;  // where to write a trace of these; empty: nowhere
};

struct BenchResult {
  double tokens_per_s = 0;  // of the median step
  double step_s = 0, fastest_step_s = 0;
  double flops_per_token = 0;  // 6 N + 6 layers heads head_dim seq: N without an untied embedding
  double loss = 0;
  double device_bytes = 0;                 // allocated on the device
  std::map<std::string, double> ms_by_op;  // of one micro-batch
};

// A model of a config.json's shape with random weights.
LoadedModel random_model(const std::filesystem::path& config, Device& device, DType compute);

BenchResult run_bench(const BenchSettings& settings, LoadedModel& model, Device& device);

}  // namespace sft
