#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "ops/cpu/gemm.h"
#include "optim/kernels.h"

namespace sft {

namespace {

float rounded(float x) { return to_float(to_bfloat16(x)); }

// --- Muon
// -----------------------------------------------------------------------------------------------

void round_all(ThreadPool& threads, float* x, int64_t n) {
  threads.parallel_for(n, [x](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      x[i] = rounded(x[i]);
    }
  });
}

// c = alpha a op(b) + beta c, rounded to bfloat16, as torch's products of such matrices are.
void product(ThreadPool& threads, const float* a, const float* b, bool transpose_b, float* c,
             int64_t m, int64_t n, int64_t k, float alpha, float beta) {
  cpu::Gemm g;
  g.transpose_b = transpose_b;
  g.m = m, g.n = n, g.k = k;
  g.alpha = alpha, g.beta = beta;
  g.a = a, g.lda = k;
  g.b = b, g.ldb = transpose_b ? k : n;
  g.c = c, g.ldc = n;
  cpu::gemm(threads, g);
  round_all(threads, c, m * n);
}

void muon(Device& device, const WholeTensor& t, const WholeScalars& scalars, float* workspace) {
  ThreadPool& threads = device.threads();
  const bool tall = t.rows > t.columns;
  const int64_t m = std::min(t.rows, t.columns), n = std::max(t.rows, t.columns);
  float* x = workspace;              // (m, n)
  float* next = x + m * n;           // (m, n)
  float* const gram = next + m * n;  // (m, m)
  float* const polynomial = gram + m * m;
  // Index in `values` of element (row, column) of x.
  const auto at = [&](int64_t row, int64_t column) {
    return tall ? column * t.columns + row : row * t.columns + column;
  };
  std::vector<double> squares(static_cast<size_t>(m));
  threads.parallel_for(m, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      double sum = 0.0;
      for (int64_t c = 0; c < n; ++c) {
        const float v = rounded(t.values[at(r, c)]);
        x[r * n + c] = v;
        sum += double{v} * v;
      }
      squares[static_cast<size_t>(r)] = sum;
    }
  });
  double total = 0.0;
  for (const double s : squares) {
    total += s;
  }
  const float norm =
      std::max(rounded(static_cast<float>(std::sqrt(total))), rounded(NewtonSchulz::kLeastNorm));
  threads.parallel_for(m * n, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      x[i] = rounded(x[i] / norm);
    }
  });
  for (int step = 0; step < NewtonSchulz::kSteps; ++step) {
    product(threads, x, x, true, gram, m, m, n, 1.0F, 0.0F);
    std::copy_n(gram, m * m, polynomial);
    product(threads, gram, gram, false, polynomial, m, m, m, NewtonSchulz::kC, NewtonSchulz::kB);
    std::copy_n(x, m * n, next);
    product(threads, polynomial, x, false, next, m, n, m, 1.0F, NewtonSchulz::kA);
    std::swap(x, next);
  }
  threads.parallel_for(m, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t c = 0; c < n; ++c) {
        t.values[at(r, c)] = x[r * n + c] * scalars.scale;
      }
    }
  });
}

// --- Adafactor
// ------------------------------------------------------------------------------------------

float mixed(float old, double mean, const WholeScalars& u) {
  return old * u.beta2 + static_cast<float>(mean) * u.one_minus_beta2;
}

// Divides by the root mean square of all, where that is above the threshold.
void clip_update(ThreadPool& threads, const WholeTensor& t, const std::vector<double>& squares,
                 const WholeScalars& u) {
  double total = 0.0;
  for (const double s : squares) {
    total += s;
  }
  const auto n = static_cast<double>(t.rows * t.columns);
  const float divisor = std::max(1.0F, static_cast<float>(std::sqrt(total / n)) / u.clip_threshold);
  threads.parallel_for(t.rows * t.columns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      t.values[i] /= divisor;
    }
  });
}

void adafactor(Device& device, const WholeTensor& t, const WholeScalars& u) {
  ThreadPool& threads = device.threads();
  const int64_t rows = t.rows, columns = t.columns;
  std::vector<double> squares(static_cast<size_t>(rows));
  if (t.is_vector) {
    float* const average = t.states[2];
    for (int64_t i = 0; i < columns; ++i) {
      const float g = t.values[i] * u.clip;
      average[i] = mixed(average[i], double{g} * g + u.epsilon, u);
      t.values[i] = g / std::sqrt(average[i]);
      squares[0] += double{t.values[i]} * t.values[i];
    }
    clip_update(threads, t, squares, u);
    return;
  }
  float* const row_average = t.states[0];
  float* const column_average = t.states[1];
  threads.parallel_for(rows, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      double sum = 0.0;
      for (int64_t c = 0; c < columns; ++c) {
        const float g = t.values[r * columns + c] * u.clip;
        sum += double{g} * g + u.epsilon;
      }
      row_average[r] = mixed(row_average[r], sum / static_cast<double>(columns), u);
    }
  });
  threads.parallel_for(columns, [&](int64_t begin, int64_t end) {
    std::vector<double> sums(static_cast<size_t>(end - begin));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = begin; c < end; ++c) {
        const float g = t.values[r * columns + c] * u.clip;
        sums[static_cast<size_t>(c - begin)] += double{g} * g + u.epsilon;
      }
    }
    for (int64_t c = begin; c < end; ++c) {
      column_average[c] = mixed(
          column_average[c], sums[static_cast<size_t>(c - begin)] / static_cast<double>(rows), u);
    }
  });
  double mean = 0.0;
  for (int64_t r = 0; r < rows; ++r) {
    mean += row_average[r];
  }
  const auto row_mean = static_cast<float>(mean / static_cast<double>(rows));
  threads.parallel_for(rows, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float row_factor = 1.0F / std::sqrt(row_average[r] / row_mean);
      double sum = 0.0;
      for (int64_t c = 0; c < columns; ++c) {
        float& v = t.values[r * columns + c];
        v = v * u.clip * row_factor / std::sqrt(column_average[c]);
        sum += double{v} * v;
      }
      squares[static_cast<size_t>(r)] = sum;
    }
  });
  clip_update(threads, t, squares, u);
}

}  // namespace

void cpu::whole(Device& device, WholeStep step, const WholeTensor& tensor,
                const WholeScalars& scalars, std::byte* workspace) {
  if (step == WholeStep::muon) {
    muon(device, tensor, scalars, reinterpret_cast<float*>(workspace));
  } else {
    adafactor(device, tensor, scalars);
  }
}

}  // namespace sft
