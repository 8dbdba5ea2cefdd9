#include "run/check/check.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"
#include "io/json_edit.h"
#include "run/check/checks.h"

namespace sft {

namespace {

std::vector<Reader> all_readers() {
  std::vector<Reader> all;
  for (int i = 0; i < kReaders; ++i) {
    all.push_back(static_cast<Reader>(i));
  }
  return all;
}

}  // namespace

Effect CheckResult::on(Reader reader) const {
  Effect worst = Effect::sound;
  for (const Finding& finding : findings) {
    const auto found = finding.effects.find(reader);
    worst = found == finding.effects.end() ? worst : std::max(worst, found->second);
  }
  return worst;
}

CheckResult check_model(const std::filesystem::path& path, bool look_inside) {
  CheckResult out;
  if (is_file(path) && path.extension() == ".gguf") {
    out.readers = {Reader::llama_cpp, Reader::ollama};
    check_gguf(path, out.findings);
  } else if (is_folder(path)) {
    const ModelFolder folder = ModelFolder::read(path);
    if (folder.is_adapter() && !folder.config.there) {
      out.readers = {Reader::transformers4, Reader::transformers5, Reader::vllm, Reader::sglang,
                     Reader::lm_eval};
      check_adapter(folder, out.findings);
    } else {
      out.readers = all_readers();
      out.looked_inside = look_inside;
      check_config(folder, out.findings);
      check_weights(folder, look_inside, out.findings);
      check_text(folder, out.findings);
    }
  } else {
    throw Error("C241",
                fmt::format("{} is {}", path.string(),
                            is_there(path) ? "neither a folder nor a .gguf file" : "not there"))
        .hint("sft check DIR");
  }
  std::ranges::stable_sort(out.findings, std::greater<>(), &Finding::worst);
  return out;
}

std::vector<std::string> fix_model(const std::filesystem::path& folder,
                                   const std::vector<Finding>& findings) {
  std::map<std::string, JsonEditor> editors;
  for (const Finding& finding : findings) {
    for (const Edit& edit : finding.fix) {
      auto found = editors.find(edit.file);
      if (found == editors.end()) {
        const fs::path file = folder / edit.file;
        found = editors
                    .emplace(edit.file,
                             JsonEditor(is_there(file) ? read_text(file) : "{}\n", edit.file))
                    .first;
      }
      if (edit.value.is_null()) {
        found->second.erase(edit.key);
      } else {
        found->second.set(edit.key, edit.value);
      }
    }
  }
  std::vector<std::string> changed;
  for (const auto& [file, editor] : editors) {
    write_text(folder / file, editor.text());
    for (const std::string& key : editor.changed()) {
      changed.push_back(fmt::format("{}: {}", file, key));
    }
  }
  return changed;
}

Json to_json(const CheckResult& result, const std::string& path) {
  Json out{{"v", 1}, {"path", path}, {"looked_inside", result.looked_inside}};
  out["readers"] = Json::object();
  for (const Reader reader : result.readers) {
    out["readers"][name_of(reader)] = name_of(result.on(reader));
  }
  out["findings"] = Json::array();
  for (const Finding& finding : result.findings) {
    Json effects = Json::object();
    for (const auto& [reader, effect] : finding.effects) {
      effects[name_of(reader)] = name_of(effect);
    }
    out["findings"].push_back({{"id", finding.id},
                               {"where", finding.where},
                               {"what", finding.what},
                               {"change", finding.change},
                               {"fixable", !finding.fix.empty()},
                               {"effects", std::move(effects)}});
  }
  return out;
}

}  // namespace sft
