#include "cli/environment.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <string_view>

#include "core/error.h"

namespace sft {

Environment read_environment() {
  std::map<std::string, std::string> variables;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos) {  // the first of two of a name, as std::getenv has it
      variables.try_emplace(std::string(text.substr(0, equals)), text.substr(equals + 1));
    }
  }
  return Environment(std::move(variables));
}

void apply_environment(const std::vector<std::pair<std::string, std::string>>& variables) {
  for (const auto& [name, value] : variables) {
    if (name.empty() || name.find('=') != std::string::npos ||
        ::setenv(name.c_str(), value.c_str(), 1) != 0) {
      throw Error("C025", fmt::format("env: \"{}\" cannot be the name of a variable", name));
    }
  }
}

std::string at_home(const std::string& path, const Environment& environment) {
  const std::string home = environment.value("HOME");
  return !home.empty() && (path == "~" || path.starts_with("~/")) ? home + path.substr(1) : path;
}

void load_cudnn(const Environment& environment, const Logger& log) {
  const char* const file = environment("SFT_CUDNN");
  if (file != nullptr && *file != 0 && ::dlopen(file, RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    log.warn(fmt::format("SFT_CUDNN: {} cannot be loaded: {}", file, ::dlerror()));
  }
}

}  // namespace sft
