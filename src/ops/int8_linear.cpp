#include "ops/int8_linear.h"

#include <algorithm>

#include "ops/kernels.h"

namespace sft {

bool is_int8(const Program& p, Value weight) {
  return std::ranges::any_of(p.parts(weight),
                             [&](Value part) { return p.info(part).dtype == DType::i8_rows; });
}

void emit_int8_linear(Program& p, Value x, const Linear& layer, Value y) {
  const int64_t tokens = p.shape(x)[0], in = p.shape(x)[1];
  const Value codes = p.make("int8_linear.codes", {tokens, in}, DType::u8);
  const Value scales = p.make("int8_linear.scales", {tokens});
  const Value outliers = p.make("int8_linear.outliers", {in}, DType::i32);
  p.emit("int8_rows", {x}, {codes, scales, outliers},
         [threshold = layer.int8_threshold](const Run& r) {
           kernels(r).int8_rows(r.device(), r.in(0), threshold, r.out(0), r.out(1), r.out(2));
         });
  std::vector<Value> operands{x, codes, scales, outliers, layer.bias};
  const std::vector<Value> parts = p.parts(layer.weight);
  operands.insert(operands.end(), parts.begin(), parts.end());
  p.emit("int8_linear", operands, {y}, [count = static_cast<int>(parts.size())](const Run& r) {
    int64_t first = 0;
    for (int i = 0; i < count; ++i) {
      const Tensor& weight = r.in(5 + i);
      kernels(r).int8_linear(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), weight, r.in(4), first,
                             r.out(0));
      first += weight.shape[0];
    }
  });
}

}  // namespace sft
