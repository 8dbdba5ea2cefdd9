#include "run/run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "comm/connect.h"
#include "comm/together.h"
#include "core/cache_folder.h"
#include "core/error.h"
#include "core/file.h"
#include "core/host_name.h"
#include "core/strings.h"
#include "data/dataset.h"
#include "data/tokens/token_cache.h"
#include "formats/convert.h"
#include "io/checksum.h"
#include "io/model_saver.h"
#include "report/rank_facts.h"
#include "report/trackers/kubeflow_status.h"
#include "report/trackers/tracker.h"
#include "run/choose_device.h"
#include "run/hub_push.h"
#include "run/output_folder.h"
#include "run/preflight.h"
#include "run/text_setup.h"

namespace sft {

namespace {

// "process 123 on host"
std::string this_process() { return fmt::format("process {} on {}", ::getpid(), host_name()); }

// The options that decide what the next step computes. Data, batches and seeds are compared by what
// comes of them.
constexpr const char* kWhatMatters[] = {"learning_rate",
                                        "lr_scheduler_type",
                                        "lr_scheduler_kwargs",
                                        "warmup_steps",
                                        "warmup_ratio",
                                        "weight_decay",
                                        "adam_beta1",
                                        "adam_beta2",
                                        "adam_epsilon",
                                        "max_grad_norm",
                                        "optim",
                                        "loss_type",
                                        "label_smoothing_factor",
                                        "neftune_noise_alpha",
                                        "average_tokens_across_devices",
                                        "bf16",
                                        "fp16",
                                        "packing",
                                        "train_sampling_strategy",
                                        "dataset_order",
                                        "dataset_streaming"};
// Where rows come in windows there are none to compare: what makes them is.
constexpr const char* kWhatMakesWindows[] = {
    "max_length",          "packing_strategy",   "truncation_mode", "completion_only_loss",
    "assistant_only_loss", "dataset_text_field", "shuffle_dataset"};
// See TrainerHooks::identity.
Json identity_of(const TrainOptions& o, const ModelSource& source, const PreparedDataset& rows) {
  Json identity = Json::object();
  const Json values = option_values(o);
  const auto add = [&](std::span<const char* const> names) {
    for (const char* name : names) {
      if (values.contains(name)) {
        identity[fmt::format("--{}", name)] = values[name];
      }
    }
  };
  add(kWhatMatters);
  if (rows.windows() != nullptr) {
    add(kWhatMakesWindows);
  }
  Json config = source.config();
  for (const char* key : kWordsOnly) {
    config.erase(key);
  }
  for (const auto& [key, value] : config.items()) {
    identity[fmt::format("{} of config.json", key)] = value;
  }
  if (rows.windows() == nullptr && rows.size() > 0) {
    constexpr int64_t kSample = 64;
    uint32_t sum = 0;
    for (int64_t i = 0; i < kSample; ++i) {
      const Example e = rows.example((rows.size() - 1) * i / (kSample - 1));
      sum = crc32c(sum, e.input_ids.data(), e.input_ids.size() * sizeof(int32_t));
      sum = crc32c(sum, e.labels.data(), e.labels.size() * sizeof(int32_t));
    }
    identity["the checksum of a sample of the rows"] = fmt::format("{:08x}", sum);
  }
  return identity;
}

SaveOptions save_options(const TrainOptions& o, const ModelSource& source, const TextSetup& text,
                         bool chat, bool chat_trained, const std::string& version) {
  SaveOptions s;
  s.dtype = o.save_dtype == "auto" ? source.stored_dtype()
                                   : parse_dtype(o.save_dtype).value_or(DType::f32);
  s.max_shard_bytes = static_cast<uint64_t>(o.max_shard_bytes());
  if (chat_trained) {
    s.turn_end = text.turn_end;
  }
  if (text.tokenizer.eos_id()) {
    s.eos = TokenRef{text.tokenizer.eos_token(), *text.tokenizer.eos_id()};
  }
  s.chat_template = text.replaced_template;
  if (text.chat_is_default && chat) {
    s.chat_template = text.chat->source();  // what the model now knows must come with it
  }
  if (o.data.eos_token) {
    s.tokenizer_config["eos_token"] = *o.data.eos_token;
  }
  s.sft_version = version;
  if (o.data.dataset_name && is_hub_id(*o.data.dataset_name) && !is_there(*o.data.dataset_name)) {
    s.datasets.push_back(*o.data.dataset_name);
  }
  return s;
}

// Whether training ever ends a turn with the template's token; only then may the model's EOS
// change.
bool trains_turn_end(const PreparedDataset& data, const TextSetup& text) {
  if (!text.turn_end) {
    return false;
  }
  const int64_t sample = std::min<int64_t>(data.size(), 100);
  for (int64_t i = 0; i < sample; ++i) {
    const Example e = data.example(i);
    if (std::ranges::find(e.labels, static_cast<int32_t>(text.turn_end->id)) != e.labels.end()) {
      return true;
    }
  }
  return false;
}

Json about_run(const TrainOptions& o, const RunSurroundings& s, const LoadedModel& model,
               const ModelSource& source, const Prepared& data, const Device& device) {
  return {{"version", s.version},
          {"argv", without_tokens(s.argv)},
          {"host", host_name()},
          {"model",
           {{"name", source.name()},
            {"architecture", model.model.config.architecture},
            {"format", source.format()},
            {"parameters", model.model.values()}}},
          {"data", data.report},
          {"world", s.launch.world},
          {"devices", {device.name()}},
          {"config", option_values(o)}};
}

}  // namespace

TrainOutcome run_training(const TrainOptions& asked, const RunSurroundings& s) {
  TrainOptions o = asked;  // auto_find_batch_size changes it
  require_inputs(o);
  const Logger& log = s.logger;
  const bool first = s.launch.rank == 0;
  const ChosenDevice chosen = choose_device({.use_cpu = o.use_cpu,
                                             .bf16 = o.wants_bf16(),
                                             .threads = static_cast<int>(o.threads),
                                             .local_rank = s.launch.local_rank,
                                             .local_world = s.launch.local_world,
                                             .fp16 = o.wants_fp16(),
                                             .tf32 = o.tf32.value_or(false)},
                                            log);
  Device* const device = chosen.device.get();
  const Holding holding = holding_of(o.sharding, s.launch.rank, s.launch.world, device->kind());
  if (first) {
    check_outputs(o);
  }
  const auto [source, shape, text] = open_model(o, s.hub, log);
  std::optional<OutputFolder> output;
  if (first) {
    output.emplace(o, this_process());
  }
  std::optional<HubPush> push;
  if (o.hub.push_to_hub && first) {
    push.emplace(o, s.hub, log);
  }
  const auto alone = s.control == nullptr ? local_control() : nullptr;
  RankControl& control = alone ? *alone : *s.control;
  bool verified = false;  // by rank 0, which looks for it
  const auto look = [&] {
    const auto found =
        checkpoint_to_resume(o, s.launch.id, s.launch.attempt, device->threads(), log);
    verified = found && found->verified;
    return found ? found->checkpoint.string() : std::string();
  };
  const std::string newest = decide_together(control, "checkpoint to resume", look);
  const auto checkpoint = newest.empty() ? std::nullopt : std::optional<fs::path>(newest);
  if (checkpoint) {
    check_resumable(*checkpoint, o, device->threads(), verified || !first);
  }
  // What takes long of the data is done by one rank of a machine while the others wait for it.
  std::optional<ThreadPool> own_pool;
  if (o.data.dataset_num_proc || s.launch.local_world > 1) {
    const int threads =
        o.data.dataset_num_proc ? static_cast<int>(*o.data.dataset_num_proc) : default_threads();
    own_pool.emplace(threads);
    say_shortage(*own_pool, threads, log);
  }
  const DataContext context{
      text.tokenizer,
      text.chat ? &*text.chat : nullptr,
      own_pool ? *own_pool : device->threads(),
      log,
      s.hub,
      static_cast<uint64_t>(o.seed),
      shape.config.vocab,
      text.key,
      cache_folder("tokens", [](const char* name) { return std::getenv(name); })};
  const bool evaluates = o.eval_strategy != "no" || o.eval_on_start;
  if (evaluates) {
    check_dataset(o.data, Part::eval, context);
  }
  const Prepared train = prepare_dataset(o.data, Part::train, context);
  std::optional<Prepared> eval;
  if (evaluates) {
    eval = prepare_dataset(o.data, Part::eval, context);
  }
  check_steps(o, *train.rows, s.launch.world);
  if (o.auto_find_batch_size) {
    const std::string size = decide_together(control, "batch size", [&] {
      return std::to_string(fitting_batch_size(o, shape, *device, chosen.compute, holding,
                                               *train.rows, eval ? eval->rows.get() : nullptr, log,
                                               s.launch.local_world));
    });
    o.per_device_train_batch_size = parse_json(size, "batch size").get<int64_t>();
  }
  const MemoryPlan memory =
      plan_run(o, shape, *device, chosen.compute, holding, *train.rows,
               eval ? eval->rows.get() : nullptr, log, false, s.launch.local_world);
  if (control.size() > 1) {
    Facts facts = model_facts(*source, text.key);
    std::ranges::copy(data_facts("training data", train), std::back_inserter(facts));
    if (eval) {
      std::ranges::copy(data_facts("evaluation data", *eval), std::back_inserter(facts));
    }
    control.agree("model and data", facts);
  }
  LoadedModel model = load_model(*source, *device, chosen.compute,
                                 o.model.dtype == "bfloat16" ? DType::bf16 : DType::f32, holding);
  log.note(fmt::format("model: {} ({}), {} parameters, {}, trained in {} on {}", source->name(),
                       model.model.config.architecture, with_commas(model.model.values()),
                       source->format(), name_of(chosen.compute), device->name()));

  const SaveOptions saving =
      save_options(o, *source, text, train.chat, trains_turn_end(*train.rows, text), s.version);
  const auto export_model = [&](const fs::path& folder, std::span<const StreamedTensor> weights,
                                ThreadPool* pool) {
    std::vector<StreamedTensor> kept;
    for (const StreamedTensor& w : weights) {  // those in neither float32 nor the files' type
      kept.push_back(w.dtype == DType::f32 || w.dtype == saving.dtype ? w : widened(w));
    }
    return save_model(folder, *source, kept, saving, pool);
  };
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  // The first rank alone writes what people and their tools read.
  std::optional<Trackers> trackers;
  std::optional<RunLog> run_log;
  const auto kubeflow = first ? KubeflowStatus::from(variable, s.version)
                              : decltype(KubeflowStatus::from(variable, s.version)){};
  if (first) {
    trackers.emplace(o, variable, log);
    run_log.emplace(RunLog::Setup{o.output_dir,
                                  s.print,
                                  {},
                                  [&](const Json& line) {
                                    trackers->line(line);
                                    if (kubeflow) {
                                      kubeflow->line(line);
                                    }
                                  },
                                  o.include_num_input_tokens_seen != "no"});
  }
  const auto on_step = [&](int64_t done, int64_t total, std::string_view tail) {
    if (kubeflow) {
      kubeflow->step(done, total);
    }
    if (s.on_step) {
      s.on_step(done, total, tail);
    }
  };
  const auto store = control_store(control);
  const auto comm =
      connect_ranks(s.launch, *device, store.get(), static_cast<double>(o.distributed.ddp_timeout),
                    o.sharding.copy_engines, [&](const std::string& line) { log.note(line); });
  if (comm->size() > 1) {
    log.note(fmt::format("ranks: {}, through {}", comm->size(), comm->name()));
  }
  comm->report_to(control);
  const auto abort = control.on_failure([&](const Error& why) { comm->abort(why); });
  Trainer trainer({*device, *comm, log, s.stop_signal, s.save_signal, new_run_id()}, o, model,
                  *train.rows, eval ? eval->rows.get() : nullptr, first ? &*run_log : nullptr,
                  {export_model, on_step, s.on_eval_batch,
                   [&](const fs::path& folder, int64_t step) {
                     if (push) {
                       push->checkpoint(folder, step);
                     }
                   },
                   [&] { return identity_of(o, *source, *train.rows); }, text.padding()},
                  memory);
  if (checkpoint) {
    trainer.resume(*checkpoint, true);
    log.note(fmt::format("resumed from {}", checkpoint->string()));
  }
  if (first) {
    output->begin(trainer.run_id(), s.launch.id, newest, log);
    run_log->start(trainer.run_id(), about_run(o, s, model, *source, train, *device),
                   checkpoint ? checkpoint->string() : "");
  }
  if (s.on_training) {
    s.on_training();
  }
  try {
    const TrainOutcome outcome = trainer.run([&] {
      const SavedWeights weights = trainer.weights();
      if (!first) {
        return;
      }
      const std::vector<std::string> changes =
          export_model(o.output_dir, weights.tensors, &device->threads()).changes;
      output->model_saved();
      write_text(fs::path(o.output_dir) / "training_args.json",
                 to_text(option_values(o), 2) + "\n");
      log.note(fmt::format("saved the model to {} ({})", o.output_dir,
                           changes.empty() ? "configuration as in the source"
                                           : fmt::format("changed {}", fmt::join(changes, "; "))));
    });
    say_notes(trainer.notes(), o.data, text.tokenizer, log);
    if (first) {
      run_log->end(outcome.stopped_by == 0 ? RunStatus::done : RunStatus::stopped);
    }
    if (push && outcome.stopped_by == 0) {
      push->finish(o.output_dir);
    }
    return outcome;
  } catch (const Error& e) {
    try {
      if (first) {
        run_log->end(RunStatus::failed, e.code());
      }
    } catch (const Error&) {  // the disk is full, say: the first error is the one to show
    }
    throw;
  }
}

}  // namespace sft
