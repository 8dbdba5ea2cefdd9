#include "run/run_exports.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "core/strings.h"
#include "io/gguf/write/model.h"
#include "run/open_run.h"

namespace sft {

std::vector<std::string> export_formats(const TrainOptions& options) {
  constexpr std::string_view kKind = "gguf:";
  std::vector<std::string> formats;
  for (const std::string& given : options.exports) {
    const std::string name = to_lower(given);
    const std::string format = name.starts_with(kKind) ? name.substr(kKind.size()) : "";
    if (find_gguf_mix(format) == nullptr) {
      throw Error("C230", fmt::format("--export {}: there is no such kind of file", given))
          .hint(fmt::format("take gguf: and one of {}, as in --export gguf:q4_k_m",
                            fmt::join(gguf_mix_names(), ", ")));
    }
    if (std::ranges::find(formats, format) == formats.end()) {
      formats.push_back(format);
    }
  }
  return formats;
}

void check_exports(OpenRun& run) {
  for (const std::string& format : export_formats(run.options())) {
    const GgufMix& mix = *find_gguf_mix(format);
    run.shape();
    if (run.adapter()) {
      check_gguf_adapter(run.adapter()->config, run.adapter()->plan, run.source().config(), mix,
                         "--export gguf:" + format);
    } else {
      plan_gguf(run.source(), run.options().output_dir, mix, "");
    }
  }
}

std::vector<ExportReport> write_exports(OpenRun& run) {
  std::vector<ExportReport> files;
  for (const std::string& format : export_formats(run.options())) {
    ExportOptions options;
    options.model = run.options().output_dir;
    options.quant = format;
    if (run.adapter()) {
      options.base = run.source().name();
    }
    files.push_back(export_gguf(options, run.surroundings().hub, run.device().threads(),
                                run.surroundings().logger));
  }
  return files;
}

std::string export_section(const std::vector<ExportReport>& files) {
  if (files.empty()) {
    return "";
  }
  std::string text = "\n## For llama.cpp, Ollama and LM Studio\n\n";
  for (const ExportReport& file : files) {
    text += fmt::format("- `{}`, {:.1f} MB\n", file.file.filename().string(),
                        static_cast<double>(file.bytes) / 1e6);
  }
  if (!files.back().modelfile.empty()) {
    text += "\n```sh\nollama create NAME -f Modelfile\n```\n";
  }
  return text;
}

}  // namespace sft
