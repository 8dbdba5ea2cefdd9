#include "model/adapters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/strings.h"
#include "core/torch_random.h"
#include "text/full_match.h"

namespace sft {

namespace {

constexpr std::string_view kWeight = ".weight";

// What PEFT takes where no target is named, by model type.
constexpr std::array kDefaultTargets{"q_proj", "v_proj"};

// A linear layer of the model: a piece of one of its parameters.
struct LinearLayer {
  std::string module;
  int64_t in, out;
};

bool is_embedding(const ParamSpec& spec) { return spec.name == "model.embed_tokens.weight"; }
bool is_head(const ParamSpec& spec) { return spec.name == "lm_head.weight"; }

// "model.layers.0.mlp.up_proj.weight" -> without its end; a bias keeps its name.
std::string module_of(const ParamPiece& piece) {
  return piece.name.ends_with(kWeight) ? piece.name.substr(0, piece.name.size() - kWeight.size())
                                       : piece.name;
}

std::vector<LinearLayer> linear_layers(const Model& model) {
  std::vector<LinearLayer> out;
  for (const ParamSpec& spec : model.family->parameters(model.config)) {
    if (spec.kind != ParamKind::matrix || is_embedding(spec) || is_head(spec)) {
      continue;
    }
    for (const ParamPiece& piece : spec.pieces) {
      out.push_back({module_of(piece), spec.shape[1], piece.rows});
    }
  }
  return out;
}

bool ends_with_name(std::string_view module, std::string_view name) {
  return module == name || (module.ends_with(name) && module.size() > name.size() &&
                            module[module.size() - name.size() - 1] == '.');
}

bool ends_with_one(std::string_view module, const std::vector<std::string>& names) {
  return std::ranges::any_of(names,
                             [&](const std::string& n) { return ends_with_name(module, n); });
}

// "model.layers.3.mlp.up_proj" -> 3, where the list of layers has one of these names.
std::optional<int64_t> layer_of(const std::string& module, const std::vector<std::string>& lists) {
  const std::vector<std::string> parts = split(module, '.');
  for (size_t i = 2; i + 1 < parts.size(); ++i) {
    const bool number = !parts[i].empty() &&
                        std::ranges::all_of(parts[i], [](char c) { return c >= '0' && c <= '9'; });
    if (number && (lists.empty() || std::ranges::find(lists, parts[i - 1]) != lists.end())) {
      return std::stoll(parts[i]);
    }
  }
  return std::nullopt;
}

// rank_pattern or alpha_pattern: a value for names by their ends (PEFT's get_pattern_key).
template <class T>
class Patterns {
 public:
  Patterns(const std::map<std::string, T>& patterns, std::string_view option) {
    for (const auto& [key, value] : patterns) {
      rules_.emplace_back(FullMatch(fmt::format("(.*\\.)?({})", key), option), value);
    }
  }
  // The first that matches.
  T of(const std::string& module, T otherwise) const {
    const auto found =
        std::ranges::find_if(rules_, [&](const auto& rule) { return rule.first(module); });
    return found == rules_.end() ? otherwise : found->second;
  }

 private:
  std::vector<std::pair<FullMatch, T>> rules_;
};

[[noreturn]] void fail_no_target(const LoraConfig& config, const std::vector<LinearLayer>& layers) {
  std::set<std::string> names;
  for (const LinearLayer& l : layers) {
    names.insert(last_name(l.module));
  }
  const std::string wanted = config.target_expression
                                 ? *config.target_expression
                                 : fmt::format("{}", fmt::join(config.target_modules, " "));
  Error error("C193", fmt::format("--lora_target_modules {}: no layer of this model is meant by "
                                  "it; its linear layers are {}",
                                  wanted, fmt::join(names, ", ")));
  // One name alone is a regular expression over the whole name, as in TRL.
  if (config.target_expression && names.contains(*config.target_expression)) {
    error.hint(fmt::format("one value is a regular expression for the whole name: \".*\\.{}\"",
                           *config.target_expression));
  } else {
    error.hint("--lora_target_modules all-linear");
  }
  throw error;
}

class Chooser {
 public:
  explicit Chooser(const LoraConfig& config) : config_(config) {
    all_ = config.target_expression && to_lower(*config.target_expression) == "all-linear";
    if (config.target_expression && !all_) {
      target_.emplace(*config.target_expression, "--lora_target_modules");
    }
    if (config.exclude_expression) {
      exclude_.emplace(*config.exclude_expression, "exclude_modules");
    }
  }

  bool operator()(const std::string& module) const {
    if (exclude_ ? (*exclude_)(module) : ends_with_one(module, config_.exclude_modules)) {
      return false;
    }
    if (all_) {
      return true;
    }
    if (target_) {
      return (*target_)(module);
    }
    const bool whole =
        std::ranges::find(config_.target_modules, module) != config_.target_modules.end();
    if (whole || !ends_with_one(module, config_.target_modules)) {
      return whole;
    }
    if (config_.layers_to_transform.empty()) {
      return true;
    }
    const std::optional<int64_t> layer = layer_of(module, config_.layers_pattern);
    return layer && std::ranges::find(config_.layers_to_transform, *layer) !=
                        config_.layers_to_transform.end();
  }

 private:
  const LoraConfig& config_;
  bool all_ = false;
  std::optional<FullMatch> target_, exclude_;
};

}  // namespace

std::string last_name(const std::string& module) { return module.substr(module.rfind('.') + 1); }

std::string adapter_tensor(const std::string& module, char which) {
  return fmt::format("{}{}.lora_{}.weight", kAdapterPrefix, module, which);
}

std::vector<AdapterTarget> find_targets(const Model& model, const LoraConfig& given) {
  LoraConfig config = given;
  if (config.target_modules.empty() && !config.target_expression) {
    config.target_modules.assign(kDefaultTargets.begin(), kDefaultTargets.end());
  }
  for (const std::string& name : config.target_modules) {
    if (name == "embed_tokens" || name == "lm_head") {
      throw Error("C194", fmt::format("--lora_target_modules has {}, and adapters are on linear "
                                      "layers inside the model",
                                      name))
          .hint("leave it out");
    }
  }
  const std::vector<LinearLayer> layers = linear_layers(model);
  const Chooser chosen(config);
  const Patterns ranks(config.rank_pattern, "rank_pattern");
  const Patterns alphas(config.alpha_pattern, "alpha_pattern");
  std::vector<AdapterTarget> targets;
  for (const LinearLayer& layer : layers) {
    if (!chosen(layer.module)) {
      continue;
    }
    AdapterTarget t{layer.module, layer.in, layer.out};
    t.rank = ranks.of(layer.module, config.r);
    const double alpha = alphas.of(layer.module, config.alpha);
    const auto rank = static_cast<double>(t.rank);
    t.scale = static_cast<float>(config.rslora ? alpha / std::sqrt(rank) : alpha / rank);
    targets.push_back(t);
  }
  if (targets.empty()) {
    fail_no_target(config, layers);
  }
  return targets;
}

namespace {

// The adapters of one weight while they are found: those of one rank share the product with the
// input, unless each drops other values of it.
struct Group {
  int64_t rank = 0;
  LoraGroup group{};
  ParamSpec a{}, b{};
};

void finish(Group& g, const ParamSpec& weight, const std::string& suffix) {
  int64_t out = 0;
  for (const LoraPiece& p : g.group.pieces) {
    out += p.rows;
  }
  g.group.a = g.a.name = weight.name + ".lora_A" + suffix;
  g.group.b = g.b.name = weight.name + ".lora_B" + suffix;
  g.a.block = g.b.block = weight.block;
  g.a.shape = {static_cast<int64_t>(g.group.pieces.size()) * g.rank, weight.shape[1]};
  g.b.shape = {out, g.rank};
  g.a.init = Init::normal;
  g.b.init = Init::zeros;
}

}  // namespace

void add_adapters(Model& model, const std::vector<AdapterTarget>& targets, double dropout,
                  const StoredType& stored) {
  std::map<std::string, size_t> numbers;  // of a target, by its module
  for (size_t i = 0; i < targets.size(); ++i) {
    numbers[targets[i].module] = i;
  }
  model.adapters.clear();
  std::vector<ParamSpec> specs;
  for (ParamSpec spec : model.family->parameters(model.config)) {
    spec.trained = false;
    if (stored && spec.kind == ParamKind::matrix && !is_embedding(spec)) {
      for (ParamPiece& piece : spec.pieces) {
        piece.stored = stored(piece.name);
      }
    }
    specs.push_back(spec);
    std::vector<Group> groups;
    int64_t row = 0;
    for (const ParamPiece& piece : spec.pieces) {
      const std::string module = module_of(piece);
      if (const auto found = numbers.find(module); found != numbers.end()) {
        const AdapterTarget& t = targets[found->second];
        auto group = std::ranges::find(groups, t.rank, &Group::rank);
        if (group == groups.end() || dropout > 0) {
          group = groups.insert(groups.end(), Group{.rank = t.rank});
          group->group.dropout = static_cast<float>(dropout);
          group->group.site = static_cast<uint32_t>(found->second);
        }
        group->group.pieces.push_back({row, piece.rows, t.scale});
        group->a.pieces.push_back({adapter_tensor(module, 'A'), t.rank});
        group->b.pieces.push_back({adapter_tensor(module, 'B'), piece.rows});
      }
      row += piece.rows;
    }
    for (size_t i = 0; i < groups.size(); ++i) {
      finish(groups[i], spec, groups.size() == 1 ? "" : fmt::format(".{}", i));
      specs.push_back(groups[i].a);
      specs.push_back(groups[i].b);
      model.adapters[spec.name].push_back(groups[i].group);
    }
  }
  model.set_parameters(std::move(specs));
}

Model with_packed_base(const Model& model, const std::vector<AdapterTarget>& targets, DType type) {
  const auto packed = [type](const std::string& name) {
    return name == "lm_head.weight" ? std::nullopt : std::optional(type);
  };
  Model out = model;
  if (model.adapters.empty()) {
    add_adapters(out, targets, 0.0, packed);
    return out;
  }
  std::vector<ParamSpec> specs = model.frozen;
  for (ParamSpec& spec : specs) {
    const bool plain = !spec.stored || !is_packed(*spec.stored);
    if (plain && spec.kind == ParamKind::matrix && !is_embedding(spec) && !is_head(spec)) {
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

std::map<std::string, std::vector<float>> draw_adapters(const std::vector<AdapterTarget>& targets,
                                                        uint64_t seed) {
  std::map<std::string, std::vector<float>> out;
  TorchGenerator random(seed);
  for (const AdapterTarget& t : targets) {
    // Two linear layers are made first, with numbers of their own.
    random.discard(static_cast<uint64_t>(t.rank * (t.in + t.out)));
    const auto bound = static_cast<float>(1.0 / std::sqrt(static_cast<double>(t.in)));
    std::vector<float>& a = out[adapter_tensor(t.module, 'A')];
    a.resize(static_cast<size_t>(t.rank * t.in));
    for (float& x : a) {
      x = random.uniform(-bound, bound);
    }
    out[adapter_tensor(t.module, 'B')].resize(static_cast<size_t>(t.out * t.rank));
  }
  return out;
}

}  // namespace sft
