// The training state of one rank, and how the ranks' parts come together (ZeRO stages 0 to 3, also
// hybrid: sharded within groups of ranks, the same in every group). Programs tell it where they are
// (graph/block_marks.h); it brings a block's weights before they are read and sums a block's
// gradients once they are written, beside the compute. Used by the trainer.
//
// Sums over ranks are taken in rank order, and the norm of the gradients slice by slice, so that on
// CPUs every stage gives the same bits where gradients are summed at the same times
// (--reduce_gradients).
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "comm/communicator.h"
#include "graph/block_marks.h"
#include "optim/optimizer.h"
#include "optim/sharding_options.h"
#include "state/loaded_model.h"
#include "state/offloaded_update.h"
#include "state/shard_layout.h"

namespace sft {

// Which part of a model rank `rank` of `world` holds. Stage 0 where there is nothing to share.
ShardPlace place_of(const ShardingOptions& options, int rank, int world);
// The same, and where; a CPU has nothing to offload. `kind`: of the device.
Holding holding_of(const ShardingOptions& options, int rank, int world, DeviceKind kind);

// What a rank holds of a training state, in bytes: the formula of the memory plan.
struct ShardBytes {
  double weights = 0;                 // as programs read them, gathered blocks included
  double masters = 0;                 // where the optimizer changes others
  double gradients = 0, moments = 0;  // moments: all that the optimizer keeps and works in
  double host = 0;                    // of these, or beside them, what is in the host's memory
};
// What is offloaded counts as `host` alone.
ShardBytes shard_bytes(const Model& model, const Holding& holding, DType stored, DType compute,
                       const OptimizerSettings& optimizer, bool sums_apart);
// Whether summed gradients need memory beside those of the micro-batch.
bool sums_gradients_apart(const ShardingOptions& options, ShardPlace place, int64_t accumulation);

class Sharder final : public BlockWatcher {
 public:
  // `model` was allocated for place_of(options, world's rank and size). Every rank makes one at the
  // same time. Keeps references. C141: see check_sharding.
  Sharder(Device& device, Communicator& world, LoadedModel& model, const ShardingOptions& options,
          const OptimizerSettings& optimizer, int64_t accumulation);
  ~Sharder() override;  // waits: what is under way reads and writes its memory
  Sharder(const Sharder&) = delete;
  Sharder& operator=(const Sharder&) = delete;

  // Where programs write gradients, by parameter index.
  std::vector<Tensor> gradients() const;

  // How the next micro-batch's program runs, which is the first or the last of a step, or both:
  // whether it overwrites gradients, and who is told of its marks (null: nobody).
  struct MicroBatchRun {
    bool overwrite;
    BlockWatcher* watcher;
  };
  MicroBatchRun begin_micro_batch(bool first, bool last);
  // The same for a program without gradients.
  BlockWatcher* begin_reading();
  void reached(const BlockMark& mark) override;

  // After the last micro-batch: the sums over all ranks are there.
  void finish_gradients();
  // Their L2 norm, over all ranks' slices; still times the loss scale.
  double gradient_norm();
  // One step of the optimizer on what this rank updates, and the ranks' parts of the new weights to
  // everybody, of which programs run meanwhile need to be told. Pointers and range of `step` are
  // filled in here.
  void update(OptimizerStep step);
  // Waits until all whole blocks are here.
  void settle();
  // After what is held of the weights was changed by others: copies, norms, other ranks' parts.
  void refresh();

  // What this rank holds of the state, under the names that a checkpoint has: "master.<name>" and
  // those of optim/state_layout.h.
  std::vector<HeldPart> state_parts() const;

  // Whether other ranks have parts of the state that this one has not.
  bool scattered() const { return !alone() && stage() > 0; }

  // --- for gather_state
  // ---------------------------------------------------------------------------
  const LoadedModel& model() const { return model_; }
  Device& device() const { return device_; }
  const OptimizerSettings& optimizer_settings() const { return optimizer_settings_; }
  const std::vector<Optimizer>& optimizers() const { return optimizers_; }
  double gradient_bytes() const { return static_cast<double>(gradients_.size() + sums_.size()); }
  // Whether world rank 0, which saves, is among the ranks that share this copy.
  bool with_first_rank() const { return replica_ == 0; }
  // Every rank's `bytes` in rank order, in memory that the next call takes again; `own` are this
  // rank's, at most as many. Between steps only.
  const std::byte* gather(int block, const void* own, size_t own_bytes, size_t bytes);
  void end_gathering();

 private:
  using Ticket = std::optional<Communicator::Ticket>;

  bool alone() const { return shards().alone(); }
  // Nothing comes and goes: one rank that has everything on its device.
  bool idle() const { return alone() && stage() == 0; }
  const ShardLayout& shards() const { return model_.shards; }
  int stage() const { return shards().place().stage; }
  bool uses_slots() const { return stage() >= 2; }
  float* block_gradients(int block) const;
  Ticket& reduction_of(int block);
  float* gradients_at(const ShardRange& s) const;
  void fetch(int block);
  void arrive(int slot);
  void reduce(int block);
  void share_weights();
  void update_whole(const OptimizerStep& step);
  float* whole_gradients(const ShardRange& s);
  void wait(Ticket& ticket);
  // With overlap_comm off nothing is left under way.
  Communicator::Ticket begun(Communicator::Ticket ticket);

  Device& device_;
  LoadedModel& model_;
  ShardingOptions options_;
  OptimizerSettings optimizer_settings_;
  std::unique_ptr<Communicator> group_, replicas_;  // null: all ranks, no other copies
  Communicator& comm_;                              // of the ranks that share this copy
  int replica_ = 0;
  bool sums_apart_;
  std::vector<ShardRange> updated_;
  std::vector<Optimizer> optimizers_;  // one for each of them
  std::optional<OffloadedUpdate> offloaded_;
  Buffer workspace_;   // of steps that take whole tensors
  BlockSlots slots_;   // of gradients, from stage 2 on
  bool alike_ = true;  // blocks that share a slot have the same tensors
  Buffer gradients_;   // of a micro-batch or a step: whole blocks, or slots
  Buffer sums_;        // of a step, over ranks: slices
  Buffer spill_;       // for `gather`, where a block of gradients has no room for it
  bool reducing_ = false, first_ = false;
  std::vector<Ticket> weights_;                                  // by block, on their way
  std::array<int, BlockSlots::kSlots> fetched_block_{};          // what a slot of weights holds; -1
  std::array<Ticket, BlockSlots::kSlots> fetched_;               // from other ranks,
  std::array<std::optional<int>, BlockSlots::kSlots> uploaded_;  // or from the host
  std::vector<Ticket> reduced_;  // by slot, or by block where there are none
  Ticket last_;                  // of everything begun
};

}  // namespace sft
