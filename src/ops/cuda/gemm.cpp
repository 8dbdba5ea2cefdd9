#include "ops/cuda/gemm.h"

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string>
#include <vector>

#include "core/error.h"
#include "ops/cuda/gemm_choices.h"

#if CUBLAS_VERSION >= 120900
#define SFT_SCALES_BY_ROWS
#endif

namespace sft {

bool scales_by_rows([[maybe_unused]] const CudaDevice& gpu) {
#ifdef SFT_SCALES_BY_ROWS
  return gpu.hopper();
#else
  return false;
#endif
}

namespace {

void check_cublas(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw Error("G022",
                std::string("cuBLASLt failed in ") + what + ": " + cublasLtGetStatusString(status));
  }
}

cudaDataType_t cuda_type(DType type) {
  switch (type) {
    case DType::f32:
      return CUDA_R_32F;
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::f16:
      return CUDA_R_16F;
    case DType::f8_rows:
      return CUDA_R_8F_E4M3;
    case DType::i8_rows:
      return CUDA_R_8I;
    case DType::i32:
      return CUDA_R_32I;
    default:
      assertion_failed("a floating type", __FILE__, __LINE__);
  }
}

// The number of tokens (k of a weight's gradient, m of the others) counts by its power of two: what
// is fast for one micro-batch is fast for the next.
GemmKey key_of(const CudaGemm& g, bool tf32) {
  const auto rounded = [](int64_t n) {
    return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(n)));
  };
  return {g.transpose_a,
          g.transpose_b,
          g.transpose_a ? g.m : rounded(g.m),
          g.n,
          g.transpose_a ? rounded(g.k) : g.k,
          g.lda,
          g.ldb,
          g.ldc,
          static_cast<int64_t>(g.type),
          static_cast<int64_t>(g.out_type),
          g.bias != nullptr,
          g.beta != 0.0F,
          (tf32 && g.type == DType::f32) || g.fast};
}

// A product as cuBLASLt sees it: column-major, so a and b change places.
class Operation {
 public:
  Operation(const CudaGemm& g, bool tf32) {
    const bool whole_numbers = g.type == DType::i8_rows;
    check_cublas(cublasLtMatmulDescCreate(&desc_,
                                          whole_numbers ? CUBLAS_COMPUTE_32I
                                          : tf32        ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                        : CUBLAS_COMPUTE_32F,
                                          whole_numbers ? CUDA_R_32I : CUDA_R_32F),
                 "a description");
    set(CUBLASLT_MATMUL_DESC_TRANSA, g.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, g.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (g.bias != nullptr) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, cuda_type(g.out_type));
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, g.bias);
    }
    if (g.a_scales != nullptr) {
#ifdef SFT_SCALES_BY_ROWS
      constexpr cublasLtMatmulMatrixScale_t kByRows = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
      set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, kByRows);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, kByRows);
      set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, g.b_scales);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, g.a_scales);
#else
      assertion_failed("scales by rows (scales_by_rows)", __FILE__, __LINE__);
#endif
    }
    if (g.type == DType::f8_rows) {
      set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, static_cast<int8_t>(g.fast ? 1 : 0));
    }
    const auto layout = [](bool transposed, int64_t rows, int64_t columns, int64_t ld, DType type) {
      cublasLtMatrixLayout_t out = nullptr;
      check_cublas(cublasLtMatrixLayoutCreate(
                       &out, cuda_type(type), static_cast<uint64_t>(transposed ? columns : rows),
                       static_cast<uint64_t>(transposed ? rows : columns), ld),
                   "a layout");
      return out;
    };
    a = layout(g.transpose_b, g.n, g.k, g.ldb, g.type);
    b = layout(g.transpose_a, g.k, g.m, g.lda, g.type);
    c = layout(false, g.n, g.m, g.ldc, g.out_type);
  }
  ~Operation() {
    cublasLtMatrixLayoutDestroy(a);
    cublasLtMatrixLayoutDestroy(b);
    cublasLtMatrixLayoutDestroy(c);
    cublasLtMatmulDescDestroy(desc_);
  }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  cublasLtMatmulDesc_t desc() const { return desc_; }
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check_cublas(cublasLtMatmulDescSetAttribute(desc_, attribute, &value, sizeof value),
                 "an attribute");
  }
  cublasLtMatmulDesc_t desc_ = nullptr;
};

// The handle, the workspace and the algorithms chosen so far.
class Products {
 public:
  explicit Products(CudaDevice& device)
      : device_(device),
        workspaces_{device.allocate(kWorkspace), device.allocate(kWorkspace)},
        choices_(device.cache_folder(), device.name()) {
    check_cublas(cublasLtCreate(&handle_), "starting");
  }
  ~Products() { cublasLtDestroy(handle_); }

  void run(const CudaGemm& g) {
    const Operation operation(g, device_.tf32());
    if (const cublasLtMatmulAlgo_t* known = choices_.find(key_of(g, device_.tf32()))) {
      launch(g, operation, works(operation, *known) ? *known : candidates(g, operation)[0], g.c);
      return;
    }
    if (device_.recording()) {
      launch(g, operation, candidates(g, operation)[0], g.c);
      return;
    }
    const cublasLtMatmulAlgo_t best = choose(g, operation);
    choices_.add(key_of(g, device_.tf32()), best);
    launch(g, operation, best, g.c);
  }

 private:
  static constexpr size_t kWorkspace = size_t{64} << 20;
  static constexpr int kGuesses = 12;

  std::vector<cublasLtMatmulAlgo_t> candidates(const CudaGemm& g, const Operation& o) {
    cublasLtMatmulPreference_t preference = nullptr;
    check_cublas(cublasLtMatmulPreferenceCreate(&preference), "a preference");
    const size_t workspace = kWorkspace;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &workspace, sizeof workspace);
    const auto alignment = [&](cublasLtMatmulPreferenceAttributes_t attribute, const void* p) {
      uint32_t bytes = 256;
      while (reinterpret_cast<uintptr_t>(p) % bytes != 0) {
        bytes /= 2;
      }
      cublasLtMatmulPreferenceSetAttribute(preference, attribute, &bytes, sizeof bytes);
    };
    alignment(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, g.b);
    alignment(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, g.a);
    alignment(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, g.c);
    alignment(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, g.c);
    std::array<cublasLtMatmulHeuristicResult_t, kGuesses> results{};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle_, o.desc(), o.a, o.b, o.c, o.c, preference, kGuesses, results.data(), &count);
    cublasLtMatmulPreferenceDestroy(preference);
    check_cublas(status, "choosing an algorithm");
    std::vector<cublasLtMatmulAlgo_t> out;
    for (int i = 0; i < count; ++i) {
      if (results[static_cast<size_t>(i)].state == CUBLAS_STATUS_SUCCESS) {
        out.push_back(results[static_cast<size_t>(i)].algo);
      }
    }
    if (out.empty()) {
      throw Error("G022", "cuBLASLt has no algorithm for a product of " + std::to_string(g.m) +
                              " x " + std::to_string(g.n) + " x " + std::to_string(g.k));
    }
    return out;
  }

  bool works(const Operation& o, const cublasLtMatmulAlgo_t& algorithm) {
    cublasLtMatmulHeuristicResult_t result{};
    return cublasLtMatmulAlgoCheck(handle_, o.desc(), o.a, o.b, o.c, o.c, &algorithm, &result) ==
               CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= kWorkspace;
  }

  // The fastest, as far as it can be tried without memory that nobody planned for.
  cublasLtMatmulAlgo_t choose(const CudaGemm& g, const Operation& o) {
    const std::vector<cublasLtMatmulAlgo_t> guesses = candidates(g, o);
    const auto bytes = static_cast<size_t>(g.m * g.ldc) * size_of(g.out_type);
    if (guesses.size() == 1) {
      return guesses[0];
    }
    if (g.beta == 0.0F) {
      return guesses[fastest(g, o, guesses, g.c)];  // c is about to be overwritten anyway
    }
    if (bytes <= device_.workspace().size()) {
      return guesses[fastest(g, o, guesses, device_.workspace().data())];
    }
    // A gradient that is added to: what was fast for the micro-batch that began it.
    CudaGemm first = g;
    first.beta = 0.0F;
    const cublasLtMatmulAlgo_t* const known = choices_.find(key_of(first, device_.tf32()));
    return known != nullptr && works(o, *known) ? *known : guesses[0];
  }

  // Overwrites `out`, which is as large as c.
  size_t fastest(const CudaGemm& g, const Operation& o,
                 const std::vector<cublasLtMatmulAlgo_t>& guesses, void* out) {
    device_.synchronize();
    cudaEvent_t start = nullptr;
    cudaEvent_t stop = nullptr;
    check_cuda(cudaEventCreate(&start), "an event");
    check_cuda(cudaEventCreate(&stop), "an event");
    std::vector<float> best(guesses.size(), 1e30F);
    for (int round = 0; round < 3; ++round) {
      for (size_t i = 0; i < guesses.size(); ++i) {
        check_cuda(cudaEventRecord(start, device_.stream()), "an event");
        launch(g, o, guesses[i], out);
        check_cuda(cudaEventRecord(stop, device_.stream()), "an event");
        check_cuda(cudaEventSynchronize(stop), "a product");
        float milliseconds = 0.0F;
        check_cuda(cudaEventElapsedTime(&milliseconds, start, stop), "an event");
        if (round > 0) {
          best[i] = std::min(best[i], milliseconds);
        }
      }
    }
    cudaEventDestroy(start);
    cudaEventDestroy(stop);
    return static_cast<size_t>(std::ranges::min_element(best) - best.begin());
  }

  void launch(const CudaGemm& g, const Operation& o, const cublasLtMatmulAlgo_t& algorithm,
              void* c) {
    const int32_t whole[] = {static_cast<int32_t>(g.alpha), static_cast<int32_t>(g.beta)};
    const bool whole_numbers = g.type == DType::i8_rows;
    const void* const alpha = whole_numbers ? static_cast<const void*>(&whole[0]) : &g.alpha;
    const void* const beta = whole_numbers ? static_cast<const void*>(&whole[1]) : &g.beta;
    check_cublas(cublasLtMatmul(handle_, o.desc(), alpha, g.b, o.a, g.a, o.b, beta, c, o.c, c, o.c,
                                &algorithm, workspaces_[device_.lane()].data(), kWorkspace,
                                device_.stream()),
                 "a product");
  }

  CudaDevice& device_;
  cublasLtHandle_t handle_ = nullptr;
  Buffer workspaces_[2];  // one for each stream
  GemmChoices choices_;
};

}  // namespace

void gemm(CudaDevice& device, const CudaGemm& g) {
  if (g.m > 0 && g.n > 0) {
    device.state<Products>().run(g);
  }
}

}  // namespace sft
