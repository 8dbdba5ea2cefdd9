#include "run/open_run.h"
#include "device/cuda_library.h"
#include "run/capability.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "comm/connect.h"
#include "core/cache_folder.h"
#include "core/content_hash.h"
#include "core/error.h"
#include "core/host_name.h"
#include "core/strings.h"
#include "io/model_saver.h"
#include "io/text_part.h"
#include "optim/optimizers.h"
#include "report/rank_facts.h"
#include "run/frozen_base.h"
#include "run/random_model.h"
#include "run/run_exports.h"
#include "run/run_identity.h"
#include "run/sample_writer.h"
#include "run/stored_weights.h"
#include "settings/nested_options.h"
#include "settings/report_names.h"
#include "settings/sharding_config/deepspeed.h"
#include "state/config_sizes.h"
#include "state/sharder.h"
#include "state/trained_types.h"
#include "train/loader_options.h"

namespace sft {

namespace {

// "process 123 on host"
std::string this_process() { return fmt::format("process {} on {}", ::getpid(), host_name()); }

}  // namespace

OpenRun::OpenRun(TrainOptions options, const RunSurroundings& surroundings, Outputs outputs,
                 RunParts parts)
    : options_(std::move(options)),
      surroundings_(surroundings),
      outputs_(outputs),
      parts_(std::move(parts)),
      alone_(surroundings.control == nullptr ? local_control() : nullptr) {}

OpenRun::~OpenRun() = default;

void OpenRun::check() {
  require_model(options_);
  require_data(options_);
  device();
  if (first()) {
    check_outputs(options_);
  }
  require_adapters(options_.model, &source());
  text();
  if (first()) {
    check_exports(*this);
    open_outputs();
  }
  check_same_settings();
  prompts();
}

void OpenRun::open_outputs() {
  const TrainOptions& o = options_;
  if (outputs_ == Outputs::taken) {
    output_.emplace(o, this_process());
  }
  if (o.hub.push_to_hub && outputs_ == Outputs::taken) {
    push_.emplace(o, surroundings_.hub, surroundings_.logger);
  } else if (o.hub.push_to_hub) {
    HubPush::check(o, surroundings_.hub);
  }
}

RankControl& OpenRun::control() { return alone_ ? *alone_ : *surroundings_.control; }

Device& OpenRun::device() {
  if (!device_.device) {
    device_ = choose_device({.use_cpu = options_.use_cpu,
                             .bf16 = options_.wants_bf16(),
                             .threads = static_cast<int>(options_.threads),
                             .local_rank = launch().local_rank,
                             .local_world = launch().local_world,
                             .fp16 = options_.wants_fp16(),
                             .tf32 = options_.tf32.value_or(false),
                             .cache_folder = cache_folder("matmul", surroundings_.environment)},
                            surroundings_.logger);
    if (device_.device->kind() == DeviceKind::cuda) {
      check_capability(options_, cuda_capability(launch().local_rank), device_.device->name());
    }
  }
  return *device_.device;
}

DType OpenRun::compute() {
  device();
  return device_.compute;
}

Holding OpenRun::holding() {
  return holding_of(options_.sharding, launch().rank, launch().world, device().kind());
}

const ModelSource& OpenRun::source() {
  if (!source_) {
    require_model(options_);
    open_adapter();
    source_ = open_source(options_.model, options_.data, surroundings_.hub, surroundings_.logger);
    if (given_adapter_) {
      source_ = grown_for(std::move(source_), *given_adapter_);
    }
  }
  return *source_;
}

// A model that is an adapter's folder: what it names is the model, and the adapter is trained on.
void OpenRun::open_adapter() {
  fs::path folder = parts_.adapter;
  std::optional<std::string>& model = options_.model.model_name_or_path;
  if (folder.empty() && AdapterFiles::is_in(*model)) {
    folder = *model;
  }
  if (folder.empty()) {
    return;
  }
  given_adapter_ = AdapterFiles::read(folder);
  if (parts_.adapter.empty()) {
    model = given_adapter_->base();
    options_.model.model_revision = given_adapter_->config.base_revision.value_or("main");
  }
  options_.model.use_peft = true;
}

void OpenRun::say_adapter_options() const {
  const std::vector<std::string> given = adapter_options_given(options_.model);
  if (given.empty() || (options_.model.use_peft && !given_adapter_)) {
    return;
  }
  surroundings_.logger.warn(
      given_adapter_
          ? fmt::format("{} mean nothing for an adapter that is there: it goes on as it is",
                        fmt::join(given, ", "))
          : fmt::format("{} mean nothing without --use_peft: all weights are trained",
                        fmt::join(given, ", ")));
}

void OpenRun::add_adapter() {
  const AdapterFiles* const given = given_adapter_ ? &*given_adapter_ : nullptr;
  LoraConfig config = given != nullptr ? given->config : LoraConfig::from_options(options_.model);
  if (source_ && source_->is_part()) {
    config.text_part = kTextModule;
  }
  const std::vector<int64_t> added =
      given == nullptr && source_ ? source_->added_tokens() : std::vector<int64_t>();
  if (!added.empty()) {
    // As TRL: the words that a template brings are trained, and the head, which shall write them.
    std::vector<int64_t>& trained = config.trainable_tokens["embed_tokens"];
    trained.insert(trained.end(), added.begin(), added.end());
    if (std::ranges::find(config.modules_to_save, "lm_head") == config.modules_to_save.end()) {
      config.modules_to_save.emplace_back("lm_head");
    }
    surroundings_.logger.warn(fmt::format(
        "the template brings {} words, so, as in TRL, their embeddings are trained beside the "
        "adapters, and the whole head",
        added.size()));
  }
  adapter_ = RunAdapter::add_to(
      *shape_, options_, config, given, source_ ? source_->numbers_drawn() : 0,
      frozen_base(*shape_, options_.model, source_.get(),
                  source_ ? ConfigQuantisation() : quantisation_alone(), surroundings_.logger));
  for (const std::string& warning : adapter_->plan.warnings) {
    surroundings_.logger.warn(warning);
  }
}

const Json& OpenRun::config() {
  if (parts_.config.empty()) {
    return source().config();
  }
  if (own_config_.is_null()) {
    own_config_ = read_json(parts_.config);
    own_config_ = text_part(own_config_).value_or(own_config_);
  }
  return own_config_;
}

ConfigQuantisation OpenRun::quantisation_alone() {
  return {config(), options_.model.model_name_or_path.value_or(""), parts_.config.string()};
}

namespace {

// transformers' Adafactor would take each matrix of such a tensor by itself, and ours does not.
void check_matrices(const Model& model, const OptimOptions& optim) {
  const auto several = std::ranges::find_if(model.trained, [](const ParamSpec& spec) {
    return spec.kind == ParamKind::matrix && spec.shape.rank() > 2;
  });
  if (several == model.trained.end() ||
      optimizer_settings(optim, 0).whole != WholeStep::adafactor) {
    return;
  }
  throw Error("C182", fmt::format("--optim adafactor takes a tensor as one matrix, and {} has the "
                                  "shape {}",
                                  several->pieces.front().name, several->shape.text()))
      .hint("--optim adamw_torch");
}

}  // namespace

const Model& OpenRun::shape() {
  if (!shape_) {
    shape_ = parts_.config.empty() ? described_model(source()) : Model::from_config(config());
    const ModelOptions& o = options_.model;
    require_adapters(o, nullptr);
    if (o.use_peft) {
      add_adapter();
    } else {
      shape_->trained_type = o.dtype == "bfloat16" ? DType::bf16 : DType::f32;
    }
    check_matrices(*shape_, options_.optim);
    say_adapter_options();
    if (parts_.only_used && !adapter_) {
      keep_as_stored(*shape_, parts_.random_weights ? nullptr : &source(), device().kind());
    }
    if (parts_.adapt) {
      parts_.adapt(*shape_);
    }
    if (options_.sharding.offload_embeddings) {
      check_offloaded_embeddings(*shape_);
    }
  }
  return *shape_;
}

const std::optional<RunAdapter>& OpenRun::adapter() {
  shape();
  return adapter_;
}

const TextSetup& OpenRun::text() {
  if (!text_) {
    const Model& expected = shape();
    text_ = load_text(source(), options_.data, surroundings_.hub);
    for (const std::string& warning : text_->warnings) {
      surroundings_.logger.warn(warning);
    }
    check_savable(source());
    if (source().weights_are_here()) {
      check_weights(source(), expected);
    }
  }
  return *text_;
}

const std::optional<fs::path>& OpenRun::checkpoint() {
  if (!checkpoint_) {
    bool verified = false;  // by rank 0, which looks for it
    const std::string newest = control().decide("checkpoint to resume", [&] {
      const auto found = checkpoint_to_resume(options_, launch().id, launch().attempt,
                                              device().threads(), surroundings_.logger);
      verified = found && found->verified;
      return found ? found->checkpoint.string() : std::string();
    });
    checkpoint_.emplace(newest.empty() ? std::nullopt : std::optional<fs::path>(newest));
    if (*checkpoint_) {
      check_resumable(**checkpoint_, options_, device().threads(), verified || !first());
    }
  }
  return *checkpoint_;
}

// The device's threads where there is a device and this rank alone works on the data; several on
// one machine let one do what takes long, with all processors.
ThreadPool& OpenRun::pool() {
  const std::optional<int64_t>& asked = options_.data.dataset_num_proc;
  if (!pool_ && !asked && launch().local_world == 1 && device_.device) {
    return device_.device->threads();
  }
  if (!pool_) {
    const int64_t own = asked ? *asked : launch().local_world == 1 ? options_.threads : 0;
    const int threads = own > 0 ? static_cast<int>(own) : default_threads();
    pool_.emplace(threads);
    say_shortage(*pool_, threads, surroundings_.logger);
  }
  return *pool_;
}

const DataContext& OpenRun::data() {
  if (!data_) {
    const TextSetup& setup = text();
    data_.emplace(DataContext{
        setup.tokenizer, setup.chat ? &*setup.chat : nullptr, pool(), surroundings_.logger,
        surroundings_.hub, static_cast<uint64_t>(options_.seed), shape().config.vocab, setup.key,
        outputs_ == Outputs::taken ? cache_folder("tokens", surroundings_.environment)
                                   : fs::path()});
  }
  return *data_;
}

bool OpenRun::evaluates() const { return options_.eval_strategy != "no" || options_.eval_on_start; }

void OpenRun::check_rows() {
  require_data(options_);
  check_dataset(options_.data, Part::train, data());
  if (evaluates()) {
    check_dataset(options_.data, Part::eval, data());
  }
  rows_checked_ = true;
}

const Prepared& OpenRun::rows(Part part) {
  std::optional<Prepared>& rows = part == Part::train ? train_ : eval_;
  if (!rows) {
    require_data(options_);
    if (part == Part::train && evaluates() && !rows_checked_) {
      check_dataset(options_.data, Part::eval, data());
    }
    rows.emplace(prepare_dataset(options_.data, part, data()));
  }
  return *rows;
}

const PreparedDataset& OpenRun::train() {
  return parts_.train != nullptr ? *parts_.train : *rows(Part::train).rows;
}

const std::string& OpenRun::checksum(Part part) {
  std::optional<std::string>& checksum = part == Part::train ? train_checksum_ : eval_checksum_;
  if (!checksum) {
    ContentHash hash;
    checksum = (part == Part::train ? train() : *eval()).add_to(hash) ? hash.hex() : "";
  }
  return *checksum;
}

const std::vector<fs::path>* OpenRun::train_files() {
  return parts_.train != nullptr ? nullptr : &rows(Part::train).files;
}

const PreparedDataset* OpenRun::eval() {
  if (parts_.train != nullptr) {
    return parts_.eval;
  }
  return evaluates() ? rows(Part::eval).rows.get() : nullptr;
}

// One number for all ranks, whose free memory may differ.
int64_t OpenRun::fitting_batch() {
  const std::string size = control().decide("batch size", [&] {
    return std::to_string(fitting_batch_size(options_, shape(), device(), compute(), holding(),
                                             train(), eval(), surroundings_.logger,
                                             launch().local_world));
  });
  return parse_json(size, "batch size").get<int64_t>();
}

const std::vector<Prompt>& OpenRun::prompts() {
  if (prompts_) {
    return *prompts_;
  }
  const ReportOptions& o = options_.report;
  prompts_.emplace();
  if (o.eval_samples > 0) {
    prompts_ = first_prompts(options_.data, Part::eval, data(), o.eval_samples);
  } else if (o.eval_prompts) {
    prompts_ = prompts_of_file(*o.eval_prompts, {}, options_.data, data());
  }
  const auto has_answer = [](const Prompt& prompt) { return prompt.reference.has_value(); };
  if (const auto& metric = options_.metric_for_best_model;
      metric && is_answer_metric(*metric) && std::ranges::none_of(*prompts_, has_answer)) {
    throw Error("D056", fmt::format("--metric_for_best_model is {}, and none of the {} prompts has "
                                    "an answer to compare with",
                                    *metric, prompts_->size()))
        .hint("give the prompts a \"reference\", or choose another metric: eval_loss");
  }
  sample_room(*prompts_, options_, shape().config, launch().world);
  return *prompts_;
}

StepCount OpenRun::steps() {
  if (!steps_) {
    const PreparedDataset* evaluated = (train(), eval());
    if (options_.auto_find_batch_size) {
      options_.per_device_train_batch_size = fitting_batch();
    }
    const auto loader =
        make_loader(train(), train_loader_options(options_, launch().rank, launch().world));
    const StepCount count{loader->steps_per_epoch(),
                          loader->total_steps(options_.num_train_epochs, options_.max_steps)};
    check_deepspeed_steps(options_, count.total);
    check_lengths(train(), shape().config);
    if (evaluated != nullptr) {
      check_lengths(*evaluated, shape().config);
    }
    steps_ = count;
  }
  return *steps_;
}

MemoryWish OpenRun::memory_wish() {
  steps();
  MemoryWish wish = sft::memory_wish(options_, holding(), train(), eval(), launch().local_world);
  if (!prompts().empty()) {
    const GeneratorRoom room = sample_room(prompts(), options_, shape().config, launch().world);
    wish.cached_tokens = room.capacity * room.lanes;
    wish.cached_texts = room.lanes;
    wish.read_tokens = std::min(room.capacity, Generator::most_piece(device()));
  }
  return wish;
}

const MemoryPlan& OpenRun::memory() {
  if (!memory_) {
    say_products(shape(), device(), surroundings_.logger);
    memory_ = plan_run(options_, memory_wish(), shape(), device(), compute(), surroundings_.logger);
  }
  return *memory_;
}

const Json& OpenRun::identity() {
  if (identity_.is_null()) {
    identity_ = identity_of(*this);
  }
  return identity_;
}

const Json* OpenRun::saved_run() {
  if (!saved_run_) {
    const auto& from = checkpoint();
    saved_run_ = from ? saved_identity(*from) : std::nullopt;
  }
  return *saved_run_ ? &**saved_run_ : nullptr;
}

void OpenRun::refuse_changes(const std::string& differences) const {
  if (differences.empty()) {
    return;
  }
  const std::string text = fmt::format("what matters has changed since {} was saved: {}",
                                       (*checkpoint_)->string(), differences);
  if (!options_.resume_with_changes) {
    throw Error("C063", text)
        .hint(
            "go on all the same with  --resume_with_changes true , or start a new run with "
            "--model_name_or_path set to the checkpoint");
  }
  surroundings_.logger.warn(text);
}

void OpenRun::check_same_settings() {
  const Json* saved = saved_run();
  if (saved == nullptr) {
    return;
  }
  if (!options_.resume_with_changes) {  // else all that differs is said at once
    refuse_changes(difference(*saved, settings_of(*this)));
  }
  check_state_tensors(**checkpoint_, shape(), held_type(shape()),
                      optimizer_settings(options_.optim, static_cast<uint64_t>(options_.seed)));
}

void OpenRun::check_same_run() {
  if (same_run_checked_) {
    return;
  }
  same_run_checked_ = true;
  if (const Json* saved = saved_run()) {
    refuse_changes(difference(*saved, identity()));
    check_same_settings();
  }
}

void OpenRun::agree() {
  if (control().size() == 1) {
    return;
  }
  Facts facts = model_facts(source(), text().key);
  const auto add = [&](Part part, const char* words) {
    std::ranges::copy(data_facts(words, rows(part), checksum(part)), std::back_inserter(facts));
  };
  add(Part::train, "training data");
  if (evaluates()) {
    add(Part::eval, "evaluation data");
  }
  control().agree("model and data", facts);
}

LoadedModel& OpenRun::weights() {
  if (weights_) {
    return *weights_;
  }
  if (parts_.random_weights || !parts_.config.empty()) {
    weights_ = random_model(shape(), device(), compute(), holding());
    return *weights_;
  }
  AdapterStart* const start = adapter() ? &adapter_->start : nullptr;
  weights_ =
      load_model(source(), shape(), device(), compute(), held_type(shape()), holding(), start);
  return *weights_;
}

Communicator& OpenRun::ranks() {
  if (ranks_ != nullptr) {
    return *ranks_;
  }
  if (parts_.ranks) {
    ranks_ = &parts_.ranks(device());
    return *ranks_;
  }
  const Logger& log = surroundings_.logger;
  store_ = control_store(control());
  connected_ = connect_ranks(launch(), device(), store_.get(), control().timeout().count(),
                             options_.sharding.copy_engines,
                             [&log](const std::string& line) { log.note(line); });
  ranks_ = connected_.get();
  if (ranks_->size() > 1) {
    log.note(fmt::format("ranks: {}, through {}", ranks_->size(), ranks_->name()));
  }
  ranks_->report_to(control());
  abort_ = control().on_failure([this](const Error& why) { ranks_->abort(why); });
  return *ranks_;
}

std::unique_ptr<Trainer> OpenRun::trainer(RunLog* log, TrainerHooks hooks) {
  const MemoryPlan& plan = memory();
  check_same_run();
  hooks.identity = [this] { return identity(); };
  LoadedModel& model = weights();
  const RunSurroundings& s = surroundings_;
  auto trainer = std::make_unique<Trainer>(
      RankContext{device(), ranks(), s.logger, s.stop_signal, s.save_signal,
                  parts_.id.empty() ? new_run_id() : parts_.id},
      options_, model, train(), eval(), log, std::move(hooks), plan);
  if (const auto& from = checkpoint()) {
    trainer->resume(*from);
    s.logger.note(fmt::format("resumed from {}", from->string()));
  }
  return trainer;
}

}  // namespace sft
