#include "run/save_packed.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "core/error.h"
#include "io/packed_writer.h"
#include "model/experts.h"

namespace sft {

namespace {

struct Form {
  std::string_view name;
  DType type;
};
constexpr std::array kForms{Form{"nf4", DType::nf4}, Form{"nf4_nested", DType::nf4_nested},
                            Form{"fp4", DType::fp4}, Form{"fp4_nested", DType::fp4_nested},
                            Form{"int8", DType::i8_rows}};

// The published weights that bitsandbytes quantises.
std::set<std::string> linear_weights(const Model& model, const BnbConfig& config) {
  std::set<std::string> names;
  for (const ParamSpec& spec : model.family->parameters(model.config)) {
    for (const ParamPiece& piece : spec.pieces) {
      const std::string module = piece.name.substr(0, piece.name.rfind('.'));
      if (spec.kind == ParamKind::matrix && spec.shape.rank() == 2 && !spec.words &&
          is_linear(spec.name, model.config) && config.quantises(module)) {
        names.insert(piece.name);
      }
    }
  }
  return names;
}

std::string words_of(const PackingLoss& loss, const BnbConfig& config) {
  const double size = std::sqrt(loss.weights), rounding = std::sqrt(loss.rounding);
  const double update = std::sqrt(loss.update);
  std::string line = fmt::format("rounding to {} changes the weights by {:.2f} % of their norm",
                                 config.words(), 100 * rounding / size);
  if (update > 0) {
    line += fmt::format(", {:.1f} times what the adapter does ({:.3f} %)", rounding / update,
                        100 * update / size);
  }
  return line;
}

}  // namespace

std::vector<std::string> packed_forms() {
  std::vector<std::string> names{"none"};
  for (const Form& form : kForms) {
    names.emplace_back(form.name);
  }
  return names;
}

void save_packed(const fs::path& folder, const ModelSource& source, const Model& model,
                 std::vector<StreamedTensor> weights, SaveOptions saving, const std::string& form,
                 ThreadPool* pool, const Logger& log) {
  const auto* const found = std::ranges::find(kForms, form, &Form::name);
  if (found == kForms.end()) {
    save_model(folder, source, weights, saving, pool);
    return;
  }
  BnbConfig config;
  config.type = found->type;
  const std::set<std::string> linear = linear_weights(model, config);
  const PackedWeights packed = packed_weights(
      std::move(weights), config, saving.dtype,
      [&](const std::string& name) { return linear.contains(name); }, source, pool);
  saving.quantization = config.to_json(name_of(saving.dtype));
  save_model(folder, source, packed.tensors, saving, pool);
  log.note(words_of(*packed.loss, config));
}

}  // namespace sft
