// What a rule is: the element-wise step of an optimizer, for the CPU and for CUDA kernels alike. A
// rule is a struct in optim/rules/ with
//   kSlots                                its state slots, in the order of `state`
//   kHasBlocks                            whether 8-bit states are built for it
//   uses(settings, slot)                  whether these settings need the slot
//   Scalars, scalars(settings, rate, step)  the numbers of one update, made in double and used in
//                                         float as torch does
//   decay(settings, rate), kNoDecay       what `decay` is for weights that decay, and for others
//   element(scalars, decay, g, w, state)  the update of one element; g is clipped already, an
//                                         unused slot's state is 0
//   kWritesGradient                       what `element` changes is g, not w
// and one line in the list of optim/rules.h.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "optim/settings.h"

#if defined(__CUDACC__)
#define SFT_ELEMENT __host__ __device__ inline
#else
#define SFT_ELEMENT [[gnu::always_inline]] inline
#endif
