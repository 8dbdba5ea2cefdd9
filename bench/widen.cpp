// Times decoding of packed weights into bfloat16 and float16, as training decodes them for a
// product.
//   widen_bench
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"
#include "ops/kernels.h"

using namespace sft;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void time(Device& device, DType type, DType to, const Shape& shape) {
  constexpr int kRuns = 7;
  std::vector<std::byte> codes(bytes_of(type, shape));
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = i < 1'000'003 ? static_cast<std::byte>(philox(1, i, 0)[0]) : codes[i - 1'000'003];
  }
  const Buffer packed = device.allocate(codes.size());
  device.upload(packed.data(), codes.data(), codes.size());
  const Buffer wide = device.allocate(bytes_of(to, shape));
  const Tensor x{packed.data(), shape, type};
  Tensor y{wide.data(), shape, to};
  std::vector<double> seconds;
  for (int run = 0; run < kRuns; ++run) {
    device.synchronize();
    const double start = now();
    for (int i = 0; i < 4; ++i) {
      kernels(device).widen(device, x, y);
    }
    device.synchronize();
    seconds.push_back((now() - start) / 4);
  }
  std::ranges::sort(seconds);
  const double median = seconds[kRuns / 2];
  fmt::print("{:14} {:24} {:9.1f} us {:6.2f} TB/s\n", name_of(type), shape.text(), median * 1e6,
             static_cast<double>(packed.size() + wide.size()) / median / 1e12);
}

}  // namespace

int main() {
  const auto device = Device::cuda(0, 2);
  for (const DType to : {DType::bf16, DType::f16}) {
    fmt::print("into {}\n", name_of(to));
    time(*device, DType::mxfp4, to, {32, 2880, 5760});
    time(*device, DType::mxfp4, to, {32, 2880, 2880});
    for (const DType type : {DType::nf4, DType::nf4_nested, DType::i8_rows, DType::q4_k}) {
      time(*device, type, to, {18944, 3584});
    }
  }
}
