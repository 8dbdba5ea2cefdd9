#include "ops/split_columns.h"

#include <algorithm>

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

std::pair<Value, Value> split_columns(Program& p, Value x, const ColumnSplit& split) {
  const int64_t rows = p.shape(x)[0];
  SFT_ASSERT(split.first.columns() + split.second.columns() == p.shape(x)[1]);
  const Value first = p.make("split_columns", {rows, split.first.columns()}, p.info(x).dtype);
  const Value second = p.make("split_columns", {rows, split.second.columns()}, p.info(x).dtype);
  p.emit("split_columns", {x}, {first, second}, [split](const Run& r) {
    kernels(r).take_columns(r.device(), r.in(0), split.first, r.out(0));
    kernels(r).take_columns(r.device(), r.in(0), split.second, r.out(1));
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (!b.has_grad(first) && !b.has_grad(second)) {
      return;
    }
    const Value grad = b.like(x, "split_columns.grad");
    b.emit("split_columns.backward", {b.grad(first), b.grad(second)}, {grad},
           [split](const Run& r) {
             kernels(r).put_columns(r.device(), r.in(0), split.first, r.out(0));
             kernels(r).put_columns(r.device(), r.in(1), split.second, r.out(0));
           });
    b.share_grad(x, grad);
  });
  return {first, second};
}

namespace {

ColumnRuns one_run(int64_t from, int64_t columns) {
  return {{{{from, columns, 1, columns}, {}, {}}}};
}

}  // namespace

std::vector<Value> split_evenly(Program& p, Value x, int count) {
  const int64_t rows = p.shape(x)[0];
  const int64_t columns = p.shape(x)[1] / count;
  SFT_ASSERT(columns * count == p.shape(x)[1]);
  std::vector<Value> parts;
  for (int i = 0; i < count; ++i) {
    parts.push_back(p.make("split_columns", {rows, columns}, p.info(x).dtype));
  }
  p.emit("split_columns", {x}, {parts.begin(), parts.end()}, [=](const Run& r) {
    for (int i = 0; i < count; ++i) {
      kernels(r).take_columns(r.device(), r.in(0), one_run(i * columns, columns), r.out(i));
    }
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    if (std::ranges::none_of(parts, [&](Value part) { return b.has_grad(part); })) {
      return;
    }
    std::vector<Value> grads;
    for (const Value part : parts) {
      grads.push_back(b.grad(part));
    }
    const Value grad = b.like(x, "split_columns.grad");
    b.emit("split_columns.backward", grads, {grad}, [=](const Run& r) {
      for (int i = 0; i < count; ++i) {
        kernels(r).put_columns(r.device(), r.in(i), one_run(i * columns, columns), r.out(0));
      }
    });
    b.share_grad(x, grad);
  });
  return parts;
}

Value join_columns(Program& p, const std::vector<Value>& parts) {
  std::vector<ColumnRuns> runs;
  int64_t columns = 0;
  for (const Value part : parts) {
    SFT_ASSERT(p.shape(part)[0] == p.shape(parts[0])[0]);
    runs.push_back(one_run(columns, p.shape(part)[1]));
    columns += p.shape(part)[1];
  }
  const Value y = p.make("join_columns", {p.shape(parts[0])[0], columns}, p.info(parts[0]).dtype);
  p.emit("join_columns", parts, {y}, [runs](const Run& r) {
    for (size_t i = 0; i < runs.size(); ++i) {
      kernels(r).put_columns(r.device(), r.in(static_cast<int>(i)), runs[i], r.out(0));
    }
  });
  p.recompute_from(Recompute::norms);
  p.on_backward([=](Program& b) {
    for (size_t i = 0; i < parts.size() && b.has_grad(y); ++i) {
      if (b.needs_grad(parts[i])) {
        const Value grad = b.like(parts[i], "join_columns.grad");
        b.emit("join_columns.backward", {b.grad(y)}, {grad}, [run = runs[i]](const Run& r) {
          kernels(r).take_columns(r.device(), r.in(0), run, r.out(0));
        });
        b.share_grad(parts[i], grad);
      }
    }
  });
  return y;
}

}  // namespace sft
