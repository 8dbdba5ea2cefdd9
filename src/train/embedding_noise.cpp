#include "train/embedding_noise.h"

#include <cmath>

namespace sft {

std::vector<float> embedding_noise(const MicroBatch& batch, int64_t hidden, double alpha,
                                   TorchGenerator& generator) {
  const auto tokens = static_cast<int64_t>(batch.tokens.size());
  std::vector<float> noise(static_cast<size_t>(tokens * hidden));
  if (batch.laid_length == 0) {
    return noise;  // a batch that trains nothing
  }
  const float size = std::sqrt(static_cast<float>(batch.laid_length * hidden));
  const float most = (1.0F / size) * static_cast<float>(alpha);
  size_t next = 0;
  const auto draw = [&](int64_t count, int64_t laid) {
    for (int64_t i = 0; i < count * hidden; ++i) {
      noise[next++] = generator.uniform(-most, most);
    }
    generator.discard(static_cast<uint64_t>((laid - count) * hidden));
  };
  if (batch.laid_rows == 1) {  // without padding between rows
    draw(tokens, batch.laid_length);
    return noise;
  }
  for (size_t row = 0; row + 1 < batch.cu_seqlens.size(); ++row) {
    draw(batch.cu_seqlens[row + 1] - batch.cu_seqlens[row], batch.laid_length);
  }
  return noise;
}

}  // namespace sft
