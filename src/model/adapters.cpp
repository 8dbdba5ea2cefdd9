#include "model/adapters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/torch_random.h"
#include "model/experts.h"

namespace sft {

namespace {

constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kBias = ".bias";

std::string without(const std::string& name, std::string_view end) {
  return name.ends_with(end) ? name.substr(0, name.size() - end.size()) : name;
}

std::string named(const AdapterTarget& t, const char* linear, const char* embedding) {
  return fmt::format("{}{}.{}", kAdapterPrefix, t.module,
                     t.kind == AdapterTarget::Kind::embedding ? embedding : linear);
}

// The adapters of one weight while they are found: those of one rank share the product with the
// input, unless each drops other values of it.
struct Group {
  int64_t rank = 0;
  LoraGroup group{};
  ParamSpec a{}, b{}, magnitude{};
};

// What a plan makes of a model's parameters.
class Adder {
 public:
  Adder(Model& model, const AdapterPlan& plan, const LoraConfig& config, const StoredType& stored)
      : model_(model), plan_(plan), config_(config), stored_(stored) {
    for (size_t i = 0; i < plan.targets.size(); ++i) {
      numbers_[plan.targets[i].module] = i;
    }
  }

  void add() {
    model_.adapters.clear();
    model_.trained_rows.clear();
    model_.fixed_rows.clear();
    model_.zeroed.clear();
    model_.originals = 0;
    for (ParamSpec& spec : model_.family->parameters(model_.config)) {
      add_parameter(std::move(spec));
    }
    add_tied_head();
    model_.set_parameters(std::move(specs_));
  }

 private:
  void add_parameter(ParamSpec spec) {
    spec.trained = false;
    const bool table = spec.name == kEmbeddingWeight || spec.name == kHeadWeight;
    if (spec.kind == ParamKind::bias) {
      add_bias(std::move(spec));
      return;
    }
    if (table) {
      add_table(std::move(spec));
      return;
    }
    std::vector<ParamSpec> parts = whole_parts(spec);
    if (!spec.trained && spec.kind == ParamKind::matrix && !spec.words) {
      set_stored(spec);
    }
    const ParamSpec weight = spec;
    specs_.push_back(std::move(spec));
    std::ranges::move(parts, std::back_inserter(specs_));
    if (weight.kind == ParamKind::matrix && !weight.trained && !weight.words) {
      add_linear(weight);
    }
  }

  void set_stored(ParamSpec& spec) const {
    for (ParamPiece& piece : spec.pieces) {
      if (stored_) {
        piece.stored = stored_(piece.name);
      }
    }
  }

  bool is_whole(const ParamPiece& piece, std::string_view end = kWeight) const {
    return plan_.whole.contains(without(piece.name, end));
  }

  // Marks a parameter all of whose pieces are trained whole; of a fused one that is in part, the
  // pieces become parameters of their own, which take the place of rows that read as zeros.
  std::vector<ParamSpec> whole_parts(ParamSpec& spec) {
    std::vector<ParamSpec> parts;
    if (std::ranges::all_of(spec.pieces, [&](const ParamPiece& p) { return is_whole(p); })) {
      spec.trained = true;
      model_.originals += spec.shape.elements();
      for (ParamPiece& piece : spec.pieces) {
        piece.name = fmt::format("{}{}", kAdapterPrefix, piece.name);
      }
      return parts;
    }
    int64_t row = 0;
    for (const ParamPiece& piece : spec.pieces) {
      if (is_whole(piece)) {
        ParamSpec part = spec;
        part.trained = true;
        part.name = fmt::format("{}{}", kAdapterPrefix, piece.name);
        part.pieces = {{part.name, piece.rows}};
        part.shape = {piece.rows, spec.shape[1]};
        model_.zeroed.insert(piece.name);
        LoraGroup group;
        group.b = part.name;
        group.pieces = {{row, piece.rows, 1.0F}};
        model_.adapters[spec.name].push_back(group);
        parts.push_back(std::move(part));
      }
      row += piece.rows;
    }
    return parts;
  }

  // A bias of which only some rows are trained keeps the others: their gradient is zero, and biases
  // do not decay.
  void add_bias(ParamSpec spec) {
    std::vector<ElementRange> fixed;
    int64_t row = 0;
    for (ParamPiece& piece : spec.pieces) {
      const bool whole = is_whole(piece, kBias);
      if (whole || plan_.biases.contains(piece.name)) {
        spec.trained = true;
        model_.originals += whole ? piece.rows : 0;
        const std::string module = without(piece.name, kBias);
        piece.name = fmt::format("{}{}{}{}", kAdapterPrefix, module,
                                 !whole && numbers_.contains(module) ? ".base_layer" : "", kBias);
      } else {
        fixed.push_back({row, row + piece.rows});
      }
      row += piece.rows;
    }
    if (spec.trained && !fixed.empty()) {
      model_.fixed_rows[spec.name] = fixed;
    }
    specs_.push_back(std::move(spec));
  }

  // The embeddings, or a head of its own.
  void add_table(ParamSpec spec) {
    const std::string module = without(spec.name, kWeight);
    const bool whole = plan_.whole.contains(module);
    // A tied head goes on reading the table as it was.
    const bool shared =
        model_.config.tied && !plan_.keeps_tied && !plan_.whole.contains(kHeadModule);
    if (whole && !shared) {
      spec.trained = true;
      model_.originals += module == kHeadModule ? spec.shape.elements() : 0;
      spec.pieces[0].name = fmt::format("{}{}", kAdapterPrefix, spec.name);
    } else if (whole) {
      specs_.push_back(trained_copy(spec, kEmbeddingCopy, kEmbeddingWeight));
    }
    const ParamSpec table = spec;
    // Trained rows stand beside others of the same type.
    if (!spec.trained && module == kHeadModule && !plan_.tokens.contains(module)) {
      set_stored(spec);
    }
    specs_.push_back(std::move(spec));
    if (const auto found = plan_.tokens.find(module); found != plan_.tokens.end()) {
      ParamSpec rows = table;
      rows.trained = true;
      rows.words = false;
      rows.name = tensor_tokens(module);
      rows.pieces = {{rows.name, static_cast<int64_t>(found->second.size())}};
      rows.shape = {rows.pieces[0].rows, table.shape[1]};
      model_.trained_rows[table.name] = {rows.name, found->second};
      specs_.push_back(std::move(rows));
    }
    add_target(module, table.name, table.block);
  }

  static ParamSpec trained_copy(const ParamSpec& spec, const char* name, const char* published) {
    ParamSpec copy = spec;
    copy.trained = true;
    copy.name = name;
    copy.pieces = {{fmt::format("{}{}", kAdapterPrefix, published), spec.shape[0]}};
    return copy;
  }

  // A head that is the embeddings is a module of its own in transformers.
  void add_tied_head() {
    if (!model_.config.tied) {
      return;
    }
    const int last = model_.config.layers + 1;
    if (plan_.whole.contains(kHeadModule)) {
      ParamSpec head{kHeadWeight,
                     {model_.config.vocab, model_.config.hidden},
                     {{kHeadWeight, model_.config.vocab}},
                     last,
                     ParamKind::matrix,
                     Init::normal};
      specs_.push_back(trained_copy(head, kHeadWeight, kHeadWeight));
    }
    add_target(kHeadModule, kHeadWeight, last);
  }

  // The adapter of a table, which has one piece.
  void add_target(const std::string& module, const std::string& weight, int block) {
    const auto found = numbers_.find(module);
    if (found == numbers_.end()) {
      return;
    }
    const AdapterTarget& t = plan_.targets[found->second];
    Group g = start_group(t, found->second);
    const bool embedding = t.kind == AdapterTarget::Kind::embedding;
    const int64_t rows = t.out;
    g.group.pieces.push_back({0, rows, t.scale});
    g.a.pieces = {{tensor_a(t), t.rank}};
    g.b.pieces = {{tensor_b(t), rows}};
    g.magnitude.pieces = {{tensor_magnitude(t), rows}};
    if (embedding) {
      g.group.dropout = 0;  // PEFT drops nothing of words
    }
    finish(g, weight, block, t.in, "");
  }

  Group start_group(const AdapterTarget& t, size_t number) const {
    Group g{.rank = t.rank};
    g.group.dropout = static_cast<float>(config_.dropout);
    g.group.site = static_cast<uint32_t>(number);
    return g;
  }

  // B's columns go through the experts for each rank, as PEFT keeps them.
  void add_expert_adapters(const ParamSpec& weight) {
    const auto found =
        std::ranges::find(plan_.targets, without(weight.name, kWeight), &AdapterTarget::parameter);
    if (found == plan_.targets.end()) {
      return;
    }
    Group g = start_group(*found, static_cast<size_t>(found - plan_.targets.begin()));
    g.group.pieces.push_back({0, found->out, found->scale});
    g.a.pieces = {{tensor_a(*found), found->ranks()}};
    g.b.pieces = {{tensor_b(*found), found->out}};
    finish(g, weight.name, weight.block, found->in, "");
    specs_.back().shape = {found->out, found->ranks()};
    specs_[specs_.size() - 2].shape = {found->ranks(), found->in};
  }

  void add_linear(const ParamSpec& weight) {
    if (holds_experts(weight.name)) {
      add_expert_adapters(weight);
      return;
    }
    std::vector<Group> groups;
    int64_t row = 0;
    for (const ParamPiece& piece : weight.pieces) {
      const std::string& name = weight.pieces.size() == 1 ? weight.name : piece.name;
      if (const auto found = numbers_.find(without(name, kWeight)); found != numbers_.end()) {
        const AdapterTarget& t = plan_.targets[found->second];
        auto group = std::ranges::find(groups, t.rank, &Group::rank);
        if (group == groups.end() || config_.dropout > 0) {
          group = groups.insert(groups.end(), start_group(t, found->second));
        }
        group->group.pieces.push_back({row, piece.rows, t.scale});
        group->a.pieces.push_back({tensor_a(t), t.rank});
        group->b.pieces.push_back({tensor_b(t), piece.rows});
        group->magnitude.pieces.push_back({tensor_magnitude(t), piece.rows});
      }
      row += piece.rows;
    }
    for (size_t i = 0; i < groups.size(); ++i) {
      finish(groups[i], weight.name, weight.block, weight.shape[1],
             groups.size() == 1 ? "" : fmt::format(".{}", i));
    }
  }

  void finish(Group& g, const std::string& weight, int block, int64_t in,
              const std::string& suffix) {
    int64_t out = 0;
    for (const LoraPiece& p : g.group.pieces) {
      out += p.rows;
    }
    g.group.a = g.a.name = weight + ".lora_A" + suffix;
    g.group.b = g.b.name = weight + ".lora_B" + suffix;
    g.a.block = g.b.block = g.magnitude.block = block;
    g.a.shape = {static_cast<int64_t>(g.group.pieces.size()) * g.rank, in};
    g.b.shape = {out, g.rank};
    g.a.init = Init::normal;
    g.b.init = Init::zeros;
    specs_.push_back(std::move(g.a));
    specs_.push_back(std::move(g.b));
    if (config_.dora) {
      g.group.magnitude = g.magnitude.name = weight + ".lora_magnitude" + suffix;
      g.magnitude.shape = {out};
      g.magnitude.kind = ParamKind::magnitude;
      g.magnitude.init = Init::ones;
      specs_.push_back(std::move(g.magnitude));
    }
    model_.adapters[weight].push_back(std::move(g.group));
  }

  Model& model_;
  const AdapterPlan& plan_;
  const LoraConfig& config_;
  const StoredType& stored_;
  std::map<std::string, size_t> numbers_;  // of a target, by its module
  std::vector<ParamSpec> specs_;
};

// torch.nn.init.kaiming_uniform_(a = sqrt 5), the first values of a linear layer.
void draw_uniform(TorchGenerator& random, int64_t in, std::vector<float>& values) {
  const auto bound = static_cast<float>(1.0 / std::sqrt(static_cast<double>(in)));
  for (float& x : values) {
    x = random.uniform(-bound, bound);
  }
}

}  // namespace

std::string tensor_a(const AdapterTarget& t) {
  return named(t, "lora_A.weight", "lora_embedding_A");
}
std::string tensor_b(const AdapterTarget& t) {
  return named(t, "lora_B.weight", "lora_embedding_B");
}
std::string tensor_magnitude(const AdapterTarget& t) {
  return named(t, kMagnitudeName.data(), kMagnitudeName.data());
}
std::string tensor_tokens(const std::string& module) {
  return fmt::format("{}{}.token_adapter.trainable_tokens_delta", kAdapterPrefix, module);
}

std::string base_tensor(const std::string& module) {
  return fmt::format("{}{}.base_layer.weight", kAdapterPrefix, module);
}

std::string grown_tensor(const std::string& module) {
  return fmt::format("{}{}.token_adapter.base_layer.weight", kAdapterPrefix, module);
}

void add_adapters(Model& model, const AdapterPlan& plan, const LoraConfig& config,
                  const StoredType& stored) {
  Adder(model, plan, config, stored).add();
}

Model with_packed_base(const Model& model, DType type) {
  Model out = model;
  if (model.adapters.empty()) {
    LoraConfig usual;
    usual.r = 16;
    add_adapters(out, plan_adapters(model, usual), usual, [type](const std::string& name) {
      return name == kHeadWeight ? std::nullopt : std::optional(type);
    });
    return out;
  }
  std::vector<ParamSpec> specs = model.frozen;
  for (ParamSpec& spec : specs) {
    const bool plain = !spec.stored || !is_packed(*spec.stored);
    if (plain && spec.kind == ParamKind::matrix && spec.shape.rank() == 2 && !spec.words &&
        spec.name != kHeadWeight) {
      spec.stored = type;
      for (ParamPiece& piece : spec.pieces) {
        piece.stored.reset();
      }
    }
  }
  specs.insert(specs.end(), model.trained.begin(), model.trained.end());
  std::ranges::stable_sort(specs, {}, &ParamSpec::block);
  const auto parts = model.parts;
  out.set_parameters(std::move(specs));
  out.parts.insert(parts.begin(), parts.end());
  return out;
}

std::map<std::string, Shape> adapter_tensors(const Model& model) {
  std::map<std::string, Shape> out;
  for (const ParamSpec& spec : model.trained) {
    for (const ParamPiece& piece : spec.pieces) {
      if (piece.name.starts_with(kAdapterPrefix)) {
        out.emplace(piece.name, spec.shape_of(piece));
      }
    }
  }
  return out;
}

AdapterDraws draw_adapters(const std::vector<AdapterTarget>& targets, const std::string& init,
                           uint64_t seed, uint64_t before) {
  AdapterDraws out;
  TorchGenerator random(seed);
  random.discard(before);
  for (const AdapterTarget& t : targets) {
    std::vector<float> a(static_cast<size_t>(t.ranks() * t.in));
    std::vector<float> b(static_cast<size_t>(t.out * t.ranks()));
    if (t.kind == AdapterTarget::Kind::embedding) {
      random.normal(a);
      random.normal(b);
      if (init != "false") {
        std::ranges::fill(a, 0.0F);
        random.normal(b);
      }
    } else {
      // Two linear layers are made first, with numbers of their own.
      draw_uniform(random, t.in, a);
      draw_uniform(random, t.ranks(), b);
      if (init.starts_with("pissa_niter_")) {
        std::vector<float>& start = out.starts[t.module];
        start.resize(static_cast<size_t>(std::min(t.in, t.out) * t.rank));
        random.normal(start);
      }
      if (init.starts_with("pissa") || init == "olora") {
        continue;
      }
      if (init != "false") {
        std::ranges::fill(b, 0.0F);
      }
      if (init == "gaussian") {
        random.normal(a, 1.0F / static_cast<float>(t.rank));
      } else if (init == "true") {
        draw_uniform(random, t.in, a);
      }
    }
    out.values[tensor_a(t)] = std::move(a);
    out.values[tensor_b(t)] = std::move(b);
  }
  return out;
}

}  // namespace sft
