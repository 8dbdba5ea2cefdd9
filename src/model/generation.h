// The program that goes on with several texts at a time. Used by run/generator; for one text there
// is record_generation (model/model.h).
#pragma once

#include "model/model.h"

namespace sft {

// The logits after `tokens` new tokens, equally many in each of `lanes` texts: (lanes, vocab). The
// caches have `cache_rows` positions of all texts together (see cached_attention).
LogitsProgram record_lanes(const Model& model, int64_t tokens, int64_t lanes, int64_t cache_rows,
                           Target target = {});

}  // namespace sft
