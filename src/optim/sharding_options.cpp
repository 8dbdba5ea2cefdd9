#include "optim/sharding_options.h"

#include <fmt/format.h>

#include "core/error.h"

namespace sft {

void ShardingOptions::visit(OptionTable& v) {
  v("zero_stage", &zero_stage,
    "What ranks share out: 0 nothing, 1 masters and moments, 2 gradients too, 3 weights too.")
      .at_least(0)
      .at_most(3);
  v("zero_shard_group", &zero_shard_group,
    "Ranks that share one copy (hybrid sharding: those of a machine); 0: all.")
      .at_least(0);
  v("reduce_gradients", &reduce_gradients,
    "When gradients are summed over ranks: after each micro-batch, or once a step (stages 0 and 1, "
    "where auto takes it).")
      .one_of({"auto", "micro_batch", "step"});
  v("overlap_comm", &overlap_comm, "Communicate beside the compute.");
  v("copy_engines", &copy_engines,
    "What the GPUs of one machine exchange goes through their copy engines, not NCCL's kernels.");
  v("offload_optimizer", &offload_optimizer,
    "Keep masters and moments in the host's memory and update them there.");
  v("offload_param", &offload_param,
    "Keep the weights there too, and bring blocks to the device when they are read (stage 3; "
    "implies "
    "offload_optimizer).");
  v("offload_embeddings", &offload_embeddings,
    "Keep the table of embeddings in the host's memory where adapters are trained, and read a "
    "batch's rows from there.");
}

void check_sharding(const ShardingOptions& o, int world) {
  if (o.zero_stage >= 2 && o.reduce_gradients == "step") {
    throw Error("C141", fmt::format("reduce_gradients step keeps all gradients until the step's "
                                    "end, but zero_stage {} frees them",
                                    o.zero_stage))
        .hint("use --zero_stage 1, or leave --reduce_gradients away");
  }
  if (o.offload_param && o.zero_stage != 3) {
    throw Error("C141",
                fmt::format("offload_param is for weights that are shared out, and zero_stage "
                            "is {}",
                            o.zero_stage))
        .hint("add --zero_stage 3");
  }
  if (o.offload_embeddings && o.zero_stage == 3) {
    throw Error("C141",
                "offload_embeddings is for a table that each rank has whole, and zero_stage is 3")
        .hint("use --zero_stage 2, or --offload_param instead");
  }
  if (o.zero_shard_group > 0 && world % o.zero_shard_group != 0) {
    throw Error("C141", fmt::format("zero_shard_group {} does not divide the {} ranks",
                                    o.zero_shard_group, world))
        .hint("use the number of ranks of one machine");
  }
}

}  // namespace sft
