// --export: the model of a run as GGUF files beside it, when training is done. Used by open_run.cpp
// and run_report.cpp.
#pragma once

#include <string>
#include <vector>

#include "run/export.h"

namespace sft {

class OpenRun;
struct TrainOptions;

// The formats that --export names, each once; C230 for a kind of file or a format that there is
// not.
std::vector<std::string> export_formats(const TrainOptions& options);

// Refuses before the run what could not be written behind it: C230, and what plan_gguf and
// check_gguf_adapter refuse.
void check_exports(OpenRun& run);

// Writes them into output_dir, where the model is.
std::vector<ExportReport> write_exports(OpenRun& run);

// What the model's card says of them.
std::string export_section(const std::vector<ExportReport>& files);

}  // namespace sft
