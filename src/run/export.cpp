#include "run/export.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/file_writer.h"
#include "core/strings.h"
#include "io/adapter_files.h"
#include "io/gguf/write/model.h"
#include "io/model_saver.h"
#include "run/modelfile.h"
#include "run/text_setup.h"

namespace sft {

namespace {

const GgufMix& mix_of(const std::string& name) {
  const GgufMix* mix = find_gguf_mix(to_lower(name));
  if (mix == nullptr) {
    throw Error("C230", fmt::format("there is no format \"{}\" for a GGUF file", name))
        .hint(fmt::format("take one of {}", fmt::join(gguf_mix_names(), ", ")));
  }
  return *mix;
}

// Where the file goes, and that it can.
fs::path place(const ExportOptions& o, const fs::path& beside, const std::string& name) {
  fs::path path = o.output.empty() ? beside : fs::path(o.output);
  const bool is_file = path.extension() == ".gguf";
  const fs::path folder = is_file ? path.parent_path() : path;
  std::error_code reason;
  if (!folder.empty()) {
    fs::create_directories(folder, reason);
  }
  if (reason || (!folder.empty() && !fs::is_directory(folder))) {
    throw Error("S010", fmt::format("cannot make the folder {}: {}", folder.string(),
                                    reason ? reason.message() : "a file of that name is there"))
        .hint("name another place with --output");
  }
  path = is_file ? path : path / name;
  check_place_for_file(path);
  return path;
}

void check_not_source(const fs::path& file, const fs::path& source) {
  std::error_code ignored;
  if (fs::equivalent(file, source, ignored)) {
    throw Error("C231", fmt::format("{} would be written over itself", source.string()))
        .hint("name another file with --output");
  }
}

// The folder that names the model: a file's own folder would name something else.
fs::path naming_folder(const ModelSource& source) {
  const fs::path& path = source.path();
  return fs::is_directory(path) ? path : path.parent_path() / path.stem();
}

}  // namespace

ExportReport export_gguf(const ExportOptions& o, const HubEnvironment& hub, ThreadPool& pool,
                         const Logger& log) {
  const GgufMix& mix = mix_of(o.quant);
  ExportReport report;
  if (fs::is_directory(o.model) && AdapterFiles::is_in(o.model)) {
    const AdapterFiles adapter = AdapterFiles::read(o.model);
    const auto base = ModelSource::open(o.base.empty() ? adapter.base() : o.base,
                                        adapter.config.base_revision.value_or("main"), hub);
    const GgufPlan plan = plan_gguf_adapter(adapter, *base, mix);
    report.file = place(o, o.model, plan.file_name);
    report.bytes = write_gguf(report.file, plan.metadata, plan.tensors, &pool).bytes;
    log.note(fmt::format("{}: an adapter for llama.cpp (--lora) and Ollama (ADAPTER), {}",
                         report.file.string(), mix.suffix));
    return report;
  }
  const auto source = ModelSource::open(o.model, "main", hub);
  const GgufPlan plan = plan_gguf(*source, naming_folder(*source), mix, o.pre);
  const bool is_folder = fs::is_directory(source->path());
  report.file = place(o, is_folder ? source->path() : source->path().parent_path(), plan.file_name);
  check_not_source(report.file, source->path());
  const TextSetup text = load_text(*source, {}, hub);
  report.bytes = write_gguf(report.file, plan.metadata, plan.tensors, &pool).bytes;
  report.modelfile = report.file.parent_path() / "Modelfile";
  write_text(report.modelfile,
             modelfile(report.file.filename().string(), text, end_tokens(*source, text),
                       source->generation_config().value_or(Json::object()), plan.adds_bos));
  log.note(fmt::format("{}: {} tensors, {:.1f} MB, {}; and the Modelfile for Ollama",
                       report.file.string(), plan.tensors.size(),
                       static_cast<double>(report.bytes) / 1e6, mix.suffix));
  return report;
}

}  // namespace sft
