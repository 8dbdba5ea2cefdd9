// `sft export`: a model's folder, a checkpoint or an adapter as one GGUF file, with the Modelfile
// for Ollama beside it. Also used at the end of a run by --export.
#pragma once

#include <string>
#include <vector>

#include "core/file.h"
#include "core/log.h"
#include "core/thread_pool.h"
#include "hub/cache.h"
#include "io/gguf/write/mix.h"

namespace sft {

struct ExportOptions {
  std::string model;   // a folder, a .gguf file, a hub id, or an adapter's folder
  std::string base;    // of an adapter; "": the one that it names
  std::string output;  // a folder or a .gguf file; "": the model's own folder
  std::string quant = "f16";
  std::string pre;  // llama.cpp's name for how words are cut; "": found
};

struct ExportReport {
  fs::path file, modelfile;  // the latter "" for an adapter
  uint64_t bytes = 0;
};

// C230 for a format that there is not. Memory: a few pieces of some rows. S001 and S010 where it
// cannot be written; the errors of opening the model, and those of io/gguf/write.
ExportReport export_gguf(const ExportOptions& options, const HubEnvironment& hub, ThreadPool& pool,
                         const Logger& log);

}  // namespace sft
