#include "run/generator.h"

#include <fmt/format.h>

#include <algorithm>
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

Generator::Generator(Device& device, const LoadedModel& model, int64_t capacity)
    : device_(device), model_(model), capacity_(capacity), arena_(device) {
  const ModelConfig& config = model.model.config;
  const int64_t row = 2 * int64_t{config.kv_heads} * config.head_dim;
  bindings_.parameters = model.parameters();
  const DType type = model.target.compute;
  logits_.resize(static_cast<size_t>(config.vocab));
  for (const RopeFrequencies& rope : config.ropes) {
    short_length_ = std::max(short_length_, rope.long_inv_freq.empty() ? 0 : rope.short_length);
  }
  for (int layer = 0; layer < config.layers; ++layer) {
    caches_.push_back(device.allocate(static_cast<size_t>(capacity * row) * size_of(type)));
    bindings_.inputs[fmt::format("cache.{}", layer)] = {
        caches_.back().data(), {capacity, row}, type};
  }
}

void Generator::rewind(int64_t tokens) {
  SFT_ASSERT(tokens >= 0 && tokens <= past_);
  past_ = tokens;
}

// Long texts go in by pieces of one size: memory does not grow with their length.
std::span<const float> Generator::feed(std::span<const int32_t> tokens) {
  constexpr size_t kPiece = 1024;
  const int64_t length = past_ + static_cast<int64_t>(tokens.size());
  if (short_length_ > 0) {
    taken_.resize(static_cast<size_t>(past_));
    taken_.insert(taken_.end(), tokens.begin(), tokens.end());
    const bool was_long = cached_length_ > short_length_;
    if (past_ > 0 && was_long != (length > short_length_)) {
      tokens = taken_;  // the keys that are there were turned otherwise
      past_ = 0;
    }
    cached_length_ = length;
  }
  while (tokens.size() > kPiece) {
    feed_piece(tokens.first(kPiece), length);
    tokens = tokens.subspan(kPiece);
  }
  return feed_piece(tokens, length);
}

std::span<const float> Generator::feed_piece(std::span<const int32_t> tokens, int64_t length) {
  const auto count = static_cast<int64_t>(tokens.size());
  const int64_t vocab = model_.model.config.vocab;
  if (past_ + count > capacity_) {
    throw Error("M037", fmt::format("{} tokens do not fit into the {} that were planned for",
                                    past_ + count, capacity_))
        .hint("shorten the prompt or ask for fewer new tokens");
  }
  for (const int32_t id : tokens) {
    if (id < 0 || id >= vocab) {
      throw Error("M036",
                  fmt::format("token id {} is not in the model's vocabulary of {}", id, vocab))
          .hint("the tokenizer and the model do not belong together");
    }
  }
  Step& step = count == 1 ? decode_ : prefill_;
  if (step.tokens != count) {
    LogitsProgram recorded = record_generation(model_.model, count, capacity_, model_.target);
    step = {count, std::make_unique<Executor>(device_, arena_, std::move(recorded.program)),
            recorded.logits};
  }
  if (inputs_.size() < static_cast<size_t>(2 * count + 48) * sizeof(int32_t)) {
    inputs_ = device_.allocate(static_cast<size_t>(2 * count + 48) * sizeof(int32_t));
  }
  // past, row, and the document's ends, each on 64 bytes, then the tokens and their positions
  constexpr int64_t kHead = 48;
  std::vector<int32_t> all(kHead);
  all[0] = static_cast<int32_t>(past_);
  all[16] = static_cast<int32_t>(count - 1);
  all[33] = static_cast<int32_t>(length);
  all.insert(all.end(), tokens.begin(), tokens.end());
  for (int64_t i = 0; i < count; ++i) {
    all.push_back(static_cast<int32_t>(past_ + i));
  }
  device_.upload(inputs_.data(), all.data(), all.size() * sizeof(int32_t));
  const auto bind = [&](const char* name, int64_t at, int64_t n) {
    bindings_.inputs[name] = {
        inputs_.data() + static_cast<size_t>(at) * sizeof(int32_t), {n}, DType::i32};
  };
  bind("past", 0, 1);
  bind("row", 16, 1);
  bind("documents", 32, 2);
  bind("tokens", kHead, count);
  bind("positions", kHead + count, count);
  step.executor->run(bindings_);
  past_ += count;
  const Tensor logits = step.executor->tensor(step.logits);
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
    if (!on_token(token) || past_ == capacity_ || i + 1 == max_new_tokens) {
      return;
    }
    logits = feed(std::span(&token, 1));
  }
}

}  // namespace sft
