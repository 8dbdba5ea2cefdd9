// libcuda.so.1 as far as the program looks at it before it loads the CUDA half: one card ($FAKE_CARDS says another number), and a
// driver for the CUDA that $FAKE_CUDA says (12040: 12.4).
#include <stdlib.h>

int cuInit(unsigned flags) { return (int)flags; }
int cuDeviceGetCount(int* count) {
  const char* const cards = getenv("FAKE_CARDS");
  return *count = cards ? atoi(cards) : 1, 0;
}
int cuDriverGetVersion(int* version) { return *version = atoi(getenv("FAKE_CUDA")), 0; }
