// What the user can say about how a run's memory is shared out between ranks (ZeRO). DeepSpeed's
// JSON, FSDP's flags and accelerate's YAML are mapped onto these; state/sharder.h does it.
#pragma once

#include <cstdint>
#include <string>

#include "options/options.h"

namespace sft {

struct ShardingOptions {
  // What each rank holds a slice of: 0 nothing, 1 masters and moments, 2 gradients too, 3 weights
  // too.
  int64_t zero_stage = 0;
  // Ranks that share one copy, neighbours by rank; the copies are replicas (hybrid sharding,
  // HSDP, MiCS). 0: all ranks. Must divide the number of ranks.
  int64_t zero_shard_group = 0;
  // When gradients are summed over ranks: "micro_batch" after each, "step" once after the last
  // (less is sent, all gradients are held; stages 0 and 1 only), "auto": step at stages 0 and 1.
  std::string reduce_gradients = "auto";
  // Communication runs beside compute.
  bool overlap_comm = true;
  // What the GPUs of one machine exchange goes through their copy engines instead of NCCL's
  // kernels.
  bool copy_engines = true;
  // Masters and moments are in the host's memory, whose processors update them.
  bool offload_optimizer = false;
  // So are the weights, at stage 3: blocks come to the device when they are read. Implies the
  // above.
  bool offload_param = false;
  // The frozen table of embeddings stays in the host's memory, of which a batch's rows are read.
  bool offload_embeddings = false;

  bool reduces_each_micro_batch() const {
    return reduce_gradients == "micro_batch" || (reduce_gradients == "auto" && zero_stage >= 2);
  }

  void visit(OptionTable& v);
};

// C141 when the options contradict each other or `world` ranks cannot be grouped so.
void check_sharding(const ShardingOptions& options, int world);

}  // namespace sft
