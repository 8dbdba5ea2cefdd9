// In which format the base of adapters is kept while they are trained: as the options ask, or as
// its files have it.
#pragma once

#include <string>

#include "core/log.h"
#include "device/device.h"
#include "io/config_quantisation.h"
#include "io/model_source.h"
#include "model/adapters.h"
#include "settings/train_options.h"

namespace sft {

// Sets what `shape` says of it (types, the threshold of 8 bits); returns the types of its linear
// layers, which may read `source` when they are asked for. `source`: null for a config.json alone,
// whose quantization_config is then `alone`.
// C201 where the options ask for two formats, or for another than that of files that are quantised.
StoredType frozen_base(Model& shape, const ModelOptions& options, const ModelSource* source,
                       const ConfigQuantisation& alone, const Logger& log);

// "nf4 (78.9 %), 91 MiB in all": how it is kept; "" where nothing is packed.
std::string base_words(const Model& model, DType compute);

// That a CPU multiplies what the codes of a base in float8 stand for.
void say_products(const Model& model, const Device& device, const Logger& log);

// C203 where the table of embeddings shall stay in the host's memory and more than its rows are
// read, or it is changed.
void check_offloaded_embeddings(const Model& model);

// C200 where options, or the source, quantise the weights of a model that is trained whole.
void require_adapters(const ModelOptions& options, const ModelSource* source);

}  // namespace sft
