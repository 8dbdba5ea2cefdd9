// The weights of a model that are not trained, as programs read them: each in a format of its own,
// without gradients, masters or optimizer state. Whole on every rank up to ZeRO stage 2; at stage 3
// slices of bytes, and a few whole blocks at a time. Used by LoadedModel and the sharder.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "device/device.h"
#include "model/model.h"
#include "state/shard_layout.h"

namespace sft {

class FrozenWeights {
 public:
  FrozenWeights() = default;
  // What waits in the host's memory: nothing, the first block (the table of embeddings, whose rows
  // a device reads there), or, at stage 3, all slices.
  enum class OnHost { nothing, embeddings, all };
  // Takes the memory for a rank's part; the values are zero.
  FrozenWeights(const Model& model, DType compute, ShardPlace place, OnHost on_host,
                Device& device);

  // Writes values `part` of the published tensor `name`, of `shape`, as floats.
  using ReadTensor = std::function<void(const std::string& name, const Shape& shape,
                                        ElementRange part, float* to)>;
  // Fills `packed` with a published tensor as it is, where the source holds it in that format.
  using ReadPacked = std::function<bool(const std::string& name, Tensor& packed)>;
  // Reads what this rank holds, in pieces; a packed tensor whole.
  void read(Device& device, const ReadTensor& read, const ReadPacked& as_it_is = nullptr);
  // The same of values that are made in the device's memory: `make` is a ReadTensor that writes
  // there. Of the packed formats that only files have (can_encode) `lay` writes those `bytes` of a
  // tensor that are held; null: they stay zero.
  using LayBytes = std::function<void(const Tensor& packed, ElementRange bytes, std::byte* to)>;
  void make(Device& device, const ReadTensor& make, const LayBytes& lay = nullptr);

  // In bytes: all, and what of it is on the device.
  size_t size() const { return held_.size() + embeddings_.size() + gathered_.size(); }
  size_t device_size() const {
    return (on_host_ == OnHost::all ? 0 : held_.size()) + gathered_.size();
  }
  OnHost on_host() const { return on_host_; }

  // What programs read, in the order of Model::frozen.
  std::vector<Tensor> tensors() const;

  // --- at stage 3: how a block is brought together from the ranks' slices
  const ShardLayout& shards() const { return shards_; }
  const std::byte* slice(int block) const { return held_.data() + shards_.slice_at(block); }
  std::byte* gathered(int block) const { return gathered_.data() + slots_.at(block); }

  // What a rank has of `model` then, in bytes.
  struct Bytes {
    int64_t device = 0, host = 0;
  };
  static Bytes bytes(const Model& model, DType compute, ShardPlace place, OnHost on_host);

 private:
  // What this rank has of a block's bytes, and where.
  struct Held {
    ElementRange range;
    std::byte* data;
  };
  Held held(int block) const;
  // A whole block, before stage 3.
  std::byte* whole(int block) const;
  // Of a packed parameter the bytes that this rank has, and where.
  struct PackedPart {
    Tensor packed;
    ElementRange bytes;
    std::byte* to;
  };
  PackedPart packed_part(size_t parameter) const;
  void read_plain(Device& device, const ReadTensor& read, size_t parameter);
  void read_packed(Device& device, const ReadTensor& read, const ReadPacked& as_it_is,
                   size_t parameter);
  void make_plain(Device& device, const ReadTensor& make, size_t parameter);
  void make_packed(Device& device, const ReadTensor& make, size_t parameter);

  std::vector<ParamSpec> specs_;
  DType compute_ = DType::f32;
  DType packed_from_ = DType::f32;
  ParamLayout layout_;  // in bytes, as all that follows
  ShardLayout shards_;
  BlockSlots slots_;
  OnHost on_host_ = OnHost::nothing;
  Buffer held_;        // whole blocks, or slices
  Buffer embeddings_;  // the first block, where it is not there
  Buffer gathered_;    // at stage 3: the blocks that programs read, in `slots_`
};

}  // namespace sft
