#include "state/sharder.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace sft {

namespace {

std::byte* bytes_at(const Buffer& buffer, int64_t elements, DType type) {
  return buffer.data() + elements * static_cast<int64_t>(size_of(type));
}

// A block on its way together.
struct Incoming {
  const std::byte* from;
  std::byte* whole;
  size_t bytes;
};

// Whether all blocks that share a slot have their tensors at the same places.
bool blocks_alike(const Model& model, const ShardLayout& shards, const BlockSlots& slots) {
  std::vector<std::vector<int64_t>> tensors(static_cast<size_t>(shards.blocks()));
  for (size_t i = 0; i < model.trained.size(); ++i) {
    const int block = model.trained[i].block;
    auto& of_block = tensors[static_cast<size_t>(block)];
    of_block.push_back(model.layout.offsets[i] - shards.block(block).begin);
    of_block.push_back(model.trained[i].shape.elements());
  }
  std::array<int, BlockSlots::kSlots> first;
  first.fill(-1);
  for (int b = 0; b < shards.blocks(); ++b) {
    int& before = first[static_cast<size_t>(slots.slot(b))];
    before = before < 0 ? b : before;
    if (tensors[static_cast<size_t>(before)] != tensors[static_cast<size_t>(b)]) {
      return false;
    }
  }
  return true;
}

}  // namespace

ShardPlace place_of(const ShardingOptions& o, int rank, int world) {
  check_sharding(o, world);
  const auto group = static_cast<int>(o.zero_shard_group);
  if (o.zero_stage == 0 || group == 1 || world == 1) {
    return {rank, world, 0};
  }
  const int ranks = group == 0 ? world : group;
  return {rank % ranks, ranks, static_cast<int>(o.zero_stage)};
}

Holding holding_of(const ShardingOptions& o, int rank, int world, DeviceKind kind) {
  Holding holding{place_of(o, rank, world)};
  if (kind != DeviceKind::cpu) {
    holding.offload_optimizer = o.offload_optimizer || o.offload_param;
    holding.offload_param = o.offload_param;
    holding.offload_embeddings = o.offload_embeddings;
  }
  if (holding.offload_param && world == 1) {  // blocks come from the host instead
    holding.place.stage = 3;
  }
  return holding;
}

bool sums_gradients_apart(const ShardingOptions& o, ShardPlace place, int64_t accumulation) {
  return place.stage >= 2 || (place.ranks > 1 && o.reduces_each_micro_batch() && accumulation > 1);
}

ShardBytes shard_bytes(const Model& model, const Holding& holding, DType stored, DType compute,
                       const OptimizerSettings& optimizer, bool sums_apart) {
  const ShardPlace place = holding.place;
  const bool offloaded = holding.offload_optimizer;
  const ShardLayout shards(model.layout, place);
  const auto bytes = [](int64_t elements, DType type) {
    return static_cast<double>(elements) * static_cast<double>(size_of(type));
  };
  const int64_t whole = shards.whole_elements(), slice = shards.slice_elements();
  const int64_t some = BlockSlots(shards).elements();
  const bool copied = compute != stored || offloaded;
  ShardBytes out;
  out.weights = bytes(place.stage == 3 ? some : whole, compute);
  if (place.stage == 3 && copied) {
    (holding.offload_param ? out.host : out.weights) += bytes(slice, compute);
  }
  if (copied || place.stage == 3) {
    out.masters = bytes(place.stage == 0 ? whole : slice, stored);
  }
  const bool float_norms = stored == DType::f32 && place.stage == 0 && !offloaded;
  if (compute != DType::f32 && !float_norms) {
    out.weights += bytes(count_norms(model.trained), DType::f32);
  }
  out.gradients = bytes(place.stage >= 2 ? some : whole, DType::f32);
  out.gradients += sums_apart ? bytes(slice, DType::f32) : 0.0;
  for (const ShardRange& s : shards.updated()) {
    out.moments +=
        static_cast<double>(StateLayout(model.trained, model.layout, optimizer, s.range).bytes());
  }
  out.moments +=
      static_cast<double>(whole_workspace(optimizer.whole, model.trained, shards.blocks()));
  const FrozenWeights::Bytes frozen =
      FrozenWeights::bytes(model, compute, place, holding.frozen_on_host());
  out.weights += static_cast<double>(frozen.device);
  out.host += static_cast<double>(frozen.host);
  if (offloaded) {
    out.host += std::exchange(out.masters, 0.0) + std::exchange(out.moments, 0.0) +
                static_cast<double>(OffloadedUpdate::staging_bytes(compute));
  }
  return out;
}

Sharder::Sharder(Device& device, Communicator& world, LoadedModel& model,
                 const ShardingOptions& options, const OptimizerSettings& optimizer,
                 int64_t accumulation)
    : device_(device),
      model_(model),
      options_(options),
      optimizer_settings_(optimizer),
      group_(model.shards.place().ranks == world.size()
                 ? nullptr
                 : world.split(world.rank() / model.shards.place().ranks)),
      replicas_(group_ ? world.split(world.rank() % model.shards.place().ranks) : nullptr),
      comm_(group_ ? *group_ : world),
      replica_(group_ ? world.rank() / model.shards.place().ranks : 0),
      sums_apart_(sums_gradients_apart(options, model.shards.place(), accumulation)),
      updated_(model.shards.updated()),
      weights_(static_cast<size_t>(model.shards.blocks())),
      reduced_(std::max<size_t>(weights_.size(), BlockSlots::kSlots)) {
  for (const ShardRange& s : updated_) {
    optimizers_.emplace_back(model.optimizer_device(device), model.model.trained,
                             model.model.layout, optimizer, s.range);
  }
  workspace_ = device.allocate(static_cast<size_t>(
      whole_workspace(optimizer.whole, model.model.trained, model.shards.blocks())));
  if (model.host) {
    SFT_ASSERT(optimizer.whole == WholeStep::none);  // C181
    offloaded_.emplace(device, model.target.compute, model.copy_on_host);
  }
  int64_t elements = shards().whole_elements();
  if (uses_slots()) {
    slots_ = BlockSlots(shards());
    alike_ = blocks_alike(model.model, shards(), slots_);
    elements = slots_.elements();
  }
  gradients_ = device.allocate(static_cast<size_t>(elements) * sizeof(float));
  if (sums_apart_) {
    sums_ = device.allocate(static_cast<size_t>(shards().slice_elements()) * sizeof(float));
  }
  share_weights();
}

Sharder::~Sharder() {
  try {
    wait(last_);
  } catch (const Error&) {  // it was broken off
  }
}

Sharder::Ticket& Sharder::reduction_of(int block) {
  return reduced_[static_cast<size_t>(uses_slots() ? slots_.slot(block) : block)];
}

float* Sharder::block_gradients(int block) const {
  return gradients_.f32() + (uses_slots() ? slots_.at(block) : shards().whole_at(block));
}

std::vector<Tensor> Sharder::gradients() const {
  std::vector<Tensor> out;
  const Model& m = model_.model;
  for (size_t i = 0; i < m.trained.size(); ++i) {
    const int block = m.trained[i].block;
    out.push_back({block_gradients(block) + (m.layout.offsets[i] - shards().block(block).begin),
                   m.trained[i].shape, DType::f32});
  }
  out.resize(m.parameter_count());  // frozen ones have none
  return out;
}

Communicator::Ticket Sharder::begun(Communicator::Ticket ticket) {
  last_ = ticket;
  if (!options_.overlap_comm) {
    wait(last_);
  }
  return ticket;
}

void Sharder::wait(Ticket& ticket) {
  if (ticket) {
    comm_.wait(*ticket);
    ticket.reset();
  }
}

Sharder::MicroBatchRun Sharder::begin_micro_batch(bool first, bool last) {
  const bool each = options_.reduces_each_micro_batch() && !idle();
  first_ = first;
  reducing_ = !idle() && (each || last);
  const bool arriving =
      std::ranges::any_of(weights_, [](const Ticket& t) { return t.has_value(); });
  const bool watched = reducing_ || arriving || stage() == 3;
  return {first || each, watched ? this : nullptr};
}

BlockWatcher* Sharder::begin_reading() {
  settle();
  return stage() == 3 ? this : nullptr;
}

void Sharder::reached(const BlockMark& mark) {
  switch (mark.kind) {
    case BlockMark::Kind::read:
      if (stage() < 3) {
        wait(weights_[static_cast<size_t>(mark.block)]);
        return;
      }
      fetch(mark.block);
      arrive(slots_.slot(mark.block));
      if (options_.overlap_comm && mark.next >= 0 &&
          slots_.slot(mark.next) != slots_.slot(mark.block)) {
        fetch(mark.next);
      }
      return;
    case BlockMark::Kind::write_gradients:
      wait(reduction_of(mark.block));  // of what is overwritten
      if (uses_slots() && !alike_) {   // what another block left between its tensors is no gradient
        device_.zero(block_gradients(mark.block),
                     static_cast<size_t>(shards().whole(mark.block)) * sizeof(float));
      }
      return;
    case BlockMark::Kind::gradients_written:
      if (reducing_) {
        reduce(mark.block);
      }
      return;
  }
}

void Sharder::fetch(int block) {
  const auto slot = static_cast<size_t>(slots_.slot(block));
  if (fetched_block_[slot] == block) {
    return;
  }
  fetched_block_[slot] = block;
  const ShardRange own = shards().own(block);
  const DType type = model_.target.compute;
  const FrozenWeights& frozen = model_.frozen;
  // This rank's slice, where the whole block goes, and the bytes of a slice: of what is trained and
  // of what is frozen.
  std::array<Incoming, 2> parts{
      {{model_.copy.size() > 0 ? model_.copy_at(own) : model_.weights_at(own),
        bytes_at(model_.gathered, model_.slots.at(block), type),
        static_cast<size_t>(shards().slice(block)) * size_of(type)},
       {frozen.slice(block), frozen.gathered(block),
        static_cast<size_t>(frozen.shards().slice(block))}}};
  if (model_.copy_on_host) {
    device_.begin_aside(Lane::copies);
    for (Incoming& part : parts) {
      std::byte* const mine = part.whole + static_cast<size_t>(shards().place().rank) * part.bytes;
      device_.copy(mine, part.from, part.bytes);
      part.from = mine;
    }
    uploaded_[slot] = device_.end_aside();
    if (alone()) {
      return;
    }
    device_.wait_aside(*std::exchange(uploaded_[slot], std::nullopt));
  }
  for (const Incoming& part : parts) {
    if (part.bytes > 0) {
      fetched_[slot] = begun(comm_.begin_all_gather(part.from, part.whole, part.bytes));
    }
  }
}

void Sharder::arrive(int slot) {
  const auto s = static_cast<size_t>(slot);
  wait(fetched_[s]);
  if (uploaded_[s]) {
    device_.wait_aside(*std::exchange(uploaded_[s], std::nullopt));
  }
}

void Sharder::reduce(int block) {
  float* const full = block_gradients(block);
  const int64_t n = shards().slice(block);
  if (alone()) {
    Tensor sum{sums_.f32() + shards().slice_at(block), {n}, DType::f32};
    device_.add({full, {n}, DType::f32}, sum, !first_);
    return;
  }
  Ticket& ticket = reduction_of(block);
  if (sums_apart_) {
    ticket = comm_.begin_reduce_scatter(full, sums_.f32() + shards().slice_at(block), n, !first_);
  } else if (stage() == 0) {
    ticket = comm_.begin_all_reduce(full, shards().block(block).size());
  } else {
    ticket = comm_.begin_reduce_scatter(full, full + shards().place().rank * n, n, false);
  }
  begun(*ticket);
}

float* Sharder::gradients_at(const ShardRange& s) const {
  return stage() > 0 && sums_apart_ ? sums_.f32() + s.slice_at : gradients_.f32() + s.whole_at;
}

void Sharder::finish_gradients() {
  if (alone()) {
    return;
  }
  wait(last_);
  std::ranges::fill(reduced_, std::nullopt);
  if (replicas_) {
    Ticket ticket;
    for (const ShardRange& s : updated_) {
      if (s.range.size() > 0) {
        ticket = replicas_->begin_all_reduce(gradients_at(s), s.range.size());
      }
    }
    if (ticket) {
      replicas_->wait(*ticket);
    }
  }
  if (stage() == 0 && sums_apart_) {
    for (int b = 0; b < shards().blocks(); ++b) {
      if (shards().slice(b) == 0) {
        continue;
      }
      begun(comm_.begin_all_gather(sums_.f32() + shards().slice_at(b), block_gradients(b),
                                   static_cast<size_t>(shards().slice(b)) * sizeof(float)));
    }
    wait(last_);
  }
}

double Sharder::gradient_norm() {
  if (alone()) {
    return l2_norm(device_, (sums_apart_ ? sums_ : gradients_).f32(), model_.elements());
  }
  double squares = 0;
  for (const ShardRange& s : shards().own()) {
    const double norm = l2_norm(device_, gradients_at(s), s.range.size());
    squares += norm * norm;
  }
  return std::sqrt(comm_.sum(squares));
}

void Sharder::update(OptimizerStep step) {
  settle();  // what is still on its way is read
  step.weight_type = model_.weight_type;
  step.copy_type = model_.target.compute;
  for (size_t i = 0; i < updated_.size(); ++i) {
    const ShardRange& s = updated_[i];
    if (s.range.size() > 0) {
      step.weights = model_.weights_at(s);
      step.copy = model_.copy_at(s);
      step.gradients = gradients_at(s);
      if (offloaded_) {
        offloaded_->run(optimizers_[i], step);
      } else {
        optimizers_[i].step(step);
      }
    }
  }
  if (offloaded_) {
    offloaded_->finish();
  }
  if (optimizer_settings_.whole != WholeStep::none) {
    update_whole(step);
  }
  model_.refresh_norms(device_);
  share_weights();
}

// Block by block: the whole gradient of a block is brought together where ranks share it out, and
// every rank works on the tensors that its own slice has a part of.
void Sharder::update_whole(const OptimizerStep& step) {
  const Model& m = model_.model;
  for (size_t i = 0; i < updated_.size(); ++i) {
    const ShardRange& s = updated_[i];
    if (stage() > 0 && std::ranges::none_of(m.trained, [&](const ParamSpec& spec) {
          return spec.block == s.block &&
                 takes_whole(optimizer_settings_.whole, spec, shards().blocks());
        })) {
      continue;
    }
    OptimizerStep own = step;
    own.gradients = whole_gradients(s);
    own.weights = model_.weights_at(s);
    own.copy = model_.copy_at(s);
    const ElementRange whole = stage() > 0 ? shards().block(s.block) : s.range;
    if (s.range.size() > 0 && optimizers_[i].takes_whole()) {
      optimizers_[i].step_whole(own, whole, workspace_.data());
    }
  }
}

float* Sharder::whole_gradients(const ShardRange& s) {
  if (stage() == 0) {
    return gradients_at(s);
  }
  float* const full = block_gradients(s.block);
  const int64_t n = shards().slice(s.block);
  if (alone()) {
    device_.copy(full, gradients_at(s), static_cast<size_t>(n) * sizeof(float));
    return full;
  }
  comm_.wait(comm_.begin_all_gather(gradients_at(s), full, static_cast<size_t>(n) * sizeof(float)));
  return full;
}

// Norms first: every block needs some of them, and what is begun later is done later.
void Sharder::share_weights() {
  fetched_block_.fill(-1);
  if (stage() == 0 || alone()) {
    return;
  }
  if (model_.norms.size() > 0) {
    weights_[0] =
        begun(comm_.begin_all_reduce(model_.norms.f32(), count_norms(model_.model.trained)));
  }
  if (stage() == 3) {
    wait(weights_[0]);
    return;
  }
  const bool copied = model_.copy.size() > 0;
  const Buffer& whole = copied ? model_.copy : model_.weights;
  const DType type = copied ? model_.target.compute : model_.weight_type;
  for (const ShardRange& s : shards().own()) {
    if (shards().slice(s.block) == 0) {
      continue;  // all of it is frozen
    }
    weights_[static_cast<size_t>(s.block)] = begun(comm_.begin_all_gather(
        bytes_at(whole, s.whole_at, type), bytes_at(whole, shards().whole_at(s.block), type),
        static_cast<size_t>(shards().slice(s.block)) * size_of(type)));
  }
}

void Sharder::settle() {
  for (Ticket& ticket : weights_) {
    wait(ticket);
  }
}

void Sharder::refresh() {
  settle();
  model_.refresh_copy(device_);
  share_weights();
  settle();
}

std::vector<HeldPart> Sharder::state_parts() const {
  std::vector<HeldPart> out = model_.held_parts();
  for (HeldPart& part : out) {
    part.name = "master." + part.name;
  }
  for (const Optimizer& optimizer : optimizers_) {
    for (const StatePart& p : optimizer.parts()) {
      out.push_back({p.name, p.shape, p.begin, p.end, p.dtype, optimizer.data(p)});
    }
  }
  return out;
}

// A block's gradients are not needed between steps, and hardly any of its state is larger. What
// lies between tensors must be zero again before the next step.
const std::byte* Sharder::gather(int block, const void* own, size_t own_bytes, size_t bytes) {
  auto* full = reinterpret_cast<std::byte*>(block_gradients(block));
  const auto ranks = static_cast<size_t>(shards().place().ranks);
  if (bytes * ranks > static_cast<size_t>(shards().whole(block)) * sizeof(float)) {
    spill_ = device_.allocate(bytes * ranks);  // states of whole tensors, in blocks of small ones
    full = spill_.data();
  }
  std::byte* const mine = full + static_cast<size_t>(shards().place().rank) * bytes;
  device_.copy(mine, own, own_bytes);
  comm_.wait(comm_.begin_all_gather(mine, full, bytes));
  return full;
}

void Sharder::end_gathering() {
  spill_ = Buffer();
  device_.zero(gradients_.data(), gradients_.size());
}

}  // namespace sft
