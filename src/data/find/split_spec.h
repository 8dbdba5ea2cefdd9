// Splits as the user writes them: "train", "train[:1%]", "train[10:20]+test". Used by resolve.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sft {

struct SplitTerm {
  std::string split;  // "train"
  std::string slice;  // what follows it: "", "[:1%]", "[5%:10%](pct1_dropremainder)"
};

// The terms of a sum. D009 when it is none.
std::vector<SplitTerm> split_terms(const std::string& spec);

// Rows [begin, end) of n that a slice keeps, rounded as in `datasets`; "" keeps all. D009 when it
// is not a slice.
struct RowRange {
  int64_t begin, end;
};
RowRange slice_range(const std::string& slice, int64_t n);

}  // namespace sft
