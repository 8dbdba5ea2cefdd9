#include "train/batch_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <utility>

#include "core/error.h"
#include "ops/kernels.h"
#include "train/bad_numbers.h"

namespace sft {

int64_t ladder_size(int64_t tokens) {
  const auto power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(tokens)));
  const int64_t step = std::max<int64_t>(16, power / 16);
  return (tokens + step - 1) / step * step;
}

int64_t kept_bound(DeviceKind device, int64_t tokens, int64_t trained, bool alike) {
  // On a GPU products are fast in multiples of 128 rows, and each program takes time to record.
  const int64_t grain = device == DeviceKind::cpu ? 16 : 128;
  const int64_t least = device == DeviceKind::cpu ? 16 : 512;
  const int64_t parts = alike ? 16 : 4;
  const int64_t step = std::max((tokens / parts + grain - 1) / grain * grain, least);
  const int64_t rows = (std::max<int64_t>(trained, 1) + step - 1) / step * step;
  return 5 * rows > 4 * tokens ? 0 : rows;
}

int64_t input_bytes(const BatchSize& size) {
  const auto whole = [](int64_t words) { return (words + 15) / 16 * 16; };
  const int64_t dropout =
      size.dropout ? whole(2 * size.tokens) + whole(2 * size.kept) + whole(2) : 0;
  return static_cast<int64_t>(sizeof(int32_t)) *
         (5 * whole(size.tokens) + whole(size.documents + 1) + 2 * 16 + dropout);
}

BatchSize program_size(DeviceKind device, int64_t tokens, int64_t documents, int64_t longest) {
  const int64_t size = ladder_size(tokens);
  if (device == DeviceKind::cpu) {
    return {size, size, size};
  }
  int64_t bound = 256;  // of the longest document, in few steps: each needs attention plans
  while (bound < longest) {
    bound *= 4;
  }
  return {
      size,
      static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(documents, 4)))),
      bound};
}

int64_t workspace_bytes(Device& device, const ModelConfig& config, DType compute, int64_t tokens) {
  if (device.kind() == DeviceKind::cpu) {
    return 0;
  }
  constexpr int64_t kLeast = int64_t{128} << 20;  // products are tried on a weight's gradient
  int64_t most = kLeast;
  for (int layer = 0; layer < config.layers; ++layer) {
    most = std::max(most, kernels(device).attention_workspace(device, config.attention_heads(layer),
                                                              config.attention_scale, compute,
                                                              ladder_size(tokens)));
  }
  return most;
}

namespace {

constexpr size_t kResults = 1024;  // micro-batches

BatchSize most_size(DeviceKind device, int64_t tokens, bool dropout, bool balance) {
  const int64_t most = std::max<int64_t>(tokens, 1);
  BatchSize size = program_size(device, most, most, most);
  size.dropout = dropout;
  size.balance = balance;
  return size;
}

// For each token a number of its document, by what the document says, and the place in it.
std::vector<int32_t> dropout_keys(const MicroBatch& batch) {
  std::vector<int32_t> keys;
  keys.reserve(2 * batch.tokens.size());
  for (size_t d = 1; d < batch.cu_seqlens.size(); ++d) {
    uint32_t hash = 2166136261U;  // FNV-1a
    for (int32_t i = batch.cu_seqlens[d - 1]; i < batch.cu_seqlens[d]; ++i) {
      hash = (hash ^ static_cast<uint32_t>(batch.tokens[static_cast<size_t>(i)])) * 16777619U;
    }
    for (int32_t i = batch.cu_seqlens[d - 1]; i < batch.cu_seqlens[d]; ++i) {
      keys.push_back(static_cast<int32_t>(hash));
      keys.push_back(batch.positions[static_cast<size_t>(i)]);
    }
  }
  return keys;
}

}  // namespace

BatchRunner::BatchRunner(Device& device, Arena& arena, const LoadedModel& model,
                         std::vector<Tensor> gradients, const BatchRunnerOptions& options)
    : device_(device),
      arena_(arena),
      model_(model),
      options_(options),
      dropout_(options.training && model.model.has_dropout()),
      inputs_(device.allocate(static_cast<size_t>(input_bytes(most_size(
          device.kind(), options.most_tokens, dropout_, model.model.config.balances()))))),
      results_(device.allocate(kResults * sizeof(BatchStats))) {
  if (options.most_tokens > 0) {  // now, so that no later batch asks for more
    BatchSize most =
        most_size(device.kind(), options.most_tokens, dropout_, model.model.config.balances());
    most.noise = options.noise;
    const Plan& plan = sized(most).executor.plan();
    arena.reserve(most_bytes_ = plan.bytes);
    arena.reserve_host(most_host_bytes_ = plan.host_bytes);
    device.reserve_workspace(static_cast<size_t>(
        workspace_bytes(device, model.model.config, model.target.compute, options.most_tokens)));
  }
  bindings_.parameters = model.parameters();
  bindings_.gradients = std::move(gradients);
}

BatchRunner::Sized& BatchRunner::sized(const BatchSize& size) {
  auto found = programs_.find(size);
  if (found == programs_.end()) {
    TrainingProgram recorded = record_training(model_.model, size, options_.loss, options_.training,
                                               options_.memory, model_.target);
    found = programs_
                .emplace(size, Sized{Executor(device_, arena_, std::move(recorded.program)),
                                     recorded.stats, recorded.balance_loss})
                .first;
    if (input_bytes(size) > static_cast<int64_t>(inputs_.size())) {
      inputs_ = device_.allocate(static_cast<size_t>(input_bytes(size)));
    }
  }
  return found->second;
}

namespace {

int64_t longest_document(const MicroBatch& batch) {
  int64_t longest = 0;
  for (size_t i = 1; i < batch.cu_seqlens.size(); ++i) {
    longest = std::max<int64_t>(longest, batch.cu_seqlens[i] - batch.cu_seqlens[i - 1]);
  }
  return longest;
}

void check_batch(const MicroBatch& batch, const ModelConfig& config) {
  const int64_t vocab = config.vocab;
  for (size_t i = 0; i < batch.tokens.size(); ++i) {
    const int32_t token = batch.tokens[i];
    const int32_t id = token < 0 ? token : std::max(token, batch.targets[i]);
    if (id < 0 || id >= vocab) {
      throw Error("M036",
                  fmt::format("token id {} is not in the model's vocabulary of {}", id, vocab))
          .hint("the tokenizer and the model do not belong together");
    }
  }
  if (const int64_t longest = longest_document(batch); longest > config.max_positions) {
    throw Error("M037", fmt::format("a row has {} tokens, but the model has {} positions", longest,
                                    config.max_positions))
        .hint(fmt::format("add --max_length {}", config.max_positions));
  }
}

}  // namespace

// A program that drops rows copies those that stay: where a model is narrow that may take more
// memory than there is planned for, and then all rows are kept.
BatchSize BatchRunner::size_for(const MicroBatch& batch) {
  BatchSize size =
      program_size(device_.kind(), static_cast<int64_t>(batch.tokens.size()),
                   static_cast<int64_t>(batch.cu_seqlens.size()) - 1, longest_document(batch));
  size.noise = options_.noise;
  size.dropout = dropout_;
  size.balance = model_.model.config.balances();
  if (options_.drop_rows) {
    size.kept = kept_bound(device_.kind(), size.tokens, static_cast<int64_t>(rows_.size()),
                           size.tokens == ladder_size(options_.most_tokens));
  }
  if (size.kept > 0) {
    const Plan& plan = sized(size).executor.plan();
    if (plan.bytes > most_bytes_ || plan.host_bytes > most_host_bytes_) {
      size.kept = 0;
    }
  }
  return size;
}

// One upload for all inputs. Tokens after the last document fill the program's size.
void BatchRunner::bind(const MicroBatch& batch, const BatchSize& size, float loss_scale,
                       uint64_t dropout_seed, float balance_scale) {
  std::vector<int32_t>& all = staged_;
  all.clear();
  all.reserve(inputs_.size() / sizeof(int32_t));
  const auto add = [&](const char* name, const std::vector<int32_t>& values, int64_t count,
                       int64_t shown, int32_t fill) {
    bindings_.inputs[name] = {inputs_.data() + all.size() * sizeof(int32_t), {shown}, DType::i32};
    const size_t end = all.size() + static_cast<size_t>(count);
    all.insert(all.end(), values.begin(), values.end());
    all.resize(end, fill);
    all.resize((end + 15) / 16 * 16);  // each on 64 bytes
  };
  const int64_t n = size.tokens;
  const auto trained = static_cast<int64_t>(rows_.size());
  add("tokens", batch.tokens, n, n, 0);
  add("positions", batch.positions, n, n, 0);
  add("documents", batch.cu_seqlens, size.documents + 1, size.documents + 1,
      batch.cu_seqlens.back());
  add("loss_scale", {std::bit_cast<int32_t>(loss_scale)}, 1, 1, 0);
  bindings_.inputs["loss_scale"].dtype = DType::f32;
  if (size.balance) {
    add("balance_scale", {std::bit_cast<int32_t>(balance_scale)}, 1, 1, 0);
    bindings_.inputs["balance_scale"].dtype = DType::f32;
  }
  if (size.kept == 0) {
    add("targets", batch.targets, n, n, kIgnored);
    add("rows", rows_, trained, trained, 0);
    bindings_.inputs.erase("kept");
  } else {
    std::vector<int32_t> targets, places;
    for (const int32_t row : rows_) {
      targets.push_back(batch.targets[static_cast<size_t>(row)]);
      places.push_back(static_cast<int32_t>(places.size()));
    }
    add("kept", rows_, size.kept, size.kept, -1);
    add("targets", targets, size.kept, size.kept, kIgnored);
    add("rows", places, trained, trained, 0);
  }
  if (size.dropout) {
    const std::vector<int32_t> keys = dropout_keys(batch);
    add("dropout_keys", keys, 2 * n, 2 * n, 0);
    bindings_.inputs["dropout_keys"].shape = {n, 2};
    add("dropout_seed",
        {static_cast<int32_t>(dropout_seed), static_cast<int32_t>(dropout_seed >> 32)}, 2, 2, 0);
    bindings_.inputs.erase("dropout_kept_keys");
    if (size.kept > 0) {
      std::vector<int32_t> kept;
      for (const int32_t row : rows_) {
        kept.push_back(keys[2 * static_cast<size_t>(row)]);
        kept.push_back(keys[2 * static_cast<size_t>(row) + 1]);
      }
      add("dropout_kept_keys", kept, 2 * size.kept, 2 * size.kept, 0);
      bindings_.inputs["dropout_kept_keys"].shape = {size.kept, 2};
    }
  }
  const auto start = std::chrono::steady_clock::now();
  device_.upload(inputs_.data(), all.data(), all.size() * sizeof(int32_t));
  upload_seconds_ +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Tokens that fill the program's size get none.
void BatchRunner::bind_noise(const BatchSize& size, std::span<const float> noise) {
  const Shape shape{size.tokens, model_.model.config.hidden};
  const size_t bytes = static_cast<size_t>(shape.elements()) * sizeof(float);
  if (bytes > noise_.size()) {
    noise_ = device_.allocate(bytes);
  }
  SFT_ASSERT(noise.size_bytes() <= bytes);
  device_.upload(noise_.data(), noise.data(), noise.size_bytes());
  device_.zero(noise_.data() + noise.size_bytes(), bytes - noise.size_bytes());
  bindings_.inputs["noise"] = {noise_.data(), shape, DType::f32};
}

BatchRunner::Sized& BatchRunner::prepared(const MicroBatch& batch, float loss_scale, bool first,
                                          const Draws& draws, float balance_scale) {
  check_batch(batch, model_.model.config);
  rows_.clear();
  for (size_t i = 0; i < batch.targets.size(); ++i) {
    if (batch.targets[i] != kIgnored) {
      rows_.push_back(static_cast<int32_t>(i));
    }
  }
  const BatchSize size = size_for(batch);
  Sized& program = sized(size);
  bind(batch, size, loss_scale, draws.dropout_seed, balance_scale);
  if (size.noise) {
    bind_noise(size, draws.noise);
  }
  bindings_.first_micro_batch = first;
  return program;
}

std::string BatchRunner::first_not_finite(const MicroBatch& batch, float loss_scale,
                                          BlockWatcher* watcher) {
  std::string found;
  bindings_.watcher = watcher;
  prepared(batch, loss_scale, true)
      .executor.run_watched(
          bindings_, [&](const Instruction& instruction, std::span<const Tensor> written) {
            for (const Tensor& t : written) {
              if (const auto bad = find_not_finite(device_, t)) {
                found = fmt::format(
                    "{}{} wrote {} at {} of {}", instruction.name,
                    instruction.block < 0 ? "" : fmt::format(" in block {}", instruction.block),
                    bad->value, bad->at, t.shape.text());
                return false;
              }
            }
            return true;
          });
  return found;
}

void BatchRunner::run(const MicroBatch& batch, float loss_scale, bool first, BlockWatcher* watcher,
                      const Draws& draws, float balance_scale) {
  SFT_ASSERT(pending_ < kResults);
  Sized& program = prepared(batch, loss_scale, first, draws, balance_scale);
  program.executor.trace(trace_);
  bindings_.watcher = watcher;
  program.executor.run(bindings_);
  std::byte* const to = results_.data() + pending_ * sizeof(BatchStats);
  const Tensor stats = program.executor.tensor(program.stats);
  device_.copy(to, stats.data, stats.bytes());
  if (program.balance_loss) {
    device_.copy(to + stats.bytes(), program.executor.tensor(program.balance_loss).data,
                 sizeof(float));
  }
  ++pending_;
}

std::vector<BatchStats> BatchRunner::collect() {
  std::vector<BatchStats> out(std::exchange(pending_, 0));
  device_.download(out.data(), results_.data(), out.size() * sizeof(BatchStats));
  return out;
}

}  // namespace sft
