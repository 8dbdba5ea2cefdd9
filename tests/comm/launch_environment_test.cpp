#include "comm/launch_environment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "core/error.h"

namespace sft {
namespace {

using Source = LaunchEnvironment::Source;
using Role = LaunchEnvironment::Role;
using Variables = std::map<std::string, std::string>;

LaunchEnvironment resolve(const Variables& set, const std::string& host = "box",
                          const std::string& hostfile = "") {
  const LaunchInputs inputs{[&](const char* name) {
                              const auto found = set.find(name);
                              return found == set.end() ? nullptr : found->second.c_str();
                            },
                            [&](const std::string& path) -> std::optional<std::string> {
                              return path == "/etc/mpi/hostfile" && !hostfile.empty()
                                         ? std::optional(hostfile)
                                         : std::nullopt;
                            },
                            host};
  return resolve_launch(inputs);
}

std::string refusal(const Variables& set, const std::string& host = "box") {
  try {
    return "not refused: " + resolve(set, host).found;
  } catch (const Error& e) {
    return e.code() + " " + e.message();
  }
}

const Variables kTorchrun = {{"RANK", "5"},
                             {"WORLD_SIZE", "8"},
                             {"LOCAL_RANK", "1"},
                             {"LOCAL_WORLD_SIZE", "4"},
                             {"GROUP_RANK", "1"},
                             {"MASTER_ADDR", "node-0"},
                             {"MASTER_PORT", "29500"},
                             {"TORCHELASTIC_RUN_ID", "none"},
                             {"TORCHELASTIC_RESTART_COUNT", "2"},
                             {"TORCHELASTIC_USE_AGENT_STORE", "True"}};

Variables with(Variables base, const Variables& more) {
  for (const auto& [name, value] : more) {
    base[name] = value;
  }
  return base;
}

struct Contract {
  const char* name;
  Variables set;
  std::string host, hostfile;
  Source source;
  Role role;
  int rank, world, local_rank, local_world, node_rank, nodes;
  const char* master;
  int port;
};

const Contract kContracts[] = {
    {"nothing", {}, "box", "", Source::alone, Role::rank, 0, 1, 0, 1, 0, 1, "127.0.0.1", 29500},
    {"torchrun", kTorchrun, "box", "", Source::torchrun, Role::rank, 5, 8, 1, 4, 1, 2, "node-0",
     29500},
    {"torchrun inside Kubeflow's pod",
     with(kTorchrun, {{"PET_NPROC_PER_NODE", "4"}, {"PET_NNODES", "2"}, {"PET_NODE_RANK", "1"}}),
     "box", "", Source::torchrun, Role::rank, 5, 8, 1, 4, 1, 2, "node-0", 29500},
    {"sft launch", with(kTorchrun, {{"SFT_LAUNCHED", "1"}, {"SFT_STORE_PORT", "41000"}}), "box", "",
     Source::sft_launch, Role::rank, 5, 8, 1, 4, 1, 2, "node-0", 29500},
    {"PyTorchJob v1, worker: RANK is the pod's number",
     {{"RANK", "1"},
      {"WORLD_SIZE", "16"},
      {"MASTER_ADDR", "sft-master-0"},
      {"MASTER_PORT", "23456"},
      {"PET_MASTER_ADDR", "sft-master-0"},
      {"PET_MASTER_PORT", "23456"},
      {"PET_NODE_RANK", "1"},
      {"PET_NNODES", "2"},
      {"PET_NPROC_PER_NODE", "8"},
      {"PYTHONUNBUFFERED", "1"}},
     "sft-worker-0",
     "",
     Source::node,
     Role::launcher,
     0,
     1,
     0,
     8,
     1,
     2,
     "sft-master-0",
     23456},
    {"PyTorchJob v1, master, auto",
     {{"RANK", "0"},
      {"WORLD_SIZE", "2"},
      {"MASTER_ADDR", "sft-master-0"},
      {"MASTER_PORT", "23456"},
      {"PET_NODE_RANK", "0"},
      {"PET_NNODES", "2"},
      {"PET_NPROC_PER_NODE", "auto"}},
     "sft-master-0",
     "",
     Source::node,
     Role::launcher,
     0,
     1,
     0,
     0,
     0,
     2,
     "sft-master-0",
     23456},
    {"PyTorchJob v1, workers only: the place is in the name",
     {{"PET_NNODES", "2"}, {"PET_NPROC_PER_NODE", "4"}},
     "sft-worker-1",
     "",
     Source::node,
     Role::launcher,
     0,
     1,
     0,
     4,
     1,
     2,
     "sft-worker-0",
     29500},
    {"PyTorchJob v1, elastic of one size",
     {{"PET_RDZV_ENDPOINT", "sft-worker-0:23456"},
      {"PET_RDZV_BACKEND", "c10d"},
      {"PET_NNODES", "2:2"},
      {"PET_NPROC_PER_NODE", "4"},
      {"PET_MAX_RESTARTS", "3"}},
     "sft-worker-0",
     "",
     Source::node,
     Role::launcher,
     0,
     1,
     0,
     4,
     0,
     2,
     "sft-worker-0",
     23456},
    {"TrainJob",
     {{"PET_NNODES", "2"},
      {"PET_NPROC_PER_NODE", "8"},
      {"PET_NODE_RANK", "1"},
      {"PET_MASTER_ADDR", "sft-node-0-0.sft"},
      {"PET_MASTER_PORT", "29500"},
      {"JOB_COMPLETION_INDEX", "1"}},
     "sft-node-0-1",
     "",
     Source::node,
     Role::launcher,
     0,
     1,
     0,
     8,
     1,
     2,
     "sft-node-0-0.sft",
     29500},
    {"Open MPI on one machine",
     {{"OMPI_COMM_WORLD_RANK", "1"},
      {"OMPI_COMM_WORLD_SIZE", "2"},
      {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
      {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}},
     "box",
     "",
     Source::mpi,
     Role::rank,
     1,
     2,
     1,
     2,
     0,
     1,
     "127.0.0.1",
     29500},
    {"MPIJob",
     {{"OMPI_COMM_WORLD_RANK", "9"},
      {"OMPI_COMM_WORLD_SIZE", "16"},
      {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
      {"OMPI_COMM_WORLD_LOCAL_SIZE", "8"},
      {"OMPI_COMM_WORLD_NODE_RANK", "1"},
      {"PMIX_RANK", "9"}},
     "sft-worker-1",
     "# made by the operator\nsft-worker-0.sft.ns.svc slots=8\nsft-worker-1.sft.ns.svc slots=8\n",
     Source::mpi,
     Role::rank,
     9,
     16,
     1,
     8,
     1,
     2,
     "sft-worker-0.sft.ns.svc",
     29500},
    {"Hydra (MPICH, Intel)",
     {{"PMI_RANK", "3"},
      {"PMI_SIZE", "4"},
      {"MPI_LOCALRANKID", "1"},
      {"MPI_LOCALNRANKS", "2"},
      {"MASTER_ADDR", "a"},
      {"MASTER_PORT", "1234"}},
     "b",
     "",
     Source::mpi,
     Role::rank,
     3,
     4,
     1,
     2,
     1,
     2,
     "a",
     1234},
    {"SLURM",
     {{"SLURM_PROCID", "9"},
      {"SLURM_NTASKS", "16"},
      {"SLURM_LOCALID", "1"},
      {"SLURM_NODEID", "1"},
      {"SLURM_JOB_NUM_NODES", "2"},
      {"SLURM_TASKS_PER_NODE", "8(x2)"},
      {"SLURM_JOB_NODELIST", "gpu-[03-04]"},
      {"SLURM_JOB_ID", "123456"}},
     "gpu-04",
     "",
     Source::slurm,
     Role::rank,
     9,
     16,
     1,
     8,
     1,
     2,
     "gpu-03",
     10000 + 123456 % 20000},
    {"SLURM with pmi",
     {{"SLURM_PROCID", "1"},
      {"SLURM_NTASKS", "2"},
      {"SLURM_LOCALID", "1"},
      {"SLURM_NODEID", "0"},
      {"SLURM_NNODES", "1"},
      {"SLURM_TASKS_PER_NODE", "2"},
      {"PMI_RANK", "1"},
      {"PMI_SIZE", "2"},
      {"SLURM_JOB_ID", "7"}},
     "gpu-04",
     "",
     Source::slurm,
     Role::rank,
     1,
     2,
     1,
     2,
     0,
     1,
     "127.0.0.1",
     10007},
    {"inside a SLURM allocation, without srun",
     {{"SLURM_NTASKS", "16"}, {"SLURM_JOB_ID", "7"}},
     "box",
     "",
     Source::alone,
     Role::rank,
     0,
     1,
     0,
     1,
     0,
     1,
     "127.0.0.1",
     29500},
};

TEST(LaunchEnvironment, EveryLaunchersVariablesAreUnderstood) {
  for (const Contract& c : kContracts) {
    SCOPED_TRACE(c.name);
    const LaunchEnvironment e = resolve(c.set, c.host, c.hostfile);
    EXPECT_EQ(e.source, c.source);
    EXPECT_EQ(e.role, c.role);
    EXPECT_EQ(e.local_world, c.local_world);
    EXPECT_EQ(e.node_rank, c.node_rank);
    EXPECT_EQ(e.nodes, c.nodes);
    EXPECT_EQ(e.master_addr, c.master);
    EXPECT_EQ(e.master_port, c.port);
    if (c.role == Role::rank) {
      EXPECT_EQ(e.rank, c.rank);
      EXPECT_EQ(e.world, c.world);
      EXPECT_EQ(e.local_rank, c.local_rank);
    }
    EXPECT_FALSE(e.found.empty());
  }
}

TEST(LaunchEnvironment, WhatCannotBeIsRefused) {
  Variables lacking = kTorchrun;
  lacking.erase("MASTER_PORT");
  EXPECT_EQ(refusal(lacking), "C131 the environment looks like torchrun's, but lacks MASTER_PORT");
  EXPECT_EQ(refusal(with(kTorchrun, {{"RANK", "8"}})),
            "C131 torchrun says rank 8 of 8, and 1 of 4 on this machine, which cannot be");
  EXPECT_EQ(refusal(with(kTorchrun, {{"RANK", "one"}})),
            "C130 RANK is \"one\", and should be a number from 0 to 1048576");
  EXPECT_EQ(refusal(with(kTorchrun, {{"MASTER_PORT", "70000"}})),
            "C130 MASTER_PORT is \"70000\", and should be a number from 1 to 65535");
  EXPECT_EQ(refusal({{"RANK", "1"}, {"WORLD_SIZE", "2"}}).substr(0, 4), "C131");
  EXPECT_EQ(refusal({{"OMPI_COMM_WORLD_RANK", "9"},
                     {"OMPI_COMM_WORLD_SIZE", "16"},
                     {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                     {"OMPI_COMM_WORLD_LOCAL_SIZE", "8"}}),
            "C132 nothing in the environment says on which machine rank 0 runs");
  EXPECT_EQ(refusal({{"PET_NNODES", "1:4"}, {"PET_NPROC_PER_NODE", "2"}}).substr(0, 4), "C133");
  EXPECT_EQ(refusal({{"PET_NNODES", "2"}, {"PET_NPROC_PER_NODE", "2"}}).substr(0, 4), "C131");
  EXPECT_EQ(refusal({{"PET_NNODES", "2"}, {"PET_NPROC_PER_NODE", "2"}, {"PET_NODE_RANK", "2"}}),
            "C131 this is node 2, but PET_NNODES says that there are 2");
}

TEST(LaunchEnvironment, TheAgentsPortIsNeverOurs) {
  for (const char* port : {"29500", "65535", "65530", "1"}) {
    const LaunchEnvironment e = resolve(with(kTorchrun, {{"MASTER_PORT", port}}));
    EXPECT_TRUE(e.agent_owns_port);
    const std::vector<int> ports = e.store_ports();
    EXPECT_EQ(ports.size(), 8U);
    EXPECT_EQ(std::ranges::count(ports, e.master_port), 0);
    EXPECT_TRUE(std::ranges::all_of(ports, [](int p) { return p > 0 && p <= 65535; }));
    EXPECT_EQ(ports,
              resolve(with(kTorchrun, {{"MASTER_PORT", port}, {"RANK", "4"}, {"LOCAL_RANK", "0"}}))
                  .store_ports());
  }
  EXPECT_EQ(resolve(with(kTorchrun, {{"SFT_STORE_PORT", "41000"}})).store_ports(),
            std::vector<int>{41000});
  EXPECT_EQ(resolve(kTorchrun).job, "") << "torchrun's default id is everyone's";
  EXPECT_EQ(resolve(kTorchrun).attempt, 2);
}

TEST(LaunchEnvironment, HostListsAreExpanded) {
  const auto join = [](const std::string& list) {
    std::string out;
    for (const std::string& host : expand_hosts(list)) {
      out += (out.empty() ? "" : " ") + host;
    }
    return out;
  };
  EXPECT_EQ(join("gpu-[01-03,7],login"), "gpu-01 gpu-02 gpu-03 gpu-7 login");
  EXPECT_EQ(join("a"), "a");
  EXPECT_EQ(join("r[1-2]n[1-2]"), "r1n1 r2n1 r1n2 r2n2");
  EXPECT_EQ(join("n[098-101]x"), "n098x n099x n100x n101x");
  for (const char* bad : {"", "a[1-", "a[x]", "a[1-99999999]", "a[]", ",", "a[1-2]b[1-60000]"}) {
    EXPECT_THROW(expand_hosts(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace sft
