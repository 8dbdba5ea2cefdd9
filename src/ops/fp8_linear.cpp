#include "ops/fp8_linear.h"

#include <algorithm>

#include "ops/kernels.h"
#include "ops/linear.h"
#include "ops/row_range.h"

namespace sft {

namespace {

// Calls f(part, first row) for the parts of a weight, which are an instruction's inputs from `at`.
template <class F>
void each_part(const Run& r, int at, int parts, const F& f) {
  int64_t first = 0;
  for (int i = at; i < at + parts; ++i) {
    f(r.in(i), first);
    first += r.in(i).shape[0];
  }
}

struct Codes {
  Value codes, scales;
};

Codes emit_rows(Program& p, Value x, Value columns, const char* name) {
  const Codes out{p.make("fp8.codes", p.shape(x), DType::u8),
                  p.make("fp8.scales", {p.shape(x)[0]})};
  p.emit(name, {x, columns}, {out.codes, out.scales}, [](const Run& r) {
    kernels(r).fp8_rows(r.device(), r.in(0), r.in(1), r.out(0), r.out(1));
  });
  return out;
}

Value emit_rounded(Program& p, Value x, Value columns) {
  const Value y = p.like(x, "fp8.rounded");
  p.emit("fp8_rounded", {x, columns}, {y},
         [](const Run& r) { kernels(r).fp8_rounded(r.device(), r.in(0), r.in(1), r.out(0)); });
  return y;
}

Value emit_columns(Program& b, Value weight) {
  const Value columns = b.make("fp8.columns", {b.shape(weight)[0]});
  const std::vector<Value> parts = b.parts(weight);
  b.emit("fp8_columns", parts, {columns}, [count = static_cast<int>(parts.size())](const Run& r) {
    each_part(r, 0, count, [&](const Tensor& part, int64_t first) {
      kernels(r).fp8_columns(r.device(), part, first, r.out(0));
    });
  });
  return columns;
}

}  // namespace

bool is_fp8(const Program& p, Value weight) {
  return std::ranges::all_of(p.parts(weight),
                             [&](Value part) { return p.info(part).dtype == DType::f8_rows; });
}

bool multiplies_codes(const Program& p, Value weight) {
  constexpr int64_t kWhole = 16;
  return p.target().device == DeviceKind::cuda &&
         std::ranges::all_of(p.parts(weight), [&](Value part) {
           const Shape& shape = p.shape(part);
           return shape[0] % kWhole == 0 && shape[1] % kWhole == 0;
         });
}

void emit_fp8_product(Program& p, Value x, Value weight, Value bias, Output y) {
  if (!multiplies_codes(p, weight)) {
    const Value rounded = emit_rounded(p, x, {});
    p.emit("linear", {rounded, usable_weight(p, weight), bias}, {y}, [](const Run& r) {
      kernels(r).linear_forward(r.device(), r.in(0), r.in(1), r.in(2), 1.0F, r.out(0),
                                r.accumulate(0));
    });
    return;
  }
  const Codes rows = emit_rows(p, x, {}, "fp8_rows");
  std::vector<Value> operands{rows.codes, rows.scales, bias};
  const std::vector<Value> parts = p.parts(weight);
  operands.insert(operands.end(), parts.begin(), parts.end());
  p.emit("fp8_linear", operands, {y}, [count = static_cast<int>(parts.size())](const Run& r) {
    each_part(r, 3, count, [&](const Tensor& part, int64_t first) {
      const Tensor& all = r.in(2);
      const Tensor shift = all.data == nullptr ? Tensor{} : row_range(all, first, part.shape[0]);
      kernels(r).fp8_product(r.device(), r.in(0), r.in(1), part, {}, shift, first, true, r.out(0),
                             r.accumulate(0));
    });
  });
}

void emit_fp8_backward(Program& b, Value grad_y, Value weight, Output grad_x) {
  if (!grad_x.value) {
    return;
  }
  const Value columns = emit_columns(b, weight);
  if (!multiplies_codes(b, weight)) {
    const Value rounded = emit_rounded(b, grad_y, columns);
    b.emit("linear.backward.input", {rounded, usable_weight(b, weight)}, {grad_x},
           [](const Run& r) {
             kernels(r).linear_backward_input(r.device(), r.in(0), r.in(1), 1.0F, r.out(0),
                                              r.accumulate(0));
           });
    return;
  }
  const int64_t in = b.shape(weight)[1];
  const Codes transposed{b.make("fp8.transposed", {in, b.shape(weight)[0]}, DType::u8),
                         b.make("fp8.ones", {in})};
  const std::vector<Value> parts = b.parts(weight);
  b.emit("fp8_transposed", parts, {transposed.codes, transposed.scales},
         [count = static_cast<int>(parts.size())](const Run& r) {
           each_part(r, 0, count, [&](const Tensor& part, int64_t first) {
             kernels(r).fp8_transposed(r.device(), part, first, r.out(0), r.out(1));
           });
         });
  const Codes rows = emit_rows(b, grad_y, columns, "fp8_rows.backward");
  b.emit("fp8_linear.backward.input",
         {rows.codes, rows.scales, transposed.codes, transposed.scales}, {grad_x},
         [](const Run& r) {
           kernels(r).fp8_product(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), {}, 0, false,
                                  r.out(0), r.accumulate(0));
         });
}

}  // namespace sft
