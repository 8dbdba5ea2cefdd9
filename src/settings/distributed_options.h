// Options of launchers and of what works across devices: accelerate's, DDP's, FSDP's, DeepSpeed's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "options/options.h"

namespace sft {

struct DistributedOptions {
  int64_t num_processes = 1;
  int64_t num_machines = 1;
  int64_t machine_rank = 0;
  std::optional<std::string> main_process_ip;
  std::optional<int64_t> main_process_port;
  std::optional<std::string> mixed_precision;
  std::optional<std::string> accelerate_config;
  std::optional<std::string> config_file;
  int64_t local_rank = -1;
  std::optional<std::string> ddp_backend;
  int64_t ddp_timeout = 1800;
  bool require_token = false;
  std::optional<bool> ddp_find_unused_parameters;
  std::optional<int64_t> ddp_bucket_cap_mb;
  std::optional<bool> ddp_broadcast_buffers;
  std::optional<bool> ddp_static_graph;
  std::optional<std::string> fsdp;
  Json fsdp_config;
  Json deepspeed;
  Json accelerator_config;
  Json parallelism_config;

  void visit(OptionTable& v);
};

}  // namespace sft
