#include "ops/causal_conv.h"

// A thread takes kVec channels in a stretch of tokens; what neighbours read again is in the cache.
#include <algorithm>

#include "device/cuda/scratch.h"
#include "ops/cuda/documents.cuh"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr int kThreads = 128;
constexpr int64_t kForwardStretch = 16;
constexpr int64_t kBackwardStretch = 64;  // at least

__device__ inline float sigmoid(float x) { return 1.0F / (1.0F + __expf(-x)); }

// What a thread knows of its channels.
template <class T, int kTaps, ConvForm kForm>
struct Channels {
  const T* x;
  int64_t channels;
  int64_t first;  // of its channels
  bool aligned;
  float weight[kTaps][kVec];
  Vec bias;

  __device__ Channels(const T* x_, const T* w, const T* b, int64_t channels_, int64_t first_)
      : x(x_), channels(channels_), first(first_), aligned(channels_ % kVec == 0), bias{} {
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const bool there = first + i < channels;
#pragma unroll
      for (int j = 0; j < kTaps; ++j) {
        weight[j][i] = there ? widen(w[(first + i) * kTaps + j]) : 0.0F;
      }
      bias.v[i] = there && b != nullptr ? widen(b[first + i]) : 0.0F;
    }
  }
  static constexpr int64_t parts() { return kForm == ConvForm::gated ? 3 : 1; }
  // Part 0, 1 or 2 of token t's row: b, c and x of the gated form.
  __device__ Vec part(int64_t t, int which) const {
    return load_row(x + t * parts() * channels + which * channels, first, channels, aligned);
  }
  // What the sum sees of token t.
  __device__ Vec seen(int64_t t) const {
    Vec u = part(t, 0);
    if constexpr (kForm == ConvForm::gated) {
      const Vec other = part(t, 2);
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        u.v[i] *= other.v[i];
      }
    }
    return u;
  }
  // The sum at token t of a document that starts at `start`; visit(j, u) for each tap that is seen.
  template <class Visit>
  __device__ Vec sum(int64_t t, int64_t start, const Visit& visit) const {
    Vec total = bias;
#pragma unroll
    for (int j = 0; j < kTaps; ++j) {
      const int64_t from = t - kTaps + 1 + j;
      if (from >= start) {
        const Vec u = seen(from);
#pragma unroll
        for (int i = 0; i < kVec; ++i) {
          total.v[i] += weight[j][i] * u.v[i];
        }
        visit(j, u);
      }
    }
    return total;
  }
};

__device__ inline int64_t first_channel() {
  return (int64_t{blockIdx.y} * kThreads + threadIdx.x) * kVec;
}

template <class T, int kTaps, ConvForm kForm>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const T* x, const T* weight, const T* bias, const int32_t* starts, int documents,
                   int64_t channels, T* y) {
  const int64_t first = first_channel();
  if (first >= channels) {
    return;
  }
  const Channels<T, kTaps, kForm> c(x, weight, bias, channels, first);
  const int64_t begin = blockIdx.x * kForwardStretch;
  const int64_t end = min(begin + kForwardStretch, int64_t{starts[documents]});
  int document = document_of(starts, documents, begin);
  for (int64_t t = begin; t < end; ++t) {
    while (t >= starts[document + 1]) {
      ++document;
    }
    Vec out = c.sum(t, starts[document], [](int, const Vec&) {});
    const Vec gate = kForm == ConvForm::gated ? c.part(t, 1) : Vec{};
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      out.v[i] *= kForm == ConvForm::gated ? gate.v[i] : sigmoid(out.v[i]);
    }
    store_row(y + t * channels, first, channels, c.aligned, out);
  }
}

// Each stretch leaves its sums of the gradients in `of_weight` (stretches, channels, taps) and
// `of_bias` (stretches, channels).
template <class T, int kTaps, ConvForm kForm>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const T* grad_y, const T* x, const T* weight, const T* bias,
                    const int32_t* starts, int documents, int64_t channels, int64_t stretch,
                    T* grad_x, float* of_weight, float* of_bias) {
  const int64_t first = first_channel();
  if (first >= channels) {
    return;
  }
  const Channels<T, kTaps, kForm> c(x, weight, bias, channels, first);
  const int64_t begin = blockIdx.x * stretch;
  const int64_t all = starts[documents];
  const int64_t end = min(begin + stretch, all);
  float sums[kTaps][kVec] = {};
  Vec bias_sum{};
  // The gradient of the sum at token t; that of the gate c is written in passing.
  int document = document_of(starts, documents, begin);
  const auto grad_at = [&](int64_t t) {
    while (t >= starts[document + 1]) {
      ++document;
    }
    const bool own = t < end;
    const Vec total = c.sum(t, starts[document], [](int, const Vec&) {});
    Vec g = load_row(grad_y + t * channels, first, channels, c.aligned);
    if constexpr (kForm == ConvForm::gated) {
      const Vec gate = c.part(t, 1);
      Vec of_gate;
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        of_gate.v[i] = g.v[i] * total.v[i];
        g.v[i] *= gate.v[i];
      }
      if (own) {
        store_row(grad_x + t * 3 * channels + channels, first, channels, c.aligned, of_gate);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        const float s = sigmoid(total.v[i]);
        g.v[i] *= s * (1.0F + total.v[i] * (1.0F - s));
      }
    }
    if (own) {
#pragma unroll
      for (int j = 0; j < kTaps; ++j) {
        const int64_t from = t - kTaps + 1 + j;
        if (from >= starts[document]) {
          const Vec u = c.seen(from);
#pragma unroll
          for (int i = 0; i < kVec; ++i) {
            sums[j][i] += g.v[i] * u.v[i];
          }
        }
      }
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        bias_sum.v[i] += g.v[i];
      }
    }
    return g;
  };
  // window[k]: the gradient of the sum at token s + k
  Vec window[kTaps];
#pragma unroll
  for (int k = 0; k < kTaps; ++k) {
    window[k] = begin + k < all && begin < end ? grad_at(begin + k) : Vec{};
  }
  int own_document = document_of(starts, documents, begin);
  for (int64_t s = begin; s < end; ++s) {
    while (s >= starts[own_document + 1]) {
      ++own_document;
    }
    Vec grad_u{};
#pragma unroll
    for (int k = 0; k < kTaps; ++k) {
      if (s + k < starts[own_document + 1]) {
#pragma unroll
        for (int i = 0; i < kVec; ++i) {
          grad_u.v[i] += c.weight[kTaps - 1 - k][i] * window[k].v[i];
        }
      }
    }
    T* const to = grad_x + s * c.parts() * channels;
    if constexpr (kForm == ConvForm::gated) {
      Vec of_b = c.part(s, 2);
      Vec of_x = c.part(s, 0);
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        of_b.v[i] *= grad_u.v[i];
        of_x.v[i] *= grad_u.v[i];
      }
      store_row(to, first, channels, c.aligned, of_b);
      store_row(to + 2 * channels, first, channels, c.aligned, of_x);
    } else {
      store_row(to, first, channels, c.aligned, grad_u);
    }
#pragma unroll
    for (int k = 0; k + 1 < kTaps; ++k) {
      window[k] = window[k + 1];
    }
    window[kTaps - 1] = s + kTaps < all && s + 1 < end ? grad_at(s + kTaps) : Vec{};
  }
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    if (first + i < channels) {
#pragma unroll
      for (int j = 0; j < kTaps && of_weight != nullptr; ++j) {
        of_weight[(int64_t{blockIdx.x} * channels + first + i) * kTaps + j] = sums[j][i];
      }
      if (of_bias != nullptr) {
        of_bias[int64_t{blockIdx.x} * channels + first + i] = bias_sum.v[i];
      }
    }
  }
}

// A thread for each channel of a text, token by token.
template <class T, int kTaps, ConvForm kForm>
__global__ void __launch_bounds__(kThreads)
    cached_kernel(const T* x, const T* weight, const T* bias, const int32_t* past,
                  const int32_t* lanes, int64_t channels, int64_t fresh, T* state, T* y) {
  const int64_t channel = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  const int64_t text = blockIdx.x;
  if (channel >= channels) {
    return;
  }
  constexpr int64_t kParts = kForm == ConvForm::gated ? 3 : 1;
  T* const held = state + lanes[text] * (kTaps - 1) * channels + channel;
  float u[kTaps] = {};  // what the sum sees, the newest last
  float w[kTaps];
#pragma unroll
  for (int j = 0; j < kTaps; ++j) {
    w[j] = widen(weight[channel * kTaps + j]);
    if (j + 1 < kTaps && past[2 * text + 1] > 0) {
      u[j + 1] = widen(held[j * channels]);
    }
  }
  const float b = bias != nullptr ? widen(bias[channel]) : 0.0F;
  for (int64_t t = text * fresh; t < (text + 1) * fresh; ++t) {
    const T* const row = x + t * kParts * channels + channel;
#pragma unroll
    for (int j = 0; j + 1 < kTaps; ++j) {
      u[j] = u[j + 1];
    }
    u[kTaps - 1] = widen(row[0]);
    if constexpr (kForm == ConvForm::gated) {
      u[kTaps - 1] = widen(narrow<T>(u[kTaps - 1] * widen(row[2 * channels])));
    }
    float sum = b;
#pragma unroll
    for (int j = 0; j < kTaps; ++j) {
      sum += w[j] * u[j];
    }
    y[t * channels + channel] =
        narrow<T>(sum * (kForm == ConvForm::gated ? widen(row[channels]) : sigmoid(sum)));
  }
#pragma unroll
  for (int j = 0; j + 1 < kTaps; ++j) {
    held[j * channels] = narrow<T>(u[j + 1]);
  }
}

// Calls f with the number of taps and the form as types.
template <class F>
void with_taps(int64_t taps, ConvForm form, const F& f) {
  const auto of = [&](auto count) {
    if (form == ConvForm::gated) {
      f(count, std::integral_constant<ConvForm, ConvForm::gated>{});
    } else {
      f(count, std::integral_constant<ConvForm, ConvForm::silu>{});
    }
  };
  switch (taps) {
    case 2:
      return of(std::integral_constant<int, 2>{});
    case 3:
      return of(std::integral_constant<int, 3>{});
    case 4:
      return of(std::integral_constant<int, 4>{});
    default:
      assertion_failed("a number of taps that kernels are made for", __FILE__, __LINE__);
  }
}

unsigned groups(int64_t channels) {
  return static_cast<unsigned>((channels + kThreads * kVec - 1) / (kThreads * kVec));
}

template <class T>
void zero_after(CudaDevice& gpu, const Tensor& table, Tensor& y) {
  zero_after_kernel<<<static_cast<unsigned>(y.shape[0]), kThreads, 0, gpu.stream()>>>(
      table.i32(), static_cast<int>(table.shape[1]) - 1, y.shape[1], y.as<T>());
}

}  // namespace

void causal_conv_forward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias,
                         const Tensor& table, ConvForm form, Tensor& y) {
  CudaDevice& gpu = cuda(device);
  const int64_t channels = weight.shape[0];
  const dim3 grid(static_cast<unsigned>((x.shape[0] + kForwardStretch - 1) / kForwardStretch),
                  groups(channels));
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    zero_after<T>(gpu, table, y);
    with_taps(weight.shape[2], form, [&](auto taps, auto of) {
      forward_kernel<T, decltype(taps)::value, decltype(of)::value>
          <<<grid, kThreads, 0, gpu.stream()>>>(x.as<T>(), weight.as<T>(), bias.as<T>(),
                                                table.i32(), static_cast<int>(table.shape[1]) - 1,
                                                channels, y.as<T>());
    });
  });
  check_cuda(cudaGetLastError(), "causal_conv");
}

void causal_conv_backward(Device& device, const Tensor& grad_y, const Tensor& x,
                          const Tensor& weight, const Tensor& bias, const Tensor& table,
                          ConvForm form, Tensor& grad_x, Tensor& grad_weight,
                          bool accumulate_weight, Tensor& grad_bias, bool accumulate_bias) {
  CudaDevice& gpu = cuda(device);
  const int64_t channels = weight.shape[0];
  const int64_t width = channels * (weight.shape[2] + 1);
  const int64_t most = static_cast<int64_t>(Scratch::kBytes / sizeof(float)) / width;
  const int64_t stretch = std::max(kBackwardStretch, (x.shape[0] + most - 1) / most);
  const int64_t stretches = (x.shape[0] + stretch - 1) / stretch;
  float* const sums = gpu.state<Scratch>().take<float>(stretches * width);
  float* const of_weight = grad_weight.data != nullptr ? sums : nullptr;
  float* const of_bias =
      grad_bias.data != nullptr ? sums + stretches * channels * weight.shape[2] : nullptr;
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    zero_after<T>(gpu, table, grad_x);
    with_taps(weight.shape[2], form, [&](auto taps, auto of) {
      backward_kernel<T, decltype(taps)::value, decltype(of)::value>
          <<<dim3(static_cast<unsigned>(stretches), groups(channels)), kThreads, 0, gpu.stream()>>>(
              grad_y.as<T>(), x.as<T>(), weight.as<T>(), bias.as<T>(), table.i32(),
              static_cast<int>(table.shape[1]) - 1, channels, stretch, grad_x.as<T>(), of_weight,
              of_bias);
    });
  });
  if (of_weight != nullptr) {
    column_sums(gpu, of_weight, stretches, channels * weight.shape[2], grad_weight.f32(),
                accumulate_weight);
  }
  if (of_bias != nullptr) {
    column_sums(gpu, of_bias, stretches, channels, grad_bias.f32(), accumulate_bias);
  }
  check_cuda(cudaGetLastError(), "causal_conv.backward");
}

void cached_conv_forward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias,
                         const Tensor& past, const Tensor& lanes, ConvForm form, Tensor& state,
                         Tensor& y) {
  const int64_t channels = weight.shape[0];
  const int64_t texts = lanes.shape[0];
  const dim3 grid(static_cast<unsigned>(texts),
                  static_cast<unsigned>((channels + kThreads - 1) / kThreads));
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    with_taps(weight.shape[2], form, [&](auto taps, auto of) {
      cached_kernel<T, decltype(taps)::value, decltype(of)::value>
          <<<grid, kThreads, 0, cuda(device).stream()>>>(
              x.as<T>(), weight.as<T>(), bias.as<T>(), past.i32(), lanes.i32(), channels,
              x.shape[0] / texts, state.as<T>(), y.as<T>());
    });
  });
  check_cuda(cudaGetLastError(), "cached_conv");
}

}  // namespace sft::gpu
