#include "options/recipe_environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "core/error.h"

namespace sft {
namespace {

constexpr std::array<std::string_view, 48> kMayBeSet = {
    // How a run is called, and which trackers follow it.
    "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_NAME", "WANDB_NOTES", "WANDB_TAGS", "WANDB_RUN_GROUP",
    "WANDB_JOB_TYPE", "WANDB_RUN_ID", "WANDB_MODE", "WANDB_DISABLED",
    // The hub: less of it, or more slowly.
    "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS",
    "HF_HUB_DISABLE_SYMLINKS", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_DOWNLOAD_TIMEOUT",
    "HF_HUB_ETAG_TIMEOUT",
    // Devices and the network between ranks.
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NCCL_DEBUG", "NCCL_DEBUG_SUBSYS", "NCCL_ALGO",
    "NCCL_PROTO", "NCCL_BUFFSIZE", "NCCL_NTHREADS", "NCCL_MIN_NCHANNELS", "NCCL_MAX_NCHANNELS",
    "NCCL_SOCKET_IFNAME", "NCCL_SOCKET_FAMILY", "NCCL_SOCKET_NTHREADS", "NCCL_NSOCKS_PERTHREAD",
    "NCCL_IB_DISABLE", "NCCL_IB_HCA", "NCCL_IB_GID_INDEX", "NCCL_IB_TIMEOUT", "NCCL_IB_RETRY_CNT",
    "NCCL_P2P_DISABLE", "NCCL_P2P_LEVEL", "NCCL_SHM_DISABLE", "NCCL_NET_GDR_LEVEL",
    "NCCL_NVLS_ENABLE", "GLOO_SOCKET_IFNAME",
    // Python's, without effect here.
    "TOKENIZERS_PARALLELISM", "TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_TELEMETRY",
    "OMP_NUM_THREADS", "PYTORCH_CUDA_ALLOC_CONF"};

struct Danger {
  std::string_view part;  // of the name; "LD_*" begins, "*_PROXY" ends, others are within
  std::string_view reason;
};

constexpr std::string_view kCode = "it decides which code runs";
constexpr std::string_view kWhere = "it decides where requests go, and tokens with them";
constexpr std::string_view kSecret = "it is a secret, and a recipe is read by others";
constexpr std::string_view kFiles = "it decides which files are read and written";
constexpr std::string_view kRanks = "launchers say with it which rank a process is";

constexpr std::array kDangers = {
    Danger{"LD_*", kCode},           Danger{"PYTHON*", kCode},     Danger{"*PLUGIN*", kCode},
    Danger{"*_MODULE*", kCode},      Danger{"GCONV_*", kCode},     Danger{"*_LIBRARY*", kCode},
    Danger{"PATH*", kCode},          Danger{"PAGER*", kCode},      Danger{"MALLOC*", kCode},
    Danger{"GLIBC*", kCode},         Danger{"*ENDPOINT*", kWhere}, Danger{"*_PROXY", kWhere},
    Danger{"*_URL*", kWhere},        Danger{"*_HOST*", kWhere},    Danger{"*CERT*", kWhere},
    Danger{"*CA_BUNDLE*", kWhere},   Danger{"SSL*", kWhere},       Danger{"*_ADDR*", kWhere},
    Danger{"*_PORT*", kWhere},       Danger{"RES_*", kWhere},      Danger{"*_TOKEN*", kSecret},
    Danger{"*_KEY*", kSecret},       Danger{"*SECRET*", kSecret},  Danger{"*PASSWORD*", kSecret},
    Danger{"*CREDENTIAL*", kSecret}, Danger{"*RANK*", kRanks},     Danger{"*WORLD_SIZE*", kRanks},
    Danger{"SLURM_*", kRanks},       Danger{"PET_*", kRanks},      Danger{"OMPI_*", kRanks},
    Danger{"SFT_*", kRanks},         Danger{"*_HOME", kFiles},     Danger{"HOME*", kFiles},
    Danger{"*CACHE*", kFiles},       Danger{"*_DIR*", kFiles},     Danger{"*_PATH*", kFiles},
    Danger{"*_FILE*", kFiles},       Danger{"TMP*", kFiles},       Danger{"XDG_*", kFiles}};

bool matches(std::string_view name, std::string_view part) {
  const bool anything_before = part.starts_with('*'), anything_after = part.ends_with('*');
  part.remove_prefix(anything_before ? 1 : 0);
  part.remove_suffix(anything_after ? 1 : 0);
  if (anything_before && anything_after) {
    return name.find(part) != std::string_view::npos;
  }
  return anything_before ? name.ends_with(part) : name.starts_with(part);
}

std::string_view reason_of(std::string name) {
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'a' && c <= 'z' ? char(c - 'a' + 'A') : c; });
  for (const Danger& danger : kDangers) {
    if (matches(name, danger.part)) {
      return danger.reason;
    }
  }
  return "it is not among those that a recipe may set";
}

}  // namespace

void check_recipe_variable(const std::string& name, const std::string& value) {
  if (value.find('\0') != std::string::npos) {
    throw Error("C025", fmt::format("env: the value of {} holds a zero byte", name));
  }
  if (std::ranges::find(kMayBeSet, name) != kMayBeSet.end()) {
    return;
  }
  throw Error("C026", fmt::format("env: a recipe does not set {}: {}", name, reason_of(name)))
      .hint(fmt::format("set it yourself, where you start the run:  export {}=…", name));
}

}  // namespace sft
