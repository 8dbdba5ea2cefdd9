// A model's folder with its linear layers quantised as bitsandbytes saves them. Used by `sft
// merge`.
#pragma once

#include <span>
#include <string>

#include "core/log.h"
#include "io/model_saver.h"
#include "model/model.h"

namespace sft {

// The names of the ways to quantise, "none" the first of them.
std::vector<std::string> packed_forms();

// As save_model, in one of these forms. Says what rounding has changed, beside how far the weights
// are from those of `source`.
void save_packed(const fs::path& folder, const ModelSource& source, const Model& model,
                 std::vector<StreamedTensor> weights, SaveOptions saving, const std::string& form,
                 ThreadPool* pool, const Logger& log);

}  // namespace sft
