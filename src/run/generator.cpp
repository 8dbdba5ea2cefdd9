#include "run/generator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"

namespace sft {

void SamplingOptions::visit(OptionTable& v) {
  v("temperature", &temperature, "Below 1: sharper; above: more varied.").above(0);
  v("top_k", &top_k, "Only the K likeliest tokens; 0: all.").at_least(0);
  v("top_p", &top_p, "Only the likeliest tokens with this probability together.")
      .above(0)
      .at_most(1);
}

int32_t pick_token(std::span<const float> logits, const SamplingOptions& options, uint64_t draw) {
  if (!options.sample) {
    return static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
  }
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto more_likely = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)];
    const float y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  size_t kept = order.size();
  if (options.top_k > 0) {
    kept = std::min(kept, static_cast<size_t>(options.top_k));
  }
  std::partial_sort(order.begin(), order.begin() + static_cast<long>(kept), order.end(),
                    more_likely);
  std::vector<double> p(kept);
  const double top = logits[static_cast<size_t>(order[0])];
  double total = 0;
  for (size_t i = 0; i < kept; ++i) {
    p[i] = std::exp((logits[static_cast<size_t>(order[i])] - top) / options.temperature);
    total += p[i];
  }
  double mass = 0;
  size_t nucleus = 0;
  while (nucleus < kept && (nucleus == 0 || mass < options.top_p * total)) {
    mass += p[nucleus++];
  }
  double at = uniform(options.seed, 0, draw) * mass;
  for (size_t i = 0; i < nucleus; ++i) {
    at -= p[i];
    if (at < 0) {
      return order[i];
    }
  }
  return order[nucleus - 1];
}

Generator::Generator(Device& device, const LoadedModel& model, GeneratorRoom room, Arena* arena)
    : device_(device),
      model_(model),
      room_(room),
      past_(static_cast<size_t>(room.lanes)),
      taken_(static_cast<size_t>(room.lanes)),
      state_of_(static_cast<size_t>(room.lanes)),
      turned_for_(static_cast<size_t>(room.lanes)),
      own_arena_(device),
      arena_(arena != nullptr ? *arena : own_arena_) {
  const ModelConfig& config = model.model.config;
  states_ = has_states(config);
  bindings_.parameters = model.parameters();
  const DType type = model.target.compute;
  for (const RopeFrequencies& rope : config.ropes) {
    by_length_ = by_length_ || rope.by_length();
    short_length_ = std::max(short_length_, rope.long_inv_freq.empty() ? 0 : rope.short_length);
  }
  for (const auto& layer : cache_specs(config, {room.capacity * room.lanes, room.lanes}, type)) {
    for (const CacheSpec& spec : layer) {
      caches_.push_back(device.allocate(bytes_of(spec.dtype, spec.shape)));
      bindings_.inputs[spec.name] = {caches_.back().data(), spec.shape, spec.dtype};
    }
  }
  // One place for good: work that a device records is tied to it.
  const int64_t values = 4 * room.lanes + 2 * std::max(most_piece(device), room.lanes) + 7 * 16;
  inputs_ = device.allocate(static_cast<size_t>(values) * sizeof(int32_t));
}

int64_t Generator::most_piece(const Device& device) {
  return device.kind() == DeviceKind::cuda ? kFirstPiece : kPiece;
}

int64_t Generator::piece(size_t lane) const {
  return past_[lane] == 0 && !by_length_ && !states_ ? most_piece(device_) : kPiece;
}

void Generator::rewind(int64_t tokens, size_t lane) {
  SFT_ASSERT(tokens >= 0 && tokens <= past_[lane]);
  past_[lane] = tokens;
}

bool Generator::turned_otherwise(size_t lane, int64_t length) const {
  return short_length_ > 0 && past_[lane] > 0 &&
         (turned_for_[lane] > short_length_) != (length > short_length_);
}

std::span<const float> Generator::feed(std::span<const int32_t> tokens, size_t lane) {
  const int64_t length = past_[lane] + static_cast<int64_t>(tokens.size());
  if (short_length_ > 0 || states_) {
    std::vector<int32_t>& taken = taken_[lane];
    taken.resize(static_cast<size_t>(past_[lane]));
    taken.insert(taken.end(), tokens.begin(), tokens.end());
    const bool gone_back = states_ && past_[lane] > 0 && state_of_[lane] != past_[lane];
    if (turned_otherwise(lane, length) || gone_back) {
      tokens = taken;
      past_[lane] = 0;
    }
  }
  while (static_cast<int64_t>(tokens.size()) > piece(lane)) {
    const auto most = static_cast<size_t>(piece(lane));
    feed_piece(tokens.first(most), lane, length);
    tokens = tokens.subspan(most);
  }
  return feed_piece(tokens, lane, length);
}

Generator::Recorded Generator::record(const LanesSize& size) {
  LogitsProgram recorded = record_lanes(model_.model, size, model_.target);
  return {std::make_unique<Executor>(device_, arena_, std::move(recorded.program)),
          recorded.logits};
}

std::span<const float> Generator::feed_piece(std::span<const int32_t> tokens, size_t lane,
                                             int64_t length) {
  const auto count = static_cast<int64_t>(tokens.size());
  turned_for_[lane] = length;
  if (count == 1) {
    return step_of(std::span(&lane, 1), tokens, length);
  }
  LanesSize size{.tokens = count, .room = cache_room()};
  size.from_start = past_[lane] == 0 && !by_length_ && !states_;
  if (piece_ != size) {
    prefill_ = record(size);
    piece_ = size;
  }
  return run(prefill_, tokens, std::span(&lane, 1), length);
}

std::span<const float> Generator::step(std::span<const size_t> lanes,
                                       std::span<const int32_t> tokens) {
  SFT_ASSERT(lanes.size() == tokens.size() && (lanes.size() == 1 || !by_length_));
  for (const size_t lane : lanes) {
    turned_for_[lane] = past_[lane] + 1;
  }
  return step_of(lanes, tokens, past_[lanes[0]] + 1);
}

std::span<const float> Generator::step_of(std::span<const size_t> lanes,
                                          std::span<const int32_t> tokens, int64_t length) {
  Recorded& recorded = decode_[lanes.size()];
  if (!recorded.executor) {
    const auto count = static_cast<int64_t>(lanes.size());
    recorded = record({.tokens = count, .lanes = count, .room = cache_room()});
  }
  return run(recorded, tokens, lanes, length);
}

// Puts what a run reads where the device finds it.
void Generator::bind(std::span<const int32_t> tokens, std::span<const size_t> lanes,
                     int64_t length) {
  const auto count = static_cast<int64_t>(tokens.size());
  const auto texts = static_cast<int64_t>(lanes.size());
  const int64_t fresh = count / texts;  // of each lane
  for (const size_t lane : lanes) {
    SFT_ASSERT(!states_ || past_[lane] == 0 || state_of_[lane] == past_[lane]);
    if (past_[lane] + fresh > room_.capacity) {
      throw Error("M037", fmt::format("{} tokens do not fit into the {} that were planned for",
                                      past_[lane] + fresh, room_.capacity))
          .hint("shorten the prompt or ask for fewer new tokens");
    }
  }
  for (const int32_t id : tokens) {
    if (id < 0 || id >= vocab()) {
      throw Error("M036",
                  fmt::format("token id {} is not in the model's vocabulary of {}", id, vocab()))
          .hint("the tokenizer and the model do not belong together");
    }
  }
  // Each part begins on 64 bytes.
  std::vector<int32_t> all;
  std::map<const char*, std::pair<size_t, Shape>> places;
  const auto add = [&](const char* name, const Shape& shape, auto&& value) {
    all.resize((all.size() + 15) / 16 * 16);
    places[name] = {all.size(), shape};
    for (int64_t i = 0; i < shape.elements(); ++i) {
      all.push_back(static_cast<int32_t>(value(i)));
    }
  };
  const auto lane_of = [&](int64_t i) { return lanes[static_cast<size_t>(i)]; };
  add("past", {texts, 2}, [&](int64_t i) {
    return i % 2 == 0 ? static_cast<int64_t>(lane_of(i / 2)) * room_.capacity
                      : past_[lane_of(i / 2)];
  });
  add("row", {texts}, [&](int64_t i) { return (i + 1) * fresh - 1; });
  if (states_) {
    add("lanes", {texts}, lane_of);
  }
  // Of a text that begins the tokens that go in; where frequencies depend on it, all of them.
  add("documents", {2}, [&](int64_t i) { return i == 0 ? 0 : by_length_ ? length : count; });
  add("tokens", {count}, [&](int64_t i) { return tokens[static_cast<size_t>(i)]; });
  add("positions", {count}, [&](int64_t i) { return past_[lane_of(i / fresh)] + i % fresh; });
  SFT_ASSERT(all.size() * sizeof(int32_t) <= inputs_.size());
  device_.upload(inputs_.data(), all.data(), all.size() * sizeof(int32_t));
  for (const auto& [name, place] : places) {
    bindings_.inputs[name] = {inputs_.data() + place.first * sizeof(int32_t), place.second,
                              DType::i32};
  }
}

std::span<const float> Generator::run(Recorded& recorded, std::span<const int32_t> tokens,
                                      std::span<const size_t> lanes, int64_t length) {
  const auto texts = static_cast<int64_t>(lanes.size());
  bind(tokens, lanes, length);
  recorded.executor->run(bindings_);
  for (const size_t lane : lanes) {
    past_[lane] += static_cast<int64_t>(tokens.size()) / texts;
    state_of_[lane] = past_[lane];
  }
  const Tensor logits = recorded.executor->tensor(recorded.logits);
  logits_.resize(static_cast<size_t>(texts * vocab()));
  if (logits.dtype == DType::f32) {
    device_.download(logits_.data(), logits.data, logits.bytes());
  } else {
    std::vector<BFloat16> narrow(logits_.size());
    device_.download(narrow.data(), logits.data, logits.bytes());
    std::ranges::transform(narrow, logits_.begin(), [](BFloat16 x) { return to_float(x); });
  }
  return logits_;
}

void Generator::write(std::span<const float> logits, int64_t max_new_tokens,
                      const SamplingOptions& options, const std::function<bool(int32_t)>& on_token,
                      size_t lane) {
  const int64_t most = std::min(max_new_tokens, room_.capacity - past_[lane] + 1);
  if (most < 1) {
    return;
  }
  int32_t token = pick_token(logits, options, 0);
  if (!on_token(token) || most == 1) {
    return;
  }
  if (!options.sample && !by_length_ && !states_) {
    return write_likeliest(token, most - 1, on_token, lane);
  }
  for (int64_t i = 1; i < most; ++i) {
    token = pick_token(feed(std::span(&token, 1), lane), options, static_cast<uint64_t>(i));
    if (!on_token(token)) {
      return;
    }
  }
}

Generator::Recorded& Generator::picking(size_t lanes) {
  const int64_t rows = room_.capacity * room_.lanes;
  if (written_.size() == 0) {
    written_ = device_.allocate(static_cast<size_t>(rows) * sizeof(int32_t));
    picked_ = device_.allocate_host(static_cast<size_t>(std::max<int64_t>(2, room_.lanes)) *
                                    sizeof(int32_t));
    bindings_.inputs["written"] = {written_.data(), {rows}, DType::i32};
  }
  Recorded& recorded = picking_[lanes];
  if (!recorded.executor) {
    const auto count = static_cast<int64_t>(lanes);
    recorded = record({.tokens = count, .lanes = count, .room = cache_room(), .picks = true});
  }
  return recorded;
}

const std::byte* Generator::picked_at(size_t lane) const {
  const int64_t row = static_cast<int64_t>(lane) * room_.capacity + past_[lane];
  return written_.data() + static_cast<size_t>(row) * sizeof(int32_t);
}

std::span<const int32_t> Generator::step_likeliest(std::span<const size_t> lanes,
                                                   std::span<const int32_t> tokens) {
  SFT_ASSERT(lanes.size() == tokens.size() && !by_length_);
  Recorded& recorded = picking(lanes.size());
  bind(tokens, lanes, past_[lanes[0]] + 1);
  recorded.executor->run(bindings_);
  for (size_t i = 0; i < lanes.size(); ++i) {
    device_.copy(picked_.data() + i * sizeof(int32_t), picked_at(lanes[i]), sizeof(int32_t));
    state_of_[lanes[i]] = ++past_[lanes[i]];
  }
  device_.synchronize();
  return {reinterpret_cast<const int32_t*>(picked_.data()), lanes.size()};
}

// A GPU is one run ahead: it begins the next while the host looks at what the last one picked. What
// it has then taken in too much lies behind past_ in the cache, where it is written again.
void Generator::write_likeliest(int32_t token, int64_t runs,
                                const std::function<bool(int32_t)>& on_token, size_t lane) {
  Recorded& recorded = picking(1);
  bind(std::span(&token, 1), std::span(&lane, 1), past_[lane] + 1);
  const std::byte* const first = picked_at(lane);
  const int64_t ahead = device_.kind() == DeviceKind::cuda ? 1 : 0;
  std::array<int, 2> tickets{};
  const auto start = [&](int64_t run) {
    const auto slot = static_cast<size_t>(run % 2);
    recorded.executor->run(bindings_);
    device_.begin_aside(Lane::copies);
    device_.copy(picked_.data() + slot * sizeof(int32_t),
                 first + static_cast<size_t>(run) * sizeof(int32_t), sizeof(int32_t));
    tickets[slot] = device_.end_aside();
  };
  const auto finish = [&](int64_t run) {
    const auto slot = static_cast<size_t>(run % 2);
    device_.await(tickets[slot]);
    ++past_[lane];
    return on_token(reinterpret_cast<const int32_t*>(picked_.data())[slot]);
  };
  int64_t started = 0;
  for (int64_t run = 0; run < runs; ++run) {
    for (; started < std::min(run + 1 + ahead, runs); ++started) {
      start(started);
    }
    if (!finish(run)) {
      break;
    }
  }
  device_.synchronize();  // before `picked_` is written again
}

void Generator::generate(std::span<const int32_t> prompt, int64_t max_new_tokens,
                         const SamplingOptions& options,
                         const std::function<bool(int32_t)>& on_token) {
  write(feed(prompt), max_new_tokens, options, on_token);
}

}  // namespace sft
