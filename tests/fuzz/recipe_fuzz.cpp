// Any text as a recipe in YAML, read into the options of a run.
#include "fuzz/support.h"
#include "options/parser.h"
#include "settings/train_options.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  static TrainOptions options;  // the table, which takes long to make, points into it
  static OptionTable table = [] {
    OptionTable made;
    options.visit(made);
    return made;
  }();
  options = TrainOptions();
  return fuzz::accepts([&] {
    ParsedOptions parsed;
    parse_yaml_options(table, {reinterpret_cast<const char*>(data), size}, "fuzz.yaml", parsed);
    check_built(table, parsed);
  });
}
