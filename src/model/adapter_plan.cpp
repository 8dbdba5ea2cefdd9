#include "model/adapter_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/strings.h"
#include "model/experts.h"
#include "text/full_match.h"

namespace sft {

namespace {

bool ends_with_name(std::string_view module, std::string_view name) {
  return module == name || (module.ends_with(name) && module.size() > name.size() &&
                            module[module.size() - name.size() - 1] == '.');
}

bool ends_with_one(std::string_view module, const std::vector<std::string>& names) {
  return std::ranges::any_of(names,
                             [&](const std::string& n) { return ends_with_name(module, n); });
}

// "model.layers.0.self_attn.q_proj.weight" -> its module, and "weight" or "bias".
std::string module_of(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

// A module of transformers' that has parameters of its own.
struct Module {
  enum class Kind { linear, embedding, words, head, norm };
  std::string name;
  Kind kind;
  int64_t in = 0, out = 0;
};

// A router that is no layer is a module of its own kind, whose one parameter can be a target.
bool is_own_router(const ParamSpec& spec, const ModelConfig& config) {
  return !config.form.router_is_linear && is_router(spec.name, config);
}

std::vector<Module> modules_of(const Model& model) {
  std::vector<Module> out;
  for (const ParamSpec& spec : model.family->parameters(model.config)) {
    for (const ParamPiece& piece : spec.pieces) {
      const std::string name = module_of(piece.name);
      if (!is_linear(spec.name, model.config)) {
        continue;  // parameters, no layers: see expert_parameters
      }
      if (spec.kind == ParamKind::norm) {
        out.push_back({name, Module::Kind::norm});
      } else if (spec.kind == ParamKind::matrix && name == kEmbeddingModule) {
        out.push_back({name, Module::Kind::embedding, piece.rows, spec.shape[1]});
      } else if (spec.words) {
        out.push_back({name, Module::Kind::words});
      } else if (spec.kind == ParamKind::matrix && name != kHeadModule) {
        out.push_back({name, Module::Kind::linear, spec.shape[1], piece.rows});
      }
    }
  }
  // As transformers declares them: what else the model has beside its layers follows these.
  std::ranges::stable_partition(out, [](const Module& m) {
    return m.name.starts_with("model.layers.") || m.name == kEmbeddingModule;
  });
  out.push_back({kHeadModule, Module::Kind::head, model.config.hidden, model.config.vocab});
  return out;
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
  Patterns(const std::map<std::string, T>& patterns, std::string_view option) : option_(option) {
    for (const auto& [key, value] : patterns) {
      rules_.push_back({key, FullMatch(fmt::format("(.*\\.)?({})", key), option), value});
    }
  }
  // The first that matches.
  T of(const std::string& module, T otherwise) const {
    const auto found = std::ranges::find_if(rules_, [&](const Rule& r) { return r.match(module); });
    return found == rules_.end() ? otherwise : found->value;
  }
  // Those that match no target.
  void warn(const std::vector<AdapterTarget>& targets, std::vector<std::string>& warnings) const {
    for (const Rule& rule : rules_) {
      if (std::ranges::none_of(targets,
                               [&](const AdapterTarget& t) { return rule.match(t.module); })) {
        warnings.push_back(fmt::format("{}: no layer with an adapter is {}", option_, rule.key));
      }
    }
  }

 private:
  struct Rule {
    std::string key;
    FullMatch match;
    T value;
  };
  std::vector<Rule> rules_;
  std::string_view option_;
};

// Whether a module is one of those that a name of modules_to_save means, or inside of one: PEFT
// looks at the end of each name, without a dot before it.
bool saved_by(const std::string& module, const std::string& name) {
  for (size_t end = module.find('.'); end != std::string::npos; end = module.find('.', end + 1)) {
    if (std::string_view(module).substr(0, end).ends_with(name)) {
      return true;
    }
  }
  return module.ends_with(name);
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

  bool operator()(const Module& m) const {
    const std::string name = in_whole(m.name);
    if (exclude_ ? (*exclude_)(name) : ends_with_one(name, config_.exclude_modules)) {
      return false;
    }
    if (all_) {
      return m.kind == Module::Kind::linear;
    }
    if (target_) {
      return (*target_)(name);
    }
    const bool whole =
        std::ranges::find(config_.target_modules, name) != config_.target_modules.end();
    if (whole || !ends_with_one(name, config_.target_modules)) {
      return whole;
    }
    if (config_.layers_to_transform.empty()) {
      return true;
    }
    const std::optional<int64_t> layer = layer_of(name, config_.layers_pattern);
    return layer && std::ranges::find(config_.layers_to_transform, *layer) !=
                        config_.layers_to_transform.end();
  }

 private:
  std::string in_whole(const std::string& name) const {
    constexpr std::string_view kModel = "model.";
    return name.starts_with(kModel)
               ? fmt::format("{}{}{}", kModel, config_.text_part, name.substr(kModel.size()))
               : name;
  }

  const LoraConfig& config_;
  bool all_ = false;
  std::optional<FullMatch> target_, exclude_;
};

// One plan while it is made.
class Planner {
 public:
  Planner(const Model& model, const LoraConfig& config)
      : model_(model),
        config_(config),
        modules_(modules_of(model)),
        ranks_(config.rank_pattern, "rank_pattern"),
        alphas_(config.alpha_pattern, "alpha_pattern") {
    find_experts();
    if (config_.target_modules.empty() && !config_.target_expression &&
        config_.target_parameters.empty()) {
      const auto& usual = model.family->lora_targets;
      if (usual.empty()) {
        throw Error("C193", fmt::format("PEFT has no default layers for models of the type {}, and "
                                        "--lora_target_modules names none",
                                        model.family->model_type))
            .hint("--lora_target_modules all-linear");
      }
      config_.target_modules.assign(usual.begin(), usual.end());
    }
  }

  AdapterPlan make() {
    find_whole();
    keep_tied();
    find_targets();
    if (config_.changes_base()) {
      for (const AdapterTarget& t : plan_.targets) {
        check_taken(t);
      }
    }
    find_biases();
    find_tokens();
    warn();
    plan_.config = std::move(config_);
    return std::move(plan_);
  }

 private:
  void find_whole() {
    for (const std::string& name : config_.modules_to_save) {
      bool found = false;
      for (const Module& m : modules_) {
        if (saved_by(m.name, name)) {
          plan_.whole.insert(m.name);
          found = true;
        }
      }
      if (!found) {
        throw Error("C193", fmt::format("--lora_modules_to_save {}: this model has no module whose "
                                        "name ends so; its modules are {}",
                                        name, fmt::join(last_names(), ", ")))
            .hint("--lora_modules_to_save embed_tokens lm_head");
      }
    }
  }

  // A table that is the head too stays one, whichever of its two names is meant.
  void keep_tied() {
    if (!config_.keeps_tied) {
      return;
    }
    const bool whole = plan_.whole.contains(kHeadModule) || plan_.whole.contains(kEmbeddingModule);
    if (model_.config.tied && whole) {
      plan_.whole.erase(kHeadModule);
      plan_.whole.insert(kEmbeddingModule);
      plan_.keeps_tied = true;
    } else if (!model_.config.tied) {
      plan_.warnings.emplace_back(
          "ensure_weight_tying means nothing here: this model's head is not its embeddings");
    }
  }

  void find_targets() {
    const Chooser chosen(config_);
    for (const Module& m : modules_) {
      const bool with_embeddings = plan_.keeps_tied && m.kind == Module::Kind::head;
      if (plan_.whole.contains(m.name) || with_embeddings || !chosen(m)) {
        continue;
      }
      if (m.kind == Module::Kind::norm || m.kind == Module::Kind::words) {
        fail_kind(m, "adapters are on linear layers and on embed_tokens");
      }
      if (config_.dora && m.kind == Module::Kind::head) {
        fail_kind(m, "--use_dora is for the linear layers inside the model and the embeddings");
      }
      const bool table = m.kind == Module::Kind::head || m.kind == Module::Kind::embedding;
      if (config_.keeps_tied && model_.config.tied && table) {
        fail_kind(
            m,
            "ensure_weight_tying has one adapter for a table that is the head too, which PEFT "
            "steps twice");
      }
      AdapterTarget t{m.name, m.in, m.out};
      t.kind = m.kind == Module::Kind::embedding ? AdapterTarget::Kind::embedding
               : m.kind == Module::Kind::head    ? AdapterTarget::Kind::head
                                                 : AdapterTarget::Kind::linear;
      t.rank = ranks_.of(m.name, config_.r);
      const double alpha = alphas_.of(m.name, config_.alpha);
      const auto rank = static_cast<double>(t.rank);
      t.scale = static_cast<float>(config_.rslora ? alpha / std::sqrt(rank) : alpha / rank);
      plan_.targets.push_back(t);
    }
    add_parameters();
    if (plan_.targets.empty()) {
      fail_no_target();
    }
  }

  // The experts' parameters and the routers, as transformers 5 has them, in the model's order.
  struct Parameter {
    std::string
        name;  // "model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.gate.weight"
    int64_t experts, in, out;
    std::vector<std::string> old_names;  // "gate_proj", "up_proj": of an expert's layers once
  };
  void find_experts() {
    const int64_t count = model_.config.routing.experts;
    const bool as_one = model_.config.form.experts_as_one;
    const bool were_layers = model_.config.form.experts_were_layers;
    for (const ParamSpec& spec : model_.family->parameters(model_.config)) {
      if (spec.kind != ParamKind::matrix) {
        continue;
      }
      if (is_own_router(spec, model_.config)) {
        Parameter p{spec.name, 1, spec.shape[1], spec.shape[0], {}};
        if (were_layers) {
          p.old_names.push_back(last_name(module_of(spec.name)));
        }
        parameters_.push_back(std::move(p));
      } else if (holds_experts(spec.name) && as_one) {
        parameters_.push_back({module_of(spec.name), count, spec.shape[1], spec.shape[2], {}});
      } else if (holds_experts(spec.name)) {
        Parameter p{module_of(spec.name), count, spec.shape[1], spec.shape[0] / count, {}};
        const auto layers = were_layers ? static_cast<int64_t>(spec.pieces.size()) / count : 0;
        for (int64_t i = 0; i < layers; ++i) {
          p.old_names.push_back(last_name(module_of(spec.pieces[static_cast<size_t>(i)].name)));
        }
        parameters_.push_back(std::move(p));
      }
    }
    if (!parameters_.empty() && were_layers) {
      convert_names();
    }
  }

  // Names of layers that experts had before transformers 5 become their parameters' names, and what
  // two layers shared a rank for gets twice the rank (PEFT's _convert_peft_config_moe).
  void convert_names() {
    std::vector<std::string> wanted = config_.target_modules;
    const bool all =
        config_.target_expression && to_lower(*config_.target_expression) == "all-linear";
    if (all) {
      std::set<std::string> names;
      for (const Module& m : modules_) {
        if (m.kind == Module::Kind::linear) {
          names.insert(last_name(m.name));
        }
      }
      for (const Parameter& p : parameters_) {
        names.insert(p.old_names.begin(), p.old_names.end());
      }
      wanted.assign(names.begin(), names.end());
      config_.target_expression.reset();
    }
    std::set<std::string> targets(config_.target_parameters.begin(),
                                  config_.target_parameters.end());
    std::set<std::string> converted;  // names of layers
    for (const Parameter& p : parameters_) {
      const std::string name = p.experts == 1 ? p.old_names[0] + ".weight" : last_name(p.name);
      std::vector<std::string> present;
      for (const std::string& old : p.old_names) {
        for (const std::string& target : wanted) {
          if (ends_with_name(target, old)) {
            present.push_back(old);
            converted.insert(target);
            break;
          }
        }
      }
      if (present.empty()) {
        continue;
      }
      if (present.size() < p.old_names.size()) {
        throw Error("C194",
                    fmt::format("--lora_target_modules has {} of {}, and experts hold them in one "
                                "parameter, {}",
                                present[0], fmt::join(p.old_names, " and "), last_name(p.name)))
            .hint(fmt::format("name both: {}", fmt::join(p.old_names, " ")));
      }
      targets.insert(name);
      if (p.old_names.size() > 1) {
        const auto times = static_cast<int64_t>(p.old_names.size());
        config_.rank_pattern[fmt::format(".*\\.{}", name)] = config_.r * times;
        config_.alpha_pattern[fmt::format(".*\\.{}", name)] =
            config_.alpha * static_cast<double>(times);
      }
    }
    std::erase_if(wanted, [&](const std::string& name) { return converted.contains(name); });
    config_.target_modules = std::move(wanted);
    config_.target_parameters.assign(targets.begin(), targets.end());
  }

  void add_parameters() {
    if (config_.target_parameters.empty()) {
      return;
    }
    if (config_.dora || config_.dropout > 0 || config_.changes_base()) {
      throw Error("C194", fmt::format("adapters on {} are there, and experts take no {}",
                                      config_.target_parameters[0],
                                      config_.dora          ? "--use_dora"
                                      : config_.dropout > 0 ? "--lora_dropout"
                                                            : "beginning out of the base"))
          .hint(config_.dropout > 0 && !config_.dora ? "--lora_dropout 0"
                                                     : "leave it out, or the experts");
    }
    const Patterns<int64_t> ranks(config_.rank_pattern, "rank_pattern");
    const Patterns<double> alphas(config_.alpha_pattern, "alpha_pattern");
    std::vector<const Parameter*> chosen;
    for (const Parameter& p : parameters_) {
      if (ends_with_one(p.name, config_.target_parameters)) {
        chosen.push_back(&p);
      }
    }
    for (const Parameter* const p : chosen) {
      const std::string module = module_of(p->name);
      // Of two parameters of a module the one wrapped first lies inside the other's wrapper.
      const bool inner = p->experts > 1 && std::ranges::any_of(chosen, [&](const Parameter* other) {
                           return other > p && module_of(other->name) == module;
                         });
      AdapterTarget t{inner ? module + ".base_layer" : module, p->in, p->out};
      t.kind = p->experts > 1 ? AdapterTarget::Kind::experts : AdapterTarget::Kind::linear;
      t.experts = p->experts;
      t.parameter = p->name;
      t.turned = p->experts > 1 && model_.config.form.experts_as_one;
      t.rank = ranks.of(p->name, config_.r);
      const double alpha = alphas.of(p->name, config_.alpha);
      const auto rank = static_cast<double>(t.rank);
      t.scale = static_cast<float>(config_.rslora ? alpha / std::sqrt(rank) : alpha / rank);
      plan_.targets.push_back(std::move(t));
    }
    for (const std::string& name : config_.target_parameters) {
      const bool found = std::ranges::any_of(
          parameters_, [&](const Parameter& p) { return ends_with_name(p.name, name); });
      if (!found && chosen.empty()) {
        throw Error("C193", fmt::format("--lora_target_parameters {}: this model has no parameter "
                                        "of experts whose name ends so",
                                        name))
            .hint(fmt::format("--lora_target_parameters {0}experts.gate_up_proj "
                              "{0}experts.down_proj",
                              model_.config.form.experts_block));
      }
      if (!found) {
        plan_.warnings.push_back(fmt::format(
            "--lora_target_parameters has {}, and no parameter of this model is named so", name));
      }
    }
  }

  // PiSSA and OLoRA take an adapter's beginning out of the weight beneath it.
  void check_taken(const AdapterTarget& t) const {
    if (t.kind == AdapterTarget::Kind::embedding) {
      return;  // begins as ever
    }
    const auto fail = [&](const std::string& what) {
      return Error("C191", fmt::format("init_lora_weights {}: {}", config_.init, what));
    };
    const int64_t most = std::min(t.in, t.out);
    if (model_.config.tied && t.kind == AdapterTarget::Kind::head) {
      throw fail("it changes the layer beneath an adapter, and this model's head is its embeddings")
          .hint("leave lm_head out of --lora_target_modules, or init_lora_weights at true");
    }
    if (t.rank > most) {
      throw fail(
          fmt::format("the rank of {} is {}, and the layer has {} at most", t.module, t.rank, most))
          .hint(fmt::format("--lora_r {}", most));
    }
    if (config_.init != "olora" && !(t.scale > 0)) {
      throw fail(fmt::format("the scale of {} is {}, and what it begins with is divided by it",
                             t.module, t.scale))
          .hint("--lora_alpha 32");
    }
  }

  void find_biases() {
    if (config_.biases == TrainedBiases::none) {
      return;
    }
    for (const ParamSpec& spec : model_.family->parameters(model_.config)) {
      for (const ParamPiece& piece : spec.pieces) {
        const std::string module = module_of(piece.name);
        if (spec.kind == ParamKind::bias && !plan_.whole.contains(module) &&
            (config_.biases == TrainedBiases::all || is_target(module))) {
          plan_.biases.insert(piece.name);
        }
      }
    }
  }

  void find_tokens() {
    for (const auto& [name, rows] : config_.trainable_tokens) {
      const std::array tables{kEmbeddingModule, kHeadModule};
      const auto* const table = std::ranges::find_if(
          tables, [&](const char* module) { return std::string_view(module).ends_with(name); });
      if (table == tables.end() || (model_.config.tied && *table == kHeadModule)) {
        throw Error("C197", fmt::format("trainable_token_indices: \"{}\" is no table of words of "
                                        "this model; it has {}",
                                        name,
                                        model_.config.tied ? "embed_tokens, which is its head too"
                                                           : "embed_tokens and lm_head"))
            .hint("{\"trainable_token_indices\": {\"embed_tokens\": [1, 2]}}");
      }
      if (plan_.whole.contains(*table) || is_target(*table)) {
        throw Error("C197", fmt::format("trainable_token_indices: {} is trained {} already", *table,
                                        is_target(*table) ? "by an adapter" : "whole"))
            .hint("leave one of the two out");
      }
      for (const int64_t row : rows) {
        if (row >= model_.config.vocab) {
          throw Error("C197", fmt::format("trainable_token_indices: {} has no word {}; it has {}",
                                          *table, row, model_.config.vocab))
              .hint("give ids of the model's tokenizer");
        }
      }
      plan_.tokens[*table] = rows;
    }
  }

  // What would be left out without a word.
  void warn() {
    for (const std::string& name : config_.target_modules) {
      const bool found = std::ranges::any_of(
          modules_, [&](const Module& m) { return ends_with_name(m.name, name); });
      if (!found) {
        plan_.warnings.push_back(fmt::format(
            "--lora_target_modules has {}, and no layer of this model is named so", name));
      }
    }
    ranks_.warn(plan_.targets, plan_.warnings);
    alphas_.warn(plan_.targets, plan_.warnings);
    const bool tables = plan_.whole.contains(kEmbeddingModule) || is_target(kEmbeddingModule) ||
                        plan_.whole.contains(kHeadModule) || is_target(kHeadModule);
    if (model_.config.tied && tables && !plan_.keeps_tied) {
      plan_.warnings.emplace_back(
          "this model's head is its embeddings, and training one of the two parts them: a merged "
          "model has two tables");
    }
  }

  bool is_target(const std::string& module) const {
    return std::ranges::find(plan_.targets, module, &AdapterTarget::module) != plan_.targets.end();
  }

  std::set<std::string> last_names() const {
    std::set<std::string> names;
    for (const Module& m : modules_) {
      names.insert(last_name(m.name));
    }
    return names;
  }

  [[noreturn]] void fail_kind(const Module& m, const char* why) const {
    throw Error("C194", fmt::format("--lora_target_modules means {}, and {}", m.name, why))
        .hint(fmt::format("train it whole:  --lora_modules_to_save {}", last_name(m.name)));
  }

  [[noreturn]] void fail_no_target() const {
    std::set<std::string> names;
    for (const Module& m : modules_) {
      if (m.kind == Module::Kind::linear) {
        names.insert(last_name(m.name));
      }
    }
    const std::string wanted = config_.target_expression
                                   ? *config_.target_expression
                                   : fmt::format("{}", fmt::join(config_.target_modules, " "));
    Error error("C193", fmt::format("--lora_target_modules {}: no layer of this model is meant by "
                                    "it; its linear layers are {}",
                                    wanted, fmt::join(names, ", ")));
    // One name alone is a regular expression over the whole name, as in TRL.
    if (config_.target_expression && names.contains(*config_.target_expression)) {
      error.hint(fmt::format("one value is a regular expression for the whole name: \".*\\.{}\"",
                             *config_.target_expression));
    } else {
      error.hint("--lora_target_modules all-linear");
    }
    throw error;
  }

  const Model& model_;
  LoraConfig config_;
  std::vector<Module> modules_;
  std::vector<Parameter> parameters_;
  const Patterns<int64_t> ranks_;
  const Patterns<double> alphas_;
  AdapterPlan plan_;
};

}  // namespace

std::string last_name(const std::string& module) { return module.substr(module.rfind('.') + 1); }

AdapterPlan plan_adapters(const Model& model, const LoraConfig& config) {
  return Planner(model, config).make();
}

}  // namespace sft
