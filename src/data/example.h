// One row of a prepared data set, and the data set as the loader sees it.
#pragma once

#include <cstdint>
#include <vector>

namespace sft {

inline constexpr int32_t kIgnored = -100;  // the label of a token that is not trained

struct Example {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> labels;  // as long as input_ids, not shifted; kIgnored where not trained
  std::vector<int32_t>
      documents;  // lengths of the packed documents; empty: the row is one document
};

// Rows that are ready for training. Implementations may hold them or make them when asked.
class PreparedDataset {
 public:
  virtual ~PreparedDataset() = default;
  virtual int64_t size() const = 0;
  // Row i in [0, size()). Thread-safe.
  virtual Example example(int64_t i) const = 0;
  // The number of tokens of row i, without making the row.
  virtual int64_t length(int64_t i) const = 0;
};

}  // namespace sft
