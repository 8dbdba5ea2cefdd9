#include "core/error_codes.h"

#include <algorithm>
#include <array>

#include "core/error_codes/families.h"

namespace sft {

namespace {

constexpr ExitRow kExits[] = {
    {ExitCode::ok, "done", ""},
    {ExitCode::failure, "failed for a reason not named below", "stop"},
    {ExitCode::usage, "usage or configuration", "stop"},
    {ExitCode::data, "data", "stop"},
    {ExitCode::model, "a model or file is damaged or not supported", "stop"},
    {ExitCode::memory, "does not fit in memory, or a device cannot be used", "stop"},
    {ExitCode::io, "disk full, or another input/output error; the hub cannot be reached", "stop"},
    {ExitCode::sigint, "stopped by SIGINT, after a save where there was time",
     "retry on preemption"},
    {ExitCode::restart, "a peer was lost, a collective timed out, or a restart is asked for",
     "retry"},
    {ExitCode::sigterm, "stopped by SIGTERM, after a save where there was time",
     "retry on preemption"},
};

}  // namespace

std::span<const CodeFamily> code_families() {
  static const std::array families{
      configuration_codes(), data_codes(),    model_codes(),   memory_codes(),
      saving_codes(),        network_codes(), program_codes(),
  };
  return families;
}

const CodeFamily& family_of(Code code) {
  // There is one for each letter that a code may begin with.
  return *std::ranges::find(code_families(), code.letter(), &CodeFamily::letter);
}

const CodeRow* find_row(std::string_view code) {
  for (const CodeFamily& family : code_families()) {
    for (const CodeGroup& group : family.groups) {
      for (const CodeRow& row : group.rows) {
        if (row.code.text() == code) {
          return &row;
        }
      }
    }
  }
  return nullptr;
}

const CodeRow* find_shown(std::string_view output) {
  const size_t at = output.find(kErrorBegins);
  return at == std::string_view::npos ? nullptr
                                      : find_row(output.substr(at + kErrorBegins.size(), 4));
}

std::span<const ExitRow> exit_rows() { return kExits; }

ExitCode Error::exit_code() const { return family_of(code_).exit_code; }

}  // namespace sft
