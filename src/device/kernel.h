// A function that every kind of device has, in a table of its kind: cpu::name is part of the
// program and the specification of the others, gpu::name is part of libsft_cuda.so and does the
// same. It is declared once, beside its op; the lists that make tables are ops/kernels.h and
// optim/kernels.h, and a function that is missing is an error of linking.
#pragma once

#include "device/device.h"

#define SFT_KERNEL(result, name, ...)       \
  namespace cpu {                           \
  result name(Device& device, __VA_ARGS__); \
  }                                         \
  namespace gpu {                           \
  result name(Device& device, __VA_ARGS__); \
  }                                         \
  static_assert(true, "") /* wants a semicolon */

// An entry of a table, and what stands in it.
#define SFT_KERNEL_ENTRY(name) decltype(&cpu::name) name;
#define SFT_CPU_KERNEL(name) .name = cpu::name,
#define SFT_GPU_KERNEL(name) .name = gpu::name,
