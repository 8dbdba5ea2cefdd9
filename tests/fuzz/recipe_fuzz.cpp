// Any text as a recipe in YAML, read into the options of a run.
#include "fuzz/support.h"
#include "options/parser.h"
#include "settings/train_options.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  return fuzz::accepts([&] {
    TrainOptions options;
    OptionTable table;
    options.visit(table);
    ParsedOptions parsed;
    parse_yaml_options(table, {reinterpret_cast<const char*>(data), size}, "fuzz.yaml", parsed);
    check_built(table, parsed);
  });
}
