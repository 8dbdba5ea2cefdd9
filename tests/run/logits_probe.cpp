// The logits behind each token of some texts, as generation computes them, for tests/peers.
// usage: logits_probe MODEL < TEXTS; a text is a line of ids with spaces between. Writes float32,
// a row of the vocabulary for each token.
#include <cstdio>
#include <iostream>
#include <sstream>

#include "io/model_source.h"
#include "run/generator.h"
#include "run/stored_weights.h"
#include "state/config_sizes.h"

int main(int count, char** words) {
  using namespace sft;
  if (count != 2) {
    return 2;
  }
  const auto device = Device::cpu(1);
  const auto source = ModelSource::open(words[1], "", HubEnvironment{});
  Model shape = described_model(*source);
  keep_as_stored(shape, source.get(), device->kind());
  const LoadedModel model =
      load_model(*source, std::move(shape), *device, DType::f32, DType::f32, {});
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream ids(line);
    Generator generator(*device, model, model.model.config.max_positions);
    for (int32_t id = 0; ids >> id;) {
      const auto logits = generator.feed(std::span(&id, 1));
      std::fwrite(logits.data(), sizeof(float), logits.size(), stdout);
    }
  }
  return 0;
}
