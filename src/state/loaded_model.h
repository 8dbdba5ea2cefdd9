// A model with its weights in memory, read from a source: all of them, or what this rank holds of
// them (ZeRO). Used by training, generation and tests.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "graph/executor.h"
#include "io/model_source.h"
#include "model/model.h"
#include "optim/state_layout.h"
#include "state/adapter_start.h"
#include "state/frozen_weights.h"
#include "state/shard_layout.h"

namespace sft {

// The part of a published tensor that this rank holds: its values [begin, end).
struct HeldPart {
  std::string name;
  Shape shape;  // of the whole tensor
  int64_t begin = 0, end = 0;
  DType dtype = DType::f32;
  std::byte* data = nullptr;

  bool whole() const { return end - begin == shape.elements(); }
  size_t bytes() const { return static_cast<size_t>(end - begin) * size_of(dtype); }
};

// What a rank has of a model, and where.
struct Holding {
  ShardPlace place;
  bool offload_optimizer = false;   // masters and moments in the host's memory
  bool offload_param = false;       // and, at stage 3, the copy of them that programs read
  bool offload_embeddings = false;  // the frozen table there too

  FrozenWeights::OnHost frozen_on_host() const {
    return offload_param        ? FrozenWeights::OnHost::all
           : offload_embeddings ? FrozenWeights::OnHost::embeddings
                                : FrozenWeights::OnHost::nothing;
  }
};

struct LoadedModel {
  Model model;
  ShardLayout shards;  // which part this rank holds
  // Where the optimizer works when that is not the model's device (--offload_optimizer), else null.
  std::shared_ptr<Device> host;
  // What the optimizer changes, on its device: whole blocks, or this rank's slices.
  Buffer weights;
  // float32: masters; bfloat16 (--dtype bfloat16): there are no others.
  DType weight_type = DType::f32;
  Target target;  // what programs of this model compute in
  // The weights in target.compute, whole blocks or, at stage 3, slices; empty when `weights` are on
  // the device in that type themselves. In the host's memory with --offload_param.
  Buffer copy;
  bool copy_on_host = false;
  Buffer norms;     // norms in float32, end to end, when nothing else has all of them so
  Buffer gathered;  // at stage 3: the blocks that programs read, in `slots`
  BlockSlots slots;
  FrozenWeights frozen;  // what is not trained

  // Takes the memory for a rank's part; weights are zero.
  void allocate(Device& device, const Holding& holding);
  // Reads what this rank holds of the trained weights, and no more, in pieces. Programs can run
  // after refresh_copy (and, where ranks share it out, state/sharder.h's refresh).
  using ReadTensor = FrozenWeights::ReadTensor;
  void read_weights(Device& device, const ReadTensor& read);

  bool whole_weights() const {
    return shards.place().stage == 0 ||
           (shards.place().stage < 3 && target.compute == weight_type && host == nullptr);
  }
  Holding holding() const {
    return {shards.place(), host != nullptr, copy_on_host,
            frozen.on_host() == FrozenWeights::OnHost::embeddings};
  }
  Device& optimizer_device(Device& own) const { return host ? *host : own; }
  bool whole_copy() const { return shards.place().stage < 3; }
  // The weights, and their copy (null: there is none), of elements that this rank holds.
  std::byte* weights_at(const ShardRange& s) const;
  std::byte* copy_at(const ShardRange& s) const;
  // Everything that `weights` holds.
  std::vector<ShardRange> held() const { return whole_weights() ? shards.all() : shards.own(); }
  std::vector<HeldPart> held_parts() const;

  // Views for a program's bindings, by parameter index: of the copy where there is one, but norms
  // are read in float32; the frozen ones as they are kept.
  std::vector<Tensor> parameters() const;
  // Makes the copy of what is held anew from the weights, and the norms.
  void refresh_copy(Device& device) const;
  // Makes `norms` anew, after every change of the weights; where ranks share them out, from this
  // rank's slices, zero elsewhere: their sum over ranks is what programs need.
  void refresh_norms(Device& device) const;
  int64_t elements() const { return model.layout.elements; }  // of the trained weights
  // The same views into another buffer of whole blocks (gradients); empty ones for what is frozen.
  std::vector<Tensor> views(float* base) const;

 private:
  void send_converted(Device& device, const std::byte* from, int64_t n, std::byte* to) const;
};

// How many floats all norms among them have together.
int64_t count_norms(const std::vector<ParamSpec>& specs);

// M244 or M245 for a tensor of the family that the source does not have, or in another shape.
// Those of adapters are not looked for.
void check_weights(const ModelSource& source, const Model& model);

// Reads every tensor that the family describes, or what is held of it. M244/M245 for one that
// is missing or of another shape. A tied head that the file stores all the same is not read.
LoadedModel load_model(const ModelSource& source, Device& device, DType compute = DType::f32,
                       DType weight_type = DType::f32, const Holding& holding = {});
// The same for a model of this source, of which not everything need be trained, nor be in it: what
// adapters begin with, `start` says.
LoadedModel load_model(const ModelSource& source, Model model, Device& device, DType compute,
                       DType weight_type, const Holding& holding, AdapterStart* start = nullptr);

}  // namespace sft
