#include "state/gathered_state.h"

#include <algorithm>
#include <map>

namespace sft {

namespace {

constexpr size_t kAlign = 64;

// One of the buffers that a rank's state of a block lies in, as every rank can work it out.
struct Source {
  const std::byte* own = nullptr;
  std::vector<std::vector<StatePart>> parts;  // by rank
};

// The weights, slots and their scales, and the states of whole tensors.
constexpr size_t kBuffers = 2 + 2 * kMaxSlots;

size_t buffer_of(int slot, bool scale) {
  return static_cast<size_t>(1 + slot + (scale ? kMaxSlots + 1 : 0));
}

size_t end_of(const std::vector<StatePart>& parts) {
  size_t end = 0;
  for (const StatePart& p : parts) {
    end = std::max(
        end, static_cast<size_t>(p.at) + static_cast<size_t>(p.end - p.begin) * size_of(p.dtype));
  }
  return end;
}

std::vector<Source> sources_of(const Sharder& sharder, int block, bool optimizer) {
  const LoadedModel& m = sharder.model();
  const ShardLayout& shards = m.shards;
  const auto ranks = static_cast<size_t>(shards.place().ranks);
  std::vector<Source> sources(optimizer ? kBuffers : 1);
  for (Source& s : sources) {
    s.parts.resize(ranks);
  }
  sources[0].own = m.weights_at(shards.own(block));
  for (size_t r = 0; r < ranks; ++r) {
    const ElementRange range = shards.own(block, static_cast<int>(r)).range;
    sources[0].parts[r] = weight_parts(m.model.trained, m.model.layout, range, m.weight_type);
    for (StatePart& p : sources[0].parts[r]) {
      p.name = "master." + p.name;
    }
    if (optimizer) {
      const StateLayout layout(m.model.trained, m.model.layout, sharder.optimizer_settings(),
                               range);
      for (const StatePart& p : layout.parts(m.model.trained, m.model.layout)) {
        sources[buffer_of(p.slot, p.scale)].parts[r].push_back(p);
      }
    }
  }
  if (optimizer) {
    const Optimizer& own = sharder.optimizers()[static_cast<size_t>(block)];
    for (int slot = 0; slot < kMaxSlots; ++slot) {
      for (const bool scale : {false, true}) {
        sources[buffer_of(slot, scale)].own = own.buffer(slot, scale).data();
      }
    }
    sources[buffer_of(kMaxSlots, false)].own = own.buffer(kMaxSlots, false).data();
  }
  return sources;
}

GatheredState room_for(const Sharder& sharder, bool optimizer) {
  const LoadedModel& m = sharder.model();
  const std::vector<StatePart> parts =
      whole_state(m.model, m.weight_type, optimizer ? &sharder.optimizer_settings() : nullptr);
  GatheredState state;
  size_t bytes = 0;
  for (const StatePart& p : parts) {
    const Tensor tensor{nullptr, p.shape, p.dtype};
    state.tensors.push_back({p.name, tensor});
    bytes += (tensor.bytes() + kAlign - 1) / kAlign * kAlign;
  }
  state.memory = Buffer(bytes);
  std::byte* at = state.memory.data();
  for (NamedTensor& t : state.tensors) {
    t.tensor.data = at;
    at += (t.tensor.bytes() + kAlign - 1) / kAlign * kAlign;
  }
  return state;
}

}  // namespace

std::vector<StatePart> whole_state(const Model& model, DType weight_type,
                                   const OptimizerSettings* optimizer) {
  const ElementRange all{0, model.layout.elements};
  std::vector<StatePart> parts = weight_parts(model.trained, model.layout, all, weight_type);
  for (StatePart& p : parts) {
    p.name = "master." + p.name;
  }
  if (optimizer != nullptr) {
    const StateLayout layout(model.trained, model.layout, *optimizer, all);
    std::ranges::copy(layout.parts(model.trained, model.layout), std::back_inserter(parts));
  }
  return parts;
}

GatheredState gather_state(Sharder& sharder, bool first_rank, bool optimizer) {
  GatheredState state;
  if (!sharder.with_first_rank()) {
    return state;
  }
  std::map<std::string, std::byte*> places;
  if (first_rank) {
    state = room_for(sharder, optimizer);
    for (NamedTensor& t : state.tensors) {
      places[t.name] = t.tensor.as<std::byte>();
    }
  }
  const ShardLayout& shards = sharder.model().shards;
  const auto own_rank = static_cast<size_t>(shards.place().rank);
  for (int block = 0; block < shards.blocks(); ++block) {
    for (const Source& source : sources_of(sharder, block, optimizer)) {
      size_t bytes = 0;
      for (const auto& parts : source.parts) {
        bytes = std::max(bytes, end_of(parts));
      }
      if (bytes == 0) {
        continue;
      }
      const std::byte* const all =
          sharder.gather(block, source.own, end_of(source.parts[own_rank]), bytes);
      for (size_t r = 0; first_rank && r < source.parts.size(); ++r) {
        for (const StatePart& p : source.parts[r]) {
          const size_t width = size_of(p.dtype);
          sharder.device().download(places.at(p.name) + static_cast<size_t>(p.begin) * width,
                                    all + r * bytes + p.at,
                                    static_cast<size_t>(p.end - p.begin) * width);
        }
      }
    }
  }
  sharder.end_gathering();
  return state;
}

}  // namespace sft
