// Times the gated delta rule, forward and backward, at the shape of a model's layer.
//   delta_bench [TOKENS DOCUMENTS KEY_HEADS VALUE_HEADS [CALLS]]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "core/rng.h"
#include "formats/convert.h"
#include "ops/gated_delta.h"
#include "ops/kernels.h"

using namespace sft;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Bench {
 public:
  Bench() : device_(Device::cuda(0, 2)) {}

  void run(int64_t tokens, int documents, const DeltaHeads& h, int calls) {
    const Tensor qkv = random({tokens, h.row()}, DType::bf16, 1.0F);
    const Tensor rates = random({tokens, 2 * h.value_heads}, DType::bf16, 1.0F);
    const Tensor a_log = random({h.value_heads}, DType::f32, 0.3F);
    const Tensor dt_bias = random({h.value_heads}, DType::bf16, 0.5F);
    const Tensor grad_y = random({tokens, h.values()}, DType::bf16, 1.0F);
    Tensor table = tensor({1, documents + 1}, DType::i32);
    std::vector<int32_t> starts;
    for (int d = 0; d <= documents; ++d) {
      starts.push_back(static_cast<int32_t>(tokens * d / documents));
    }
    device_->upload(table.data, starts.data(), table.bytes());
    Tensor y = tensor(grad_y.shape, DType::bf16);
    Tensor grad_qkv = tensor(qkv.shape, DType::bf16);
    Tensor grad_rates = tensor(rates.shape, DType::bf16);
    Tensor of_a_log = tensor(a_log.shape, DType::f32);
    Tensor of_dt_bias = tensor(a_log.shape, DType::f32);
    const auto workspace = [&](bool backward) {
      return tensor(
          {gated_delta_workspace({DeviceKind::cuda, DType::bf16}, h, tokens, documents, backward) /
           4},
          DType::f32);
    };
    Tensor ahead = workspace(false);
    Tensor back = workspace(true);
    fmt::print("{}: {} tokens, {} documents, {} and {} heads of {} and {}\n", device_->name(),
               tokens, documents, h.key_heads, h.value_heads, h.key_dim, h.value_dim);
    const OpKernels& ops = kernels(*device_);
    time("forward", calls, [&] {
      ops.gated_delta_forward(*device_, qkv, rates, a_log, dt_bias, table, h, y, ahead);
    });
    time("backward", calls, [&] {
      ops.gated_delta_backward(*device_, grad_y, qkv, rates, a_log, dt_bias, table, h, grad_qkv,
                               grad_rates, of_a_log, false, of_dt_bias, false, back);
    });
  }

 private:
  Tensor tensor(const Shape& shape, DType type) {
    Tensor t{nullptr, shape, type};
    held_.push_back(device_->allocate(t.bytes()));
    t.data = held_.back().data();
    return t;
  }
  // Repeats itself, in no period of rows.
  Tensor random(const Shape& shape, DType type, float spread) {
    constexpr size_t kNoise = 1'000'003;
    Tensor t = tensor(shape, type);
    std::vector<float> wide(static_cast<size_t>(shape.elements()));
    for (size_t i = 0; i < wide.size(); ++i) {
      wide[i] = i < kNoise ? spread * normal(1, held_.size(), i) : wide[i - kNoise];
    }
    std::vector<std::byte> narrow(t.bytes());
    convert_from_f32(type, wide.data(), shape.elements(), narrow.data());
    device_->upload(t.data, narrow.data(), narrow.size());
    return t;
  }

  // The median of several runs of some calls.
  void time(const std::string& name, int calls, const std::function<void()>& call) {
    constexpr int kRuns = 5;
    call();
    std::vector<double> seconds;
    for (int run = 0; run < kRuns; ++run) {
      device_->synchronize();
      const double start = now();
      for (int i = 0; i < calls; ++i) {
        call();
      }
      device_->synchronize();
      seconds.push_back((now() - start) / calls);
    }
    std::ranges::sort(seconds);
    fmt::print("{:10} {:8.1f} us\n", name, seconds[kRuns / 2] * 1e6);
  }

  std::unique_ptr<Device> device_;
  std::vector<Buffer> held_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int at, int otherwise) {
    return argc > at ? std::atoi(argv[at]) : otherwise;
  };
  Bench().run(number(1, 8192), number(2, 8), {number(3, 16), number(4, 16), 128, 128},
              number(5, 10));
}
