#include "run/generator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "model/generation.h"

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
  const int64_t values = 4 * room.lanes + 2 * std::max(kPiece, room.lanes) + 7 * 16;
  inputs_ = device.allocate(static_cast<size_t>(values) * sizeof(int32_t));
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
  constexpr auto kMost = static_cast<size_t>(kPiece);
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
  while (tokens.size() > kMost) {
    feed_piece(tokens.first(kMost), lane, length);
    tokens = tokens.subspan(kMost);
  }
  return feed_piece(tokens, lane, length);
}

Generator::Recorded Generator::record(int64_t tokens, int64_t lanes) {
  LogitsProgram recorded = record_lanes(model_.model, tokens, lanes,
                                        {room_.capacity * room_.lanes, room_.lanes}, model_.target);
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
  if (piece_ != count) {
    prefill_ = record(count, 1);
    piece_ = count;
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
    recorded = record(static_cast<int64_t>(lanes.size()), static_cast<int64_t>(lanes.size()));
  }
  return run(recorded, tokens, lanes, length);
}

std::span<const float> Generator::run(Recorded& recorded, std::span<const int32_t> tokens,
                                      std::span<const size_t> lanes, int64_t length) {
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
  if (by_length_) {
    add("documents", {2}, [&](int64_t i) { return i == 0 ? 0 : length; });
  }
  add("tokens", {count}, [&](int64_t i) { return tokens[static_cast<size_t>(i)]; });
  add("positions", {count}, [&](int64_t i) { return past_[lane_of(i / fresh)] + i % fresh; });
  SFT_ASSERT(all.size() * sizeof(int32_t) <= inputs_.size());
  device_.upload(inputs_.data(), all.data(), all.size() * sizeof(int32_t));
  for (const auto& [name, place] : places) {
    bindings_.inputs[name] = {inputs_.data() + place.first * sizeof(int32_t), place.second,
                              DType::i32};
  }
  recorded.executor->run(bindings_);
  for (const size_t lane : lanes) {
    past_[lane] += fresh;
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

void Generator::generate(std::span<const int32_t> prompt, int64_t max_new_tokens,
                         const SamplingOptions& options,
                         const std::function<bool(int32_t)>& on_token) {
  std::span<const float> logits = feed(prompt);
  for (int64_t i = 0; i < max_new_tokens; ++i) {
    const int32_t token = pick_token(logits, options, static_cast<uint64_t>(i));
    if (!on_token(token) || past() == room_.capacity || i + 1 == max_new_tokens) {
      return;
    }
    logits = feed(std::span(&token, 1));
  }
}

}  // namespace sft
