#include "state/low_rank.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"

namespace sft {

namespace {

using Vector = std::vector<double>;
using Vectors = std::vector<Vector>;

double dot(const Vector& x, const Vector& y) {
  return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
}

void add(Vector& y, double factor, const Vector& x) {
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] += factor * x[i];
  }
}

void scale(Vector& x, double factor) {
  for (double& v : x) {
    v *= factor;
  }
}

// Takes out of x what lies along `others`, twice, and returns its length, to which it is scaled.
double orthonormalize(Vector& x, const Vectors& others) {
  const double before = std::sqrt(dot(x, x));
  for (int pass = 0; pass < 2; ++pass) {
    for (const Vector& o : others) {
      add(x, -dot(x, o), o);
    }
  }
  const double length = std::sqrt(dot(x, x));
  if (!(length > before * 1e-12)) {
    std::ranges::fill(x, 0.0);
    return 0;
  }
  scale(x, 1 / length);
  return length;
}

// W x
Vector times(const WeightView& w, const Vector& x, ThreadPool& pool) {
  Vector y(static_cast<size_t>(w.out));
  pool.parallel_for(w.out, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      double sum = 0;
      const float* const row = w.values.data() + o * w.in;
      for (int64_t i = 0; i < w.in; ++i) {
        sum += static_cast<double>(row[i]) * x[static_cast<size_t>(i)];
      }
      y[static_cast<size_t>(o)] = sum;
    }
  });
  return y;
}

// W^T y
Vector times_transposed(const WeightView& w, const Vector& y, ThreadPool& pool) {
  Vector x(static_cast<size_t>(w.in));
  pool.parallel_for(
      w.in,
      [&](int64_t begin, int64_t end) {
        for (int64_t o = 0; o < w.out; ++o) {
          const double factor = y[static_cast<size_t>(o)];
          const float* const row = w.values.data() + o * w.in;
          for (int64_t i = begin; i < end; ++i) {
            x[static_cast<size_t>(i)] += factor * static_cast<double>(row[i]);
          }
        }
      },
      64);
  return x;
}

// Singular values and vectors of a matrix of few columns: columns = U S V^T, largest first. One-
// sided Jacobi: pairs of columns are turned until all are orthogonal.
struct Svd {
  Vectors u, v;
  Vector s;
};

Svd jacobi(Vectors columns) {
  const size_t n = columns.size();
  Vectors v(n, Vector(n));
  for (size_t i = 0; i < n; ++i) {
    v[i][i] = 1;
  }
  const auto turn = [](Vector& x, Vector& y, double c, double s) {
    for (size_t i = 0; i < x.size(); ++i) {
      const double a = x[i], b = y[i];
      x[i] = c * a - s * b;
      y[i] = s * a + c * b;
    }
  };
  constexpr int kMostSweeps = 60;  // ten do; numbers that are not finite never come to an end
  bool turned = true;
  for (int sweep = 0; turned && sweep < kMostSweeps; ++sweep) {
    turned = false;
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = i + 1; j < n; ++j) {
        const double a = dot(columns[i], columns[i]), b = dot(columns[j], columns[j]);
        const double mixed = dot(columns[i], columns[j]);
        if (std::abs(mixed) <= 1e-15 * std::sqrt(a * b)) {
          continue;
        }
        turned = true;
        const double zeta = (b - a) / (2 * mixed);
        const double t = std::copysign(1.0, zeta) / (std::abs(zeta) + std::hypot(1.0, zeta));
        const double c = 1 / std::hypot(1.0, t);
        turn(columns[i], columns[j], c, c * t);
        turn(v[i], v[j], c, c * t);
      }
    }
  }
  Vector lengths(n);
  for (size_t i = 0; i < n; ++i) {
    lengths[i] = std::sqrt(dot(columns[i], columns[i]));
  }
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater<>{}, [&](size_t i) { return lengths[i]; });
  Svd svd;
  for (const size_t i : order) {
    svd.s.push_back(lengths[i]);
    if (lengths[i] > 0) {
      scale(columns[i], 1 / lengths[i]);
    }
    svd.u.push_back(std::move(columns[i]));
    svd.v.push_back(std::move(v[i]));
  }
  return svd;
}

// The sum of weights[k] vectors[k].
Vector mixed(const Vectors& vectors, const Vector& weights) {
  Vector out(vectors[0].size());
  for (size_t k = 0; k < weights.size(); ++k) {
    add(out, weights[k], vectors[k]);
  }
  return out;
}

// sqrt(s / scale) of left and right vectors, as B and A.
LowRank balanced(const Vectors& left, const Vectors& right, const Vector& s, int64_t rank,
                 float scaling) {
  const auto r = static_cast<size_t>(rank);
  const size_t out = left[0].size(), in = right[0].size();
  LowRank low{std::vector<float>(r * in), std::vector<float>(out * r)};
  for (size_t k = 0; k < r; ++k) {
    const double root = std::sqrt(s[k] / static_cast<double>(scaling));
    for (size_t i = 0; i < in; ++i) {
      low.a[k * in + i] = static_cast<float>(root * right[k][i]);
    }
    for (size_t o = 0; o < out; ++o) {
      low.b[o * r + k] = static_cast<float>(root * left[k][o]);
    }
  }
  return low;
}

// A direction that none of `others` has.
Vector fresh_direction(size_t size, const Vectors& others, uint64_t seed) {
  Vector x(size);
  for (size_t i = 0; i < size; ++i) {
    x[i] = static_cast<double>(normal(seed, 0, i));
  }
  orthonormalize(x, others);
  return x;
}

}  // namespace

LowRank pissa(const WeightView& w, int64_t rank, float scaling, ThreadPool& pool) {
  const auto most = static_cast<size_t>(std::min(w.out, w.in));
  const auto r = static_cast<size_t>(rank);
  SFT_ASSERT(r <= most);
  // Of a wide matrix its transpose: all of the smaller side's directions are then a whole space.
  const bool wide = w.out < w.in;
  const auto forward = [&](const Vector& x) {
    return wide ? times_transposed(w, x, pool) : times(w, x, pool);
  };
  const auto back = [&](const Vector& x) {
    return wide ? times(w, x, pool) : times_transposed(w, x, pool);
  };
  // W right[k] = diagonal[k] left[k] + above[k - 1] left[k - 1]
  Vectors left, right;
  Vector diagonal, above;
  Vector next = fresh_direction(most, right, 1);
  Svd small;
  const auto decompose = [&] {
    const size_t k = left.size();
    Vectors columns(k, Vector(k));
    for (size_t i = 0; i < k; ++i) {
      columns[i][i] = diagonal[i];
      if (i > 0) {
        columns[i][i - 1] = above[i - 1];
      }
    }
    small = jacobi(std::move(columns));
  };
  while (left.size() < most) {
    Vector u = forward(next);
    right.push_back(std::move(next));
    if (!left.empty()) {
      add(u, -above.back(), left.back());
    }
    double length = orthonormalize(u, left);
    if (length == 0) {
      u = fresh_direction(u.size(), left, left.size() + 2);
    }
    diagonal.push_back(length);
    next = back(u);
    left.push_back(std::move(u));
    add(next, -length, right.back());
    length = orthonormalize(next, right);
    if (length == 0 && right.size() < most) {
      next = fresh_direction(next.size(), right, right.size() + 2);
    }
    above.push_back(length);
    const size_t k = left.size();
    if (k == most || (k >= 2 * r && k % 16 == 0)) {
      decompose();
      // What a vector of this space leaves over of W^T u: beta times its last part.
      double most_left = 0;
      for (size_t i = 0; i < r; ++i) {
        most_left = std::max(most_left, above.back() * std::abs(small.u[i].back()));
      }
      if (k == most || most_left <= 1e-9 * small.s[0]) {
        break;
      }
    }
  }
  Vectors us, vs;
  for (size_t i = 0; i < r; ++i) {
    us.push_back(mixed(left, small.u[i]));
    vs.push_back(mixed(right, small.v[i]));
  }
  return wide ? balanced(vs, us, small.s, rank, scaling) : balanced(us, vs, small.s, rank, scaling);
}

LowRank pissa_iterated(const WeightView& w, int64_t rank, float scaling, int iterations,
                       std::span<const float> start, ThreadPool& pool) {
  const bool wide = w.out < w.in;  // then torch takes the transposed matrix
  const auto forward = [&](const Vector& x) {
    return wide ? times_transposed(w, x, pool) : times(w, x, pool);
  };
  const auto back = [&](const Vector& x) {
    return wide ? times(w, x, pool) : times_transposed(w, x, pool);
  };
  const auto r = static_cast<size_t>(rank);
  const auto few = static_cast<size_t>(std::min(w.out, w.in));
  const auto orthogonal = [](Vectors columns) {
    Vectors out;
    for (Vector& c : columns) {
      orthonormalize(c, out);
      out.push_back(std::move(c));
    }
    return out;
  };
  const auto each = [&](const Vectors& columns, const auto& f) {
    Vectors out;
    for (const Vector& c : columns) {
      out.push_back(f(c));
    }
    return orthogonal(std::move(out));
  };
  Vectors columns(r, Vector(few));
  for (size_t i = 0; i < few; ++i) {
    for (size_t k = 0; k < r; ++k) {
      columns[k][i] = static_cast<double>(start[i * r + k]);
    }
  }
  Vectors q = each(columns, forward);
  for (int i = 0; i < iterations; ++i) {
    q = each(each(q, back), forward);
  }
  Vectors projected;  // rows of Q^T A
  for (const Vector& c : q) {
    projected.push_back(back(c));
  }
  const Svd small = jacobi(std::move(projected));  // of its transpose
  Vectors us;
  for (size_t i = 0; i < r; ++i) {
    us.push_back(mixed(q, small.v[i]));
  }
  return wide ? balanced(small.u, us, small.s, rank, scaling)
              : balanced(us, small.u, small.s, rank, scaling);
}

LowRank olora(const WeightView& w, int64_t rank, ThreadPool& pool) {
  const auto r = static_cast<size_t>(rank);
  const auto out = static_cast<size_t>(w.out), in = static_cast<size_t>(w.in);
  SFT_ASSERT(r <= std::min(out, in));
  Vectors columns(r, Vector(out)), reflections;
  for (size_t k = 0; k < r; ++k) {
    for (size_t o = 0; o < out; ++o) {
      columns[k][o] = static_cast<double>(w.values[o * in + k]);
    }
  }
  const auto reflect = [](Vector& x, const Vector& v) { add(x, -2 * dot(v, x), v); };
  for (size_t k = 0; k < r; ++k) {
    for (const Vector& v : reflections) {
      reflect(columns[k], v);
    }
    Vector v = columns[k];
    std::fill_n(v.begin(), k, 0.0);
    const double length = std::sqrt(dot(v, v));
    v[k] += std::copysign(length, v[k]);
    const double size = std::sqrt(dot(v, v));
    if (size > 0) {
      scale(v, 1 / size);
    }
    reflections.push_back(std::move(v));
  }
  LowRank low{std::vector<float>(r * in), std::vector<float>(out * r)};
  for (size_t k = 0; k < r; ++k) {
    Vector q(out);
    q[k] = 1;
    for (size_t i = reflections.size(); i-- > 0;) {
      reflect(q, reflections[i]);
    }
    const Vector row = times_transposed(w, q, pool);
    for (size_t i = 0; i < in; ++i) {
      low.a[k * in + i] = static_cast<float>(i < k ? 0.0 : row[i]);
    }
    for (size_t o = 0; o < out; ++o) {
      low.b[o * r + k] = static_cast<float>(q[o]);
    }
  }
  return low;
}

}  // namespace sft
