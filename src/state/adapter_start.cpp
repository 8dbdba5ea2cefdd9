#include "state/adapter_start.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "formats/convert.h"
#include "formats/format.h"

namespace sft {

namespace {

constexpr std::string_view kWeight = ".weight";
// Values of a weight that are held at a time.
constexpr int64_t kPiece = int64_t{4} << 20;

std::string without(std::string_view name, std::string_view end) {
  return std::string(name.ends_with(end) ? name.substr(0, name.size() - end.size()) : name);
}

// Values [begin, end) of W + factor B A, row after row, given those of W.
void add_product(const AdapterTarget& t, const std::vector<float>& a, const std::vector<float>& b,
                 float factor, ElementRange part, float* values) {
  for (int64_t at = part.begin; at < part.end;) {
    const int64_t row = at / t.in, column = at % t.in;
    const int64_t n = std::min(part.end - at, t.in - column);
    float* const to = values + (at - part.begin);
    for (int64_t k = 0; k < t.rank; ++k) {
      const float times = factor * b[static_cast<size_t>(row * t.rank + k)];
      const float* const from = a.data() + k * t.in + column;
      for (int64_t i = 0; i < n; ++i) {
        to[i] += times * from[i];
      }
    }
    at += n;
  }
}

// The same of a parameter of experts, whose rows follow each other; B's columns go through the
// experts for each rank.
void add_expert_product(const AdapterTarget& t, const std::vector<float>& a,
                        const std::vector<float>& b, ElementRange part, float* values) {
  for (int64_t at = part.begin; at < part.end;) {
    const int64_t row = at / t.in, column = at % t.in;
    const int64_t expert = row / t.out;
    const int64_t n = std::min(part.end - at, t.in - column);
    float* const to = values + (at - part.begin);
    for (int64_t k = 0; k < t.rank; ++k) {
      const float times =
          t.scale * b[static_cast<size_t>(row % t.out * t.ranks() + k * t.experts + expert)];
      const float* const from = a.data() + (expert * t.rank + k) * t.in + column;
      for (int64_t i = 0; i < n; ++i) {
        to[i] += times * from[i];
      }
    }
    at += n;
  }
}

// The same where each expert's part is (in, out).
void add_turned_expert_product(const AdapterTarget& t, const std::vector<float>& a,
                               const std::vector<float>& b, ElementRange part, float* values) {
  for (int64_t at = part.begin; at < part.end;) {
    const int64_t row = at / t.out % t.in, column = at % t.out;
    const int64_t expert = at / (t.out * t.in);
    const int64_t n = std::min(part.end - at, t.out - column);
    float* const to = values + (at - part.begin);
    for (int64_t k = 0; k < t.rank; ++k) {
      const float times = t.scale * a[static_cast<size_t>((expert * t.rank + k) * t.in + row)];
      const float* const from = b.data() + column * t.ranks() + k * t.experts + expert;
      for (int64_t i = 0; i < n; ++i) {
        to[i] += times * from[i * t.ranks()];
      }
    }
    at += n;
  }
}

// The same for a table of words, whose A has a column for each.
void add_words(const AdapterTarget& t, const std::vector<float>& a, const std::vector<float>& b,
               ElementRange part, float* values) {
  for (int64_t at = part.begin; at < part.end; ++at) {
    const int64_t word = at / t.out, column = at % t.out;
    float sum = 0;
    for (int64_t k = 0; k < t.rank; ++k) {
      sum += b[static_cast<size_t>(column * t.rank + k)] * a[static_cast<size_t>(k * t.in + word)];
    }
    values[at - part.begin] += t.scale * sum;
  }
}

}  // namespace

AdapterStart::AdapterStart(const LoraConfig& config, const AdapterPlan& plan)
    : config_(config), tokens_(plan.tokens) {
  for (const AdapterTarget& t : plan.targets) {
    targets_.emplace(t.module, t);
  }
}

AdapterStart AdapterStart::drawn(const LoraConfig& config, const AdapterPlan& plan, uint64_t seed,
                                 uint64_t before) {
  AdapterStart start(config, plan);
  start.draws_ = [targets = plan.targets, init = config.init, seed, before] {
    return draw_adapters(targets, init, seed, before);
  };
  return start;
}

void AdapterStart::draw() {
  if (draws_) {
    AdapterDraws draws = std::exchange(draws_, nullptr)();
    values_ = std::move(draws.values);
    starts_ = std::move(draws.starts);
  }
}

AdapterStart AdapterStart::given(const LoraConfig& config, const AdapterPlan& plan,
                                 std::map<std::string, std::vector<float>> values) {
  AdapterStart start(config, plan);
  start.values_ = std::move(values);
  // What pissa_niter began with is in no file: PEFT draws it anew, we as a run with TRL's seed.
  constexpr uint64_t kSeed = 42;
  start.starts_ = draw_adapters(plan.targets, config.init, kSeed).starts;
  return start;
}

bool AdapterStart::changes(const std::string& name) const {
  const std::string module = without(name, kWeight);
  return zeroed_.contains(name) || values_.contains(base_tensor(module)) ||
         (config_.changes_base() && targets_.contains(module));
}

void AdapterStart::read(const ModelSource& source, const std::string& name, ElementRange part,
                        float* to, ThreadPool& pool) {
  const std::string_view prefix = kAdapterPrefix;
  if (name.starts_with(prefix)) {
    draw();
  }
  if (const auto found = values_.find(name); found != values_.end()) {
    std::copy(found->second.begin() + part.begin, found->second.begin() + part.end, to);
  } else if (zeroed_.contains(name)) {
    std::fill_n(to, part.size(), 0.0F);
    return;
  } else if (!name.starts_with(prefix)) {
    read_base(source, name, part, to, pool);
    return;
  } else {
    const std::string inner = name.substr(prefix.size());
    const std::string module = inner.substr(0, inner.rfind(".lora_"));
    const auto target = targets_.find(module);
    if (target != targets_.end() && name == tensor_magnitude(target->second)) {
      read_magnitudes(source, target->second, part, to, pool);
    } else if (target != targets_.end() && inner.size() > module.size()) {
      const std::vector<float>& all =
          values(source, target->second, name == tensor_b(target->second), pool);
      std::copy(all.begin() + part.begin, all.begin() + part.end, to);
    } else if (const std::string table = without(inner, ".token_adapter.trainable_tokens_delta");
               tokens_.contains(table) && table != inner) {
      read_tokens(source, table, part, to, pool);
    } else if (const std::string bias = ".base_layer.bias"; inner.ends_with(bias)) {
      read_base(source, without(inner, bias) + ".bias", part, to, pool);
    } else {
      // Trained whole; a head that was the embeddings begins as these.
      read_base(source,
                inner == kHeadWeight && !source.has(inner) ? std::string(kEmbeddingWeight) : inner,
                part, to, pool);
    }
  }
  if (rounding_ && (rounds_magnitudes_ || !name.ends_with(kMagnitudeName))) {
    const auto n = static_cast<size_t>(part.size());
    std::vector<std::byte> narrow(n * size_of(*rounding_));
    convert_from_f32(*rounding_, to, part.size(), narrow.data());
    convert_to_f32(*rounding_, narrow.data(), part.size(), to);
  }
}

// The base's own weights; those that an adapter's file has of it stand for them.
void AdapterStart::read_base(const ModelSource& source, const std::string& name, ElementRange part,
                             float* to, ThreadPool& pool) {
  const std::string module = without(name, kWeight);
  for (const std::string& own : {base_tensor(module), grown_tensor(module)}) {
    if (const auto found = values_.find(own); found != values_.end()) {
      std::copy(found->second.begin() + part.begin, found->second.begin() + part.end, to);
      return;
    }
  }
  source.read_f32(name, part, to, &pool);
  const auto target = targets_.find(module);
  if (config_.changes_base() && target != targets_.end() &&
      target->second.kind != AdapterTarget::Kind::embedding) {
    const LowRank& low = factors(source, target->second, pool);
    add_product(target->second, low.a, low.b, -target->second.scale, part, to);
  }
}

const std::vector<float>& AdapterStart::values(const ModelSource& source,
                                               const AdapterTarget& target, bool b,
                                               ThreadPool& pool) {
  draw();
  const auto found = values_.find(b ? tensor_b(target) : tensor_a(target));
  if (found != values_.end()) {
    return found->second;
  }
  const LowRank& low = factors(source, target, pool);
  return b ? low.b : low.a;
}

const LowRank& AdapterStart::factors(const ModelSource& source, const AdapterTarget& t,
                                     ThreadPool& pool) {
  if (const auto found = factors_.find(t.module); found != factors_.end()) {
    return found->second;
  }
  draw();
  std::vector<float> weight(static_cast<size_t>(t.out * t.in));
  const std::string name = t.module + std::string(kWeight);
  source.read_f32(source.has(name) ? name : kEmbeddingWeight, {0, t.out * t.in}, weight.data(),
                  &pool);
  const WeightView view{weight, t.out, t.in};
  LowRank low;
  if (config_.init == "olora") {
    low = olora(view, t.rank, pool);
  } else if (config_.init == "pissa") {
    low = pissa(view, t.rank, t.scale, pool);
  } else {
    const int iterations = std::stoi(config_.init.substr(config_.init.rfind('_') + 1));
    low = pissa_iterated(view, t.rank, t.scale, iterations, starts_.at(t.module), pool);
  }
  return factors_.emplace(t.module, std::move(low)).first->second;
}

const std::vector<float>& AdapterStart::column_lengths(const ModelSource& source,
                                                       const AdapterTarget& t, ThreadPool& pool) {
  if (const auto found = lengths_.find(t.module); found != lengths_.end()) {
    return found->second;
  }
  const std::vector<float>& a = values(source, t, false, pool);
  const std::vector<float>& b = values(source, t, true, pool);
  const int64_t words = std::max<int64_t>(kPiece / t.out, 1);
  std::vector<double> squares(static_cast<size_t>(t.out));
  std::vector<float> piece(static_cast<size_t>(words * t.out));
  for (int64_t first = 0; first < t.in; first += words) {
    const ElementRange part{first * t.out, std::min(first + words, t.in) * t.out};
    read_base(source, t.module + std::string(kWeight), part, piece.data(), pool);
    add_words(t, a, b, part, piece.data());
    for (int64_t i = 0; i < part.size(); ++i) {
      const double x = piece[static_cast<size_t>(i)];
      squares[static_cast<size_t>(i % t.out)] += x * x;
    }
  }
  std::vector<float>& lengths = lengths_[t.module];
  std::ranges::transform(squares, std::back_inserter(lengths),
                         [](double s) { return static_cast<float>(std::sqrt(s)); });
  return lengths;
}

// The lengths of the rows of W + s B A, W being what the base has beneath the adapter.
void AdapterStart::read_magnitudes(const ModelSource& source, const AdapterTarget& t,
                                   ElementRange part, float* to, ThreadPool& pool) {
  if (t.kind == AdapterTarget::Kind::embedding) {
    const std::vector<float>& all = column_lengths(source, t, pool);
    std::copy(all.begin() + part.begin, all.begin() + part.end, to);
    return;
  }
  const std::vector<float>& a = values(source, t, false, pool);
  const std::vector<float>& b = values(source, t, true, pool);
  const std::string weight = t.module + std::string(kWeight);
  const bool packed = is_kept_packed(source, weight);
  const int64_t rows = packed ? t.out : std::max<int64_t>(kPiece / t.in, 1);
  for (int64_t first = part.begin; first < part.end; first += rows) {
    const int64_t last = std::min(first + rows, part.end);
    std::vector<float> piece = kept_rows(source, t, {first, last}, pool);
    add_product(t, a, b, t.scale, {first * t.in, last * t.in}, piece.data());
    for (int64_t row = first; row < last; ++row) {
      const float* const x = piece.data() + (row - first) * t.in;
      double sum = 0;
      for (int64_t i = 0; i < t.in; ++i) {
        sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      }
      to[row - part.begin] = static_cast<float>(std::sqrt(sum));
    }
  }
}

bool AdapterStart::is_kept_packed(const ModelSource& source, const std::string& weight) const {
  const std::optional<DType> type = stored_ ? stored_(weight) : std::nullopt;
  return type && is_packed(*type) && !source.stored_type(weight);
}

// Scales of a packed weight need all of it.
std::vector<float> AdapterStart::kept_rows(const ModelSource& source, const AdapterTarget& t,
                                           ElementRange rows, ThreadPool& pool) {
  const std::string weight = t.module + std::string(kWeight);
  const bool packed = is_kept_packed(source, weight);
  const ElementRange read = packed ? ElementRange{0, t.out} : rows;
  std::vector<float> values(static_cast<size_t>(read.size() * t.in));
  read_base(source, weight, {read.begin * t.in, read.end * t.in}, values.data(), pool);
  const auto n = static_cast<int64_t>(values.size());
  if (packed_from_ != DType::f32) {
    std::vector<std::byte> narrow(values.size() * size_of(packed_from_));
    convert_from_f32(packed_from_, values.data(), n, narrow.data(), &pool);
    convert_to_f32(packed_from_, narrow.data(), n, values.data(), &pool);
  }
  if (!packed) {
    return values;
  }
  Tensor whole{nullptr, {t.out, t.in}, *stored_(weight)};
  std::vector<std::byte> bytes(whole.bytes());
  whole.data = bytes.data();
  encode(values.data(), whole, &pool);
  decode(whole, values.data(), &pool);
  return {values.begin() + rows.begin * t.in, values.begin() + rows.end * t.in};
}

void AdapterStart::read_tokens(const ModelSource& source, const std::string& module,
                               ElementRange part, float* to, ThreadPool& pool) {
  const std::string name = module + std::string(kWeight);
  const std::vector<int64_t>& rows = tokens_.at(module);
  const int64_t width = source.shape(name)[1];
  for (int64_t at = part.begin; at < part.end;) {
    const int64_t row = rows[static_cast<size_t>(at / width)], column = at % width;
    const int64_t n = std::min(part.end - at, width - column);
    read_base(source, name, {row * width + column, row * width + column + n},
              to + (at - part.begin), pool);
    at += n;
  }
}

void AdapterStart::add_update(const ModelSource& source, const AdapterTarget& t, ElementRange part,
                              float* to, ThreadPool& pool) {
  const std::vector<float>& a = values(source, t, false, pool);
  const std::vector<float>& b = values(source, t, true, pool);
  if (t.kind == AdapterTarget::Kind::experts) {
    (t.turned ? add_turned_expert_product : add_expert_product)(t, a, b, part, to);
    return;
  }
  if (t.kind == AdapterTarget::Kind::embedding) {
    add_words(t, a, b, part, to);
    if (config_.dora) {
      const std::vector<float>& length = column_lengths(source, t, pool);
      std::vector<float> magnitude(length.size());
      read(source, tensor_magnitude(t), {0, t.out}, magnitude.data(), pool);
      for (int64_t at = part.begin; at < part.end; ++at) {
        const auto column = static_cast<size_t>(at % t.out);
        to[at - part.begin] *= magnitude[column] / length[column];
      }
    }
    return;
  }
  add_product(t, a, b, t.scale, part, to);
  if (!config_.dora) {
    return;
  }
  // A row is scaled to its magnitude; of a row that is in part here the whole one is measured.
  const int64_t first = part.begin / t.in, last = (part.end + t.in - 1) / t.in;
  std::vector<float> length(static_cast<size_t>(last - first)), magnitude(length.size());
  read_magnitudes(source, t, {first, last}, length.data(), pool);
  read(source, tensor_magnitude(t), {first, last}, magnitude.data(), pool);
  for (int64_t at = part.begin; at < part.end; ++at) {
    const auto row = static_cast<size_t>(at / t.in - first);
    to[at - part.begin] *= magnitude[row] / length[row];
  }
}

void AdapterStart::put_tokens(const std::string& module, ElementRange part, float* to) const {
  const auto found = tokens_.find(module);
  if (found == tokens_.end()) {
    return;
  }
  const std::vector<float>& rows = values_.at(tensor_tokens(module));
  const auto width = static_cast<int64_t>(rows.size() / found->second.size());
  for (size_t i = 0; i < found->second.size(); ++i) {
    const int64_t begin = std::max(found->second[i] * width, part.begin);
    const int64_t end = std::min((found->second[i] + 1) * width, part.end);
    for (int64_t at = begin; at < end; ++at) {
      to[at - part.begin] = rows[i * static_cast<size_t>(width) + static_cast<size_t>(at % width)];
    }
  }
}

}  // namespace sft
