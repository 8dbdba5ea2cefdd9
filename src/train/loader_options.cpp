#include "train/loader_options.h"

#include "data/dataset.h"
#include "settings/nested_options.h"

namespace sft {

bool seeds_once(const TrainOptions& o) {
  return o.data.dataloader_persistent_workers && o.data.dataloader_num_workers > 0;
}

LoaderOptions train_loader_options(const TrainOptions& o, int rank, int world) {
  LoaderOptions l;
  l.per_device_batch = o.per_device_train_batch_size;
  l.accumulation = o.gradient_accumulation_steps;
  l.rank = rank;
  l.world = world;
  l.seed = static_cast<uint64_t>(o.data_seed.value_or(o.seed));
  l.drop_last = o.data.dataloader_drop_last;
  l.run_seed = static_cast<uint64_t>(o.seed);
  l.seeds_once = seeds_once(o);
  l.sampling = sampling_of(o);
  l.padding_free = is_padding_free(o.data);
  l.pad_to_multiple_of = o.data.padding_multiple();
  l.max_steps = o.max_steps;
  l.workers = static_cast<int>(o.data.dataset_num_proc.value_or(1));
  return l;
}

LoaderOptions eval_loader_options(const TrainOptions& o, int rank, int world) {
  LoaderOptions l = train_loader_options(o, rank, world);
  l.per_device_batch = o.per_device_eval_batch_size;
  l.accumulation = 1;
  if (l.sampling != Sampling::group_by_length) {
    l.sampling = Sampling::sequential;  // as transformers has it
  }
  return l;
}

}  // namespace sft
