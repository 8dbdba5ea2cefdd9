#include "run/preflight.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/strings.h"
#include "data/tokens/loader.h"
#include "io/checkpoint.h"
#include "io/model_saver.h"
#include "run/named_model.h"
#include "settings/nested_options.h"
#include "settings/sharding_config/deepspeed.h"
#include "state/loaded_model.h"

namespace sft {

namespace {

// Whether files can be made in `folder`, or in the nearest folder above it that is there; "" when
// they can, else why not.
std::string why_not_writable(fs::path folder) {
  folder = fs::absolute(folder).lexically_normal();
  while (kind_of(folder) == PathKind::none && folder.has_relative_path()) {
    folder = folder.parent_path();
  }
  if (!is_folder(folder)) {
    return fmt::format("{} is not a folder", folder.string());
  }
  return ::access(folder.c_str(), W_OK | X_OK) == 0
             ? ""
             : fmt::format("{}: {}", folder.string(), std::strerror(errno));
}

void check_profile(const fs::path& file) {
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (!is_folder(folder)) {
    throw Error("S010", fmt::format("--profile: the folder of {} does not exist", file.string()))
        .hint(fmt::format("mkdir -p {}", folder.string()));
  }
  const std::string why =
      is_folder(file) ? "a folder of that name is there" : why_not_writable(folder);
  if (!why.empty()) {
    throw Error("S010", fmt::format("--profile: cannot write {}: {}", file.string(), why))
        .hint("name a file in a folder that you may write to");
  }
}

}  // namespace

void check_outputs(const TrainOptions& o) {
  if (const std::string why = why_not_writable(o.output_dir); !why.empty()) {
    throw Error("S010", fmt::format("cannot write to the output_dir {}: {}", o.output_dir, why))
        .hint("choose another --output_dir");
  }
  if (o.profile) {
    check_profile(*o.profile);
  }
}

RunModel open_model(const TrainOptions& o, const HubEnvironment& hub, const Logger& log) {
  auto source = open_source(o.model, o.data, hub, log);
  Model shape = Model::from_config(source->config());
  TextSetup text = load_text(*source, o.data, hub);
  for (const std::string& warning : text.warnings) {
    log.warn(warning);
  }
  check_savable(*source);
  if (source->weights_are_here()) {
    check_weights(*source, shape);
  }
  return {std::move(source), std::move(shape), std::move(text)};
}

void check_steps(const TrainOptions& o, const PreparedDataset& rows, int ranks) {
  LoaderOptions l;
  l.per_device_batch = o.per_device_train_batch_size;
  l.accumulation = o.gradient_accumulation_steps;
  l.world = ranks;
  l.drop_last = o.data.dataloader_drop_last;
  l.sampling = sampling_of(o);
  l.max_steps = o.max_steps;
  const int64_t steps = make_loader(rows, l)->total_steps(o.num_train_epochs, o.max_steps);
  check_deepspeed_steps(o, steps);
}

}  // namespace sft
