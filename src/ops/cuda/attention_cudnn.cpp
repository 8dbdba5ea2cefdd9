#include "ops/cuda/attention_cudnn.h"

#include <dlfcn.h>

#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <unordered_map>

#include "core/error.h"
#include "core/installed.h"
#include "device/cuda/capability.h"

#if defined(SFT_CUDNN)
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include <cudnn_frontend.h>

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // the frontend looks for cuDNN's functions here
}

namespace sft {

namespace {

namespace fe = cudnn_frontend;
using TensorPtr = std::shared_ptr<fe::graph::Tensor_attributes>;

// The tensors of a plan, by what they are.
enum Id : int64_t {
  kQ = 1,
  kK,
  kV,
  kO,
  kStats,
  kLengths,
  kQkvStart,
  kOStart,
  kStatsStart,
  kGradO,
  kGradQ,
  kGradK,
  kGradV
};

void require(fe::error_t result, const char* what) {
  if (result.is_bad()) {
    throw Error("G024",
                std::string("cuDNN's attention failed in ") + what + ": " + result.get_message());
  }
}

// One direction's graph, built for a shape.
struct Plan {
  std::shared_ptr<fe::graph::Graph> graph;
  int64_t workspace = 0;
};

class Builder {
 public:
  Builder(const FusedAttentionShape& s) : s_(s), graph_(std::make_shared<fe::graph::Graph>()) {
    graph_
        ->set_io_data_type(s.type == DType::bf16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::HALF)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    lengths_ = integers("lengths", kLengths, s.documents);
    qkv_start_ = integers("qkv_start", kQkvStart, s.documents + 1);
    o_start_ = integers("o_start", kOStart, s.documents + 1);
    stats_start_ = integers("stats_start", kStatsStart, s.documents + 1);
  }

  TensorPtr rows(const char* name, Id id, int heads, bool output_layout) {
    const int64_t row = output_layout ? int64_t{s_.heads} * s_.head_dim
                                      : int64_t{s_.heads + 2 * s_.kv_heads} * s_.head_dim;
    auto t = graph_->tensor(fe::graph::Tensor_attributes().set_name(name).set_uid(id));
    shape_rows(t, heads, row, output_layout);
    return t;
  }

  void shape_rows(const TensorPtr& t, int heads, int64_t row, bool output_layout) {
    t->set_dim({s_.documents, heads, s_.longest, s_.head_dim})
        .set_stride({row * s_.longest, s_.head_dim, row, 1})
        .set_ragged_offset(output_layout ? o_start_ : qkv_start_);
  }

  TensorPtr stats(const TensorPtr& made = nullptr) {
    TensorPtr t = made;
    if (!t) {
      t = graph_->tensor(fe::graph::Tensor_attributes().set_name("stats"));
    }
    t->set_uid(kStats)
        .set_dim({s_.documents, s_.heads, s_.longest, 1})
        .set_stride({s_.heads * s_.longest, 1, s_.heads, 1})
        .set_ragged_offset(stats_start_)
        .set_data_type(fe::DataType_t::FLOAT);
    return t;
  }

  template <class Attributes>
  Attributes options(const char* name) {
    Attributes a;
    a.set_name(name)
        .set_attn_scale(s_.scale)
        .set_padding_mask(true)
        .set_seq_len_q(lengths_)
        .set_seq_len_kv(lengths_)
        .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
        .set_diagonal_band_right_bound(0)
        .set_max_total_seq_len_q(s_.most_tokens)
        .set_max_total_seq_len_kv(s_.most_tokens);
    if (s_.window > 0 && s_.window < s_.longest) {
      a.set_diagonal_band_left_bound(s_.window);
    }
    return a;
  }

  fe::graph::Graph& graph() { return *graph_; }

  Plan finish(cudnnHandle_t handle) {
    require(graph_->validate(), "checking a graph");
    require(graph_->build_operation_graph(handle), "building a graph");
    require(graph_->create_execution_plans({fe::HeurMode_t::A}), "planning");
    require(graph_->check_support(handle), "planning");
    require(graph_->build_plans(handle), "compiling a plan");
    Plan plan{graph_, 0};
    require(graph_->get_workspace_size(plan.workspace), "planning");
    return plan;
  }

 private:
  TensorPtr integers(const char* name, Id id, int64_t n) {
    return graph_->tensor(fe::graph::Tensor_attributes()
                              .set_name(name)
                              .set_uid(id)
                              .set_dim({n, 1, 1, 1})
                              .set_stride({1, 1, 1, 1})
                              .set_data_type(fe::DataType_t::INT32));
  }

  const FusedAttentionShape& s_;
  std::shared_ptr<fe::graph::Graph> graph_;
  TensorPtr lengths_, qkv_start_, o_start_, stats_start_;
};

Plan build_forward(const FusedAttentionShape& s, cudnnHandle_t handle) {
  Builder b(s);
  const auto q = b.rows("q", kQ, s.heads, false);
  const auto k = b.rows("k", kK, s.kv_heads, false);
  const auto v = b.rows("v", kV, s.kv_heads, false);
  auto options = b.options<fe::graph::SDPA_attributes>("attention");
  options.set_generate_stats(true);
  auto [o, stats] = b.graph().sdpa(q, k, v, options);
  o->set_output(true).set_uid(kO);
  b.shape_rows(o, s.heads, int64_t{s.heads} * s.head_dim, true);
  stats->set_output(true);
  b.stats(stats);
  return b.finish(handle);
}

Plan build_backward(const FusedAttentionShape& s, cudnnHandle_t handle) {
  Builder b(s);
  const auto q = b.rows("q", kQ, s.heads, false);
  const auto k = b.rows("k", kK, s.kv_heads, false);
  const auto v = b.rows("v", kV, s.kv_heads, false);
  const auto o = b.rows("o", kO, s.heads, true);
  const auto grad_o = b.rows("grad_o", kGradO, s.heads, true);
  const auto options = b.options<fe::graph::SDPA_backward_attributes>("attention.backward");
  auto [grad_q, grad_k, grad_v] = b.graph().sdpa_backward(q, k, v, o, grad_o, b.stats(), options);
  const int64_t row = int64_t{s.heads + 2 * s.kv_heads} * s.head_dim;
  const auto output = [&](const TensorPtr& t, Id id, int heads) {
    t->set_output(true).set_uid(id);
    b.shape_rows(t, heads, row, false);
  };
  output(grad_q, kGradQ, s.heads);
  output(grad_k, kGradK, s.kv_heads);
  output(grad_v, kGradV, s.kv_heads);
  return b.finish(handle);
}

// cuDNN as the command line has loaded it (SFT_CUDNN), or of NVIDIA's wheels, or where the loader
// looks.
void* load_cudnn() {
  void* handle = nullptr;
  for (const std::filesystem::path& name :
       {nvidia_library("libcudnn.so.9"), std::filesystem::path("libcudnn.so")}) {
    if (handle == nullptr) {
      handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_GLOBAL);
    }
  }
  return handle;
}

}  // namespace

struct FusedAttention::Plans {
  Plan forward, backward;
  bool usable = false;
};

class FusedAttention::Library {
 public:
  explicit Library(CudaDevice& device) : device(device) {
    fe::cudnn_dlhandle = load_cudnn();
    if (fe::cudnn_dlhandle != nullptr &&
        fe::detail::create_handle(&handle) == CUDNN_STATUS_SUCCESS) {
      fe::detail::set_stream(handle, device.stream());
    } else {
      handle = nullptr;
    }
  }
  ~Library() {
    if (handle != nullptr) {
      fe::detail::destroy_handle(handle);
    }
  }

  Plans& plans(const FusedAttentionShape& shape) {
    auto found = made.find(shape);
    if (found != made.end()) {
      return found->second;
    }
    Plans& p = made[shape];
    try {
      p.forward = build_forward(shape, handle);
      p.backward = build_backward(shape, handle);
      const auto need = static_cast<size_t>(std::max(p.forward.workspace, p.backward.workspace));
      device.reserve_workspace(need);  // more than there is only where nobody planned for it
      p.usable = true;
    } catch (const Error& e) {
      reason = e.message();
    }
    return p;
  }

  void run(const Plan& plan, std::unordered_map<int64_t, void*> pack) {
    require(plan.graph->execute(handle, pack, device.workspace().data()), "running");
  }

  CudaDevice& device;
  cudnnHandle_t handle = nullptr;
  std::map<FusedAttentionShape, Plans> made;
  std::string reason;
};

FusedAttention::FusedAttention(CudaDevice& device) : library_(std::make_unique<Library>(device)) {}
FusedAttention::~FusedAttention() = default;

bool FusedAttention::takes(const FusedAttentionShape& shape) {
  return library_->handle != nullptr && capability_of(library_->device.ordinal()) >= 80 &&
         shape.type != DType::f32 && shape.head_dim % 8 == 0 && shape.head_dim <= 256 &&
         library_->plans(shape).usable;
}

namespace {

// The parts of the fused projection, and of the table, as a plan wants them.
std::unordered_map<int64_t, void*> pack(const FusedAttentionShape& s, const Tensor& qkv,
                                        const Tensor& table, Id q, Id k, Id v) {
  auto* const base = static_cast<std::byte*>(qkv.data);  // plans take no const pointers
  auto* const tables = static_cast<int32_t*>(table.data);
  const size_t width = size_of(s.type);
  const size_t k_at = static_cast<size_t>(s.heads) * s.head_dim * width;
  const size_t v_at = static_cast<size_t>(s.heads + s.kv_heads) * s.head_dim * width;
  const int64_t n = table.shape[1];
  return {{q, base},
          {k, base + k_at},
          {v, base + v_at},
          {kLengths, tables + n},
          {kQkvStart, tables + 2 * n},
          {kOStart, tables + 3 * n},
          {kStatsStart, tables + 4 * n}};
}

}  // namespace

void FusedAttention::forward(const FusedAttentionShape& shape, const Tensor& qkv,
                             const Tensor& table, Tensor& y, Tensor& log_sum) {
  auto tensors = pack(shape, qkv, table, kQ, kK, kV);
  tensors[kO] = y.data;
  tensors[kStats] = log_sum.data;
  library_->run(library_->plans(shape).forward, std::move(tensors));
}

void FusedAttention::backward(const FusedAttentionShape& shape, const Tensor& grad_y,
                              const Tensor& qkv, const Tensor& y, const Tensor& log_sum,
                              const Tensor& table, Tensor& grad_qkv) {
  auto tensors = pack(shape, qkv, table, kQ, kK, kV);
  tensors.merge(pack(shape, grad_qkv, table, kGradQ, kGradK, kGradV));
  tensors[kO] = y.data;
  tensors[kGradO] = grad_y.data;
  tensors[kStats] = log_sum.data;
  library_->run(library_->plans(shape).backward, std::move(tensors));
}

}  // namespace sft

#else

namespace sft {

class FusedAttention::Library {};
FusedAttention::FusedAttention(CudaDevice& /*device*/) {}
FusedAttention::~FusedAttention() = default;
bool FusedAttention::takes(const FusedAttentionShape& /*shape*/) { return false; }
void FusedAttention::forward(const FusedAttentionShape&, const Tensor&, const Tensor&, Tensor&,
                             Tensor&) {}
void FusedAttention::backward(const FusedAttentionShape&, const Tensor&, const Tensor&,
                              const Tensor&, const Tensor&, const Tensor&, Tensor&) {}

}  // namespace sft

#endif
