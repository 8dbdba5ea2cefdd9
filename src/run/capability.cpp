#include "run/capability.h"

#include <fmt/format.h>

#include "core/error.h"

namespace sft {

namespace {

constexpr int kBfloat16 = 80;      // Ampere: A100, RTX 30
constexpr int kFloat8 = 89;        // Ada: L4, RTX 40
constexpr int kWholeNumbers = 75;  // Turing: T4, RTX 20

// What an option asks for, the least that has it, and what does without.
struct Need {
  bool asked;
  const char* option;
  const char* what;
  int least;
  const char* hint;
};

}  // namespace

DType type_of_capability(int capability) {
  return capability >= kBfloat16 ? DType::bf16 : DType::f16;
}

void check_capability(const TrainOptions& o, int capability, const std::string& name) {
  const bool muon = o.optim.optim == "muon";
  const Need needs[] = {
      {o.model.dtype == "bfloat16", "--dtype bfloat16", "bfloat16", kBfloat16,
       "leave it out: weights are float32, and products float16"},
      {o.wants_bf16().value_or(false), "--bf16", "bfloat16", kBfloat16,
       "--fp16, or --bf16 false for float32"},
      {muon, "--optim muon", "its steps in bfloat16", kBfloat16, "--optim adamw_torch"},
      {o.tf32.value_or(false), "--tf32", "TensorFloat-32", kBfloat16, "leave it out"},
      {o.model.base_dtype == "fp8", "--base_dtype fp8", "products in float8", kFloat8,
       "--load_in_4bit, which any GPU has"},
      {o.model.load_in_8bit, "--load_in_8bit", "products of whole numbers", kWholeNumbers,
       "--load_in_4bit, which any GPU has"},
  };
  for (const Need& need : needs) {
    if (need.asked && capability < need.least) {
      throw Error("C085", fmt::format("{} needs {}, which GPUs have from compute capability {}.{} "
                                      "on, and {} has {}.{}",
                                      need.option, need.what, need.least / 10, need.least % 10,
                                      name, capability / 10, capability % 10))
          .hint(need.hint);
    }
  }
}

}  // namespace sft
