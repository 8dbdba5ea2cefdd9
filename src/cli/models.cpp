// `sft models`: the families of models that can be trained, from the table of families, and which
// of their published sizes fit this machine. `--markdown` prints the table of docs/models.md.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "core/cgroup.h"
#include "core/error.h"
#include "core/strings.h"
#include "device/device.h"
#include "device/nvml.h"
#include "model/model.h"

namespace sft {
namespace {

// What a parameter takes, in bytes, and a fifth more for activations and buffers.
struct Way {
  const char* mark;
  const char* words;
  double on_gpu, on_cpu;
};
constexpr double kBeside = 1.2;
// Float32 weights, gradients and two moments, on a GPU also a bfloat16 copy; a frozen base in the
// type that is computed in; one in NF4.
constexpr Way kWays[] = {{"*", "all weights", 18.0, 16.0},
                         {"+", "adapters", 2.0, 4.0},
                         {"-", "adapters on a base of 4 bits", 0.6, 0.6}};

struct Machine {
  double bytes = 0.0;
  bool gpu = false;
};

Machine this_machine() {
  Machine machine;
  if (why_no_cuda().empty()) {
    const auto nvml = Nvml::open("", 64);
    for (int i = 0; nvml && i < nvml->cards(); ++i) {
      if (const auto state = nvml->state(i)) {
        machine = {std::max(machine.bytes, state->memory_total), true};
      }
    }
  }
  if (!machine.gpu) {
    machine.bytes = static_cast<double>(available_memory());
    if (const auto limit = cgroup_memory_limit()) {
      machine.bytes = std::min(machine.bytes, static_cast<double>(*limit));
    }
  }
  return machine;
}

double most_billions(const Way& way, const Machine& machine) {
  return machine.bytes / (kBeside * (machine.gpu ? way.on_gpu : way.on_cpu)) / 1e9;
}

std::string mark_of(double billions, const Machine& machine) {
  for (const Way& way : kWays) {
    if (billions <= most_billions(way, machine)) {
      return way.mark;
    }
  }
  return "";
}

std::string size_text(double billions) {
  return billions < 1.0 ? fmt::format("{:.0f}M", billions * 1000.0)
                        : fmt::format("{:.3g}B", billions);
}

// "Qwen2.5 494M, 1.54B; Llama 70B", each size with its mark where there is a machine.
std::string sizes_of(const Family& family, const Machine* machine) {
  std::string out;
  std::string_view before;
  for (const PublishedModel& model : family.models) {
    const std::string name = model.name == before ? "," : fmt::format("; {}", model.name);
    out += fmt::format("{} {}{}", name, size_text(model.billions),
                       machine == nullptr ? "" : mark_of(model.billions, *machine));
    before = model.name;
  }
  return out.substr(std::min<size_t>(2, out.size()));
}

std::string targets_of(const Family& family) {
  return family.lora_targets.empty() ? "none: name them"
                                     : fmt::format("{}", fmt::join(family.lora_targets, " "));
}

std::string markdown() {
  std::string out =
      "| model_type | architecture | published models | default layers of adapters |\n"
      "|---|---|---|---|\n";
  for (const Family& family : all_families()) {
    out += fmt::format("| `{}` | {} | {} | {} |\n", family.model_type, family.architecture,
                       sizes_of(family, nullptr), targets_of(family));
  }
  return out;
}

std::string table() {
  const Machine machine = this_machine();
  size_t widest = 0;
  for (const Family& family : all_families()) {
    widest = std::max(widest, family.model_type.size());
  }
  std::string out;
  for (const Family& family : all_families()) {
    out += fmt::format("{:<{}}{}\n", family.model_type, widest + 2, sizes_of(family, &machine));
  }
  out += fmt::format("\nWhat fits {} of this machine, about:\n",
                     machine.gpu ? fmt::format("a card ({})", human_bytes(machine.bytes))
                                 : fmt::format("the memory ({} free)", human_bytes(machine.bytes)));
  for (const Way& way : kWays) {
    out += fmt::format("  {}  {}: up to {}\n", way.mark, way.words,
                       size_text(most_billions(way, machine)));
  }
  return out + "sft --dry_run says it of a run; docs/how-to/family.md, how a family is added.\n";
}

}  // namespace

int run_models(Args args, Terminal& terminal) {
  if (asks_for_help(args)) {
    terminal.print(
        "sft models [--markdown]\n\n"
        "The families of models that can be trained, with the sizes that are published, and how\n"
        "much of each fits this machine. Any model whose config.json names one of them will do.\n"
        "--markdown prints the table of docs/models.md.");
    return 0;
  }
  for (const std::string& arg : args) {
    if (arg != "--markdown") {
      throw Error("C001", fmt::format("sft models has no option {}", arg)).hint("sft models");
    }
  }
  terminal.write(args.empty() ? table() : markdown());
  return 0;
}

}  // namespace sft
