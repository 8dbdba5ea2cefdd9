// Checks one op at a time: against a naive reference in double, its gradients against central
// differences of that reference, and everything that must not change a result. Used by tests/ops.
#pragma once

#include <functional>
#include <vector>

#include "graph/program.h"

namespace sft::testing {

using Numbers = std::vector<double>;

// A tensor that is fed to the op. Activations and parameters get gradients.
struct Operand {
  enum class Kind { activation, parameter, frozen, index };
  Kind kind = Kind::activation;
  Shape shape;
  Numbers values;  // exactly representable in dtype
  DType dtype = DType::f32;
  bool sized_by_host = false;  // see Program::input
  bool wide = false;           // float32 whatever the program computes in: a norm's weight
  std::vector<std::byte>
      packed{};  // of a packed dtype: the memory; `values` are what it decodes to
  bool differentiable() const { return kind == Kind::activation || kind == Kind::parameter; }
};

// Normal random numbers times `spread`, different for each seed.
Operand activation(Shape shape, uint64_t seed, double spread = 1.0);
Operand parameter(Shape shape, uint64_t seed, double spread = 1.0);
Operand norm_weight(Shape shape, uint64_t seed, double spread = 1.0);
Operand frozen(Shape shape, DType dtype, uint64_t seed, double spread = 1.0);  // packed ones too
Operand indices(const std::vector<int>& values);

struct OpCase {
  std::vector<Operand> operands;
  // Records the op and returns its outputs (the loss op: its statistics).
  std::function<std::vector<Value>(Program&, const std::vector<Value>&)> build;
  // The outputs as the formula has them.
  std::function<std::vector<Numbers>(const std::vector<Numbers>&)> reference;
  // The scalar whose gradient is taken. When empty, a random projection of the outputs, from which
  // gradients start; when set, the op starts them itself.
  std::function<double(const std::vector<Numbers>&)> loss;
  bool even_gradients = false;  // a projection of equal weights instead: sums of gradients grow
  double tolerance = 3e-6;      // of outputs, relative to the largest
  double gradient_tolerance = 1e-5;  // likewise
  double bf16_tolerance = 3e-2;      // of both, when a GPU computes in bfloat16
  int checked = 150;                 // elements of each operand whose gradient is checked
};

struct OpRun {
  int threads = 1;
  bool first_micro_batch = true;
  bool training = true;
  Recompute recompute = Recompute::none;
  int64_t mlp_tile = 0;      // see MemoryPolicy
  int freeze = -1;           // an operand that shall get no gradient
  Device* device = nullptr;  // null: a CPU with `threads`
  DType compute = DType::f32;
};

// What each output's gradient is where gradients are even.
constexpr float kEvenGradient = 0.1F;

// What gradient buffers hold before a run.
constexpr float kGradientBefore = 0.5F;

struct OpResult {
  std::vector<std::vector<float>> outputs;
  std::vector<std::vector<float>> gradients;  // by operand; kGradientBefore where not written
};

// Runs the op once, in memory that is full of NaN before.
OpResult run_op(const OpCase& c, const OpRun& options = {});

// Everything that holds for any op: values, gradients, the same bits in a second run and with
// recomputation, nearly the same for other numbers of threads, accumulation, frozen operands.
// With SFT_TEST_CUDA in the environment also that the GPU agrees with the CPU, in float32 and in
// bfloat16, and with itself.
void check_op(const OpCase& c);

// The GPU that tests shall run on, or null.
Device* test_gpu();

// A run on the CPU, and one on the GPU that tests shall run on, if there is one.
std::vector<OpRun> runs_everywhere();

}  // namespace sft::testing
