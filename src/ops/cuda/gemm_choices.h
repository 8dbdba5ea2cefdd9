// Which algorithm was fastest for a matrix product, kept on disk from run to run: the next run
// starts faster and computes the same bits. Used by gemm.cpp; belongs to one device.
#pragma once

#include <cublasLt.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace sft {

// What a choice was made for: layouts, sizes, leading dimensions, types, bias, accumulation,
// TensorFloat-32.
using GemmKey = std::array<int64_t, 13>;

class GemmChoices {
 public:
  // Reads what earlier runs found with this version of cuBLASLt on a device of this name; an empty
  // `folder` keeps nothing. A file that is damaged or of another version counts as none.
  GemmChoices(const std::filesystem::path& folder, const std::string& device);
  // Writes what is new, together with what other processes have written meanwhile. A failure costs
  // only time in the next run, so it is not reported.
  ~GemmChoices();
  GemmChoices(const GemmChoices&) = delete;
  GemmChoices& operator=(const GemmChoices&) = delete;

  const cublasLtMatmulAlgo_t* find(const GemmKey& key) const;
  void add(const GemmKey& key, const cublasLtMatmulAlgo_t& algorithm);

 private:
  void read();

  std::filesystem::path file_;
  std::string header_;
  std::map<GemmKey, cublasLtMatmulAlgo_t> choices_;
  bool changed_ = false;
};

}  // namespace sft
