#include "control/launch_environment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "core/error.h"

namespace sft {
namespace {

using Source = LaunchEnvironment::Source;
using Role = LaunchEnvironment::Role;
using Variables = std::map<std::string, std::string>;

const Machine kMachine = {.gpus = 4, .processors = 12};

LaunchEnvironment resolve(const Variables& set, const std::string& host = "box",
                          const std::string& hostfile = "", const Machine& machine = kMachine) {
  const LaunchInputs inputs{[&](const char* name) {
                              const auto found = set.find(name);
                              return found == set.end() ? nullptr : found->second.c_str();
                            },
                            [&](const std::string& path) -> std::optional<std::string> {
                              return !path.starts_with("/none") && !hostfile.empty()
                                         ? std::optional(hostfile)
                                         : std::nullopt;
                            },
                            host, machine};
  return resolve_launch(inputs);
}

std::string refusal(const Variables& set, const std::string& host = "box",
                    const std::string& file = "", const Machine& machine = kMachine) {
  try {
    return "not refused: " + resolve(set, host, file, machine).found;
  } catch (const Error& e) {
    return std::string(e.code().text()) + " " + e.message();
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
     4,
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
      {"SLURM_JOB_ID", "123456"},
      {"SLURM_STEP_ID", "0"}},
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
      {"SLURM_JOB_ID", "7"},
      {"SLURM_STEP_ID", "3"}},
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

Variables per_node(const std::string& value) { return {{"PET_NPROC_PER_NODE", value}}; }

TEST(LaunchEnvironment, RanksPerNodeIsEachOfTorchrunsWordsOrANumber) {
  const Machine no_gpu{.gpus = 0, .processors = 6};
  EXPECT_EQ(resolve(per_node("auto")).local_world, 4);
  EXPECT_EQ(resolve(per_node("gpu")).local_world, 4);
  EXPECT_EQ(resolve(per_node("cpu")).local_world, 12);
  EXPECT_EQ(resolve(per_node(" 3\n")).local_world, 3) << "as int() of Python reads it";
  EXPECT_EQ(resolve(per_node("")).local_world, 1);
  EXPECT_EQ(resolve(per_node("auto"), "box", "", no_gpu).local_world, 1);
  EXPECT_EQ(resolve(per_node("cpu"), "box", "", no_gpu).local_world, 6);
  EXPECT_EQ(refusal(per_node("gpu"), "box", "", no_gpu),
            "C130 PET_NPROC_PER_NODE is gpu, and no GPU can be seen here");
  for (const char* wrong : {"xpu", "mps", "GPU", "0", "-1", "1:4", "2.0", "1e3", "+2", "1025",
                            "99999999999999999999", "two", "1 2", "0x2", "none", "True"}) {
    EXPECT_EQ(refusal(per_node(wrong)),
              std::string("C130 PET_NPROC_PER_NODE is \"") + wrong +
                  "\", and should be auto, gpu, cpu or a number from 1 to 1024");
  }
}

TEST(LaunchEnvironment, NumbersOfMachinesAndPlacesAreReadWholeOrRefused) {
  const auto nodes = [](const std::string& value) {
    return Variables{{"PET_NNODES", value}, {"PET_MASTER_ADDR", "a"}, {"PET_NODE_RANK", "0"}};
  };
  for (const char* two : {"2", "2:2", " 2 "}) {
    EXPECT_EQ(resolve(nodes(two)).nodes, 2) << two;
  }
  for (const char* wrong : {":", "2:", ":2", "0", "0:0", "-2", "a:b", "2:2:2", "auto", "70000",
                            "2,2", "99999999999999999999:1"}) {
    EXPECT_EQ(refusal(nodes(wrong)).substr(0, 5), "C130 ") << wrong;
  }
  for (const char* range : {"1:4", "4:1"}) {
    EXPECT_EQ(refusal(nodes(range)).substr(0, 5), "C133 ") << range;
  }
  for (const char* name : {"PET_NODE_RANK", "PET_MAX_RESTARTS", "PET_MASTER_PORT"}) {
    for (const char* wrong : {"-1", "one", "1.5", "99999999999999999999", "auto"}) {
      EXPECT_EQ(refusal(with(nodes("2"), {{name, wrong}})).substr(0, 5), "C130 ") << name << wrong;
    }
  }
  EXPECT_EQ(refusal(with(nodes("65536"), {{"PET_NPROC_PER_NODE", "1024"}})).substr(0, 5), "C131 ");
}

TEST(LaunchEnvironment, AnEndpointIsAHostAndAPort) {
  const auto master = [](const std::string& endpoint) {
    const LaunchEnvironment e = resolve({{"PET_NNODES", "2"},
                                         {"PET_NODE_RANK", "1"},
                                         {"PET_RDZV_ENDPOINT", endpoint},
                                         {"PET_RDZV_BACKEND", "c10d"}});
    return e.master_addr + " " + std::to_string(e.master_port);
  };
  EXPECT_EQ(master("gpu-1"), "gpu-1 29400");
  EXPECT_EQ(master("gpu-1:123"), "gpu-1 123");
  EXPECT_EQ(master("[fd00::1]:123"), "fd00::1 123");
  EXPECT_EQ(master("[fd00::1]"), "fd00::1 29400");
  EXPECT_EQ(master("fd00::1"), "fd00::1 29400");
  for (const char* wrong : {":123", "a:", "a:0", "a:70000", "a b:1", "tcp://a:1", "[]:1"}) {
    EXPECT_EQ(refusal({{"PET_NNODES", "2"}, {"PET_NODE_RANK", "1"}, {"PET_RDZV_ENDPOINT", wrong}})
                  .substr(0, 5),
              "C130 ")
        << wrong;
  }
  // An endpoint of etcd's is not where rank 0 is.
  EXPECT_EQ(refusal({{"PET_NNODES", "2"},
                     {"PET_NODE_RANK", "1"},
                     {"PET_RDZV_BACKEND", "etcd-v2"},
                     {"PET_RDZV_ENDPOINT", "etcd:2379"}})
                .substr(0, 5),
            "C132 ");
}

TEST(LaunchEnvironment, ValuesOfRanksAreReadWholeOrRefused) {
  for (const char* name : {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK",
                           "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT"}) {
    for (const char* wrong : {"-1", "auto", "1.0", "1:2", "99999999999999999999", "gpu"}) {
      EXPECT_EQ(refusal(with(kTorchrun, {{name, wrong}})).substr(0, 5), "C130 ") << name << wrong;
    }
  }
  EXPECT_EQ(refusal(with(kTorchrun, {{"MASTER_ADDR", "tcp://node-0"}})).substr(0, 5), "C130 ");
  EXPECT_EQ(resolve(with(kTorchrun, {{"MASTER_ADDR", "[::1]"}})).master_addr, "::1");
  const LaunchEnvironment one = resolve({{"RANK", "0"}, {"WORLD_SIZE", "1"}, {"LOCAL_RANK", "0"}});
  EXPECT_EQ(one.world, 1) << "one process meets nobody: it needs no master";
  const Variables open_mpi = {{"OMPI_COMM_WORLD_RANK", "1"},
                              {"OMPI_COMM_WORLD_SIZE", "2"},
                              {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                              {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
  for (const auto& [name, value] : open_mpi) {
    for (const char* wrong : {"-1", "auto", "1.0", "99999999999999999999"}) {
      EXPECT_EQ(refusal(with(open_mpi, {{name, wrong}})).substr(0, 5), "C130 ") << name << wrong;
    }
  }
}

// Slurm's own variables of a batch script that starts one process.
const Variables kBatch = {{"SLURM_JOB_ID", "7"},
                          {"SLURM_NTASKS", "16"},
                          {"SLURM_JOB_NUM_NODES", "2"},
                          {"SLURM_NNODES", "2"},
                          {"SLURM_PROCID", "0"},
                          {"SLURM_LOCALID", "0"},
                          {"SLURM_NODEID", "0"},
                          {"SLURM_TASKS_PER_NODE", "8(x2)"},
                          {"SLURM_JOB_NODELIST", "gpu-[1-2]"}};

TEST(LaunchEnvironment, AnAllocationIsNotALaunch) {
  const Variables allocations[] = {
      kBatch,
      with(kBatch, {{"SLURM_STEP_ID", "4294967291"}}),  // the batch step's own number
      with(kBatch, {{"SLURM_STEP_ID", "batch"}}),
      {{"LSB_JOBID", "9"}, {"LSB_DJOB_NUMPROC", "8"}},
      {{"PBS_JOBID", "9.host"}, {"PBS_NODEFILE", "/nodes"}, {"PBS_TASKNUM", "1"}},
      {{"PBS_JOBID", "9.host"}, {"PBS_NP", "8"}},
      {{"PE_HOSTFILE", "/hosts"}, {"NSLOTS", "8"}},
      {{"OMPI_MCA_orte_default_hostfile", "/hosts"}},
      {{"JOB_COMPLETION_INDEX", "1"}},
  };
  for (const Variables& set : allocations) {
    const LaunchEnvironment e = resolve(set, "box", "a\nb\n");
    SCOPED_TRACE(set.begin()->first);
    EXPECT_EQ(e.source, Source::alone);
    EXPECT_EQ(e.world, 1);
    EXPECT_NE(e.note.find("trains alone"), std::string::npos) << e.note;
  }
  // One process is all that was asked for, or its launcher says so: nothing to be said.
  for (const Variables& set :
       {Variables{}, Variables{{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "1"}},
        Variables{{"LSB_JOBID", "9"}, {"LSB_DJOB_NUMPROC", "one"}}, Variables{{"PBS_JOBID", "9"}},
        with(kBatch, {{"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}}),
        Variables{{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}}}) {
    EXPECT_EQ(resolve(set).world, 1);
    EXPECT_EQ(resolve(set).note, "");
  }
  const LaunchEnvironment step =
      resolve(with(kBatch, {{"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "16"}}));
  EXPECT_EQ(step.source, Source::slurm);
  EXPECT_EQ(step.world, 16);
}

TEST(LaunchEnvironment, ASecretComesFromAVariableOrAFile) {
  EXPECT_EQ(resolve({}).token, "");
  EXPECT_EQ(resolve({{"SFT_TOKEN", "abc"}}).token, "abc");
  EXPECT_EQ(resolve({{"SFT_TOKEN_FILE", "/token"}}, "box", "abc\n").token, "abc");
  EXPECT_EQ(resolve({{"SFT_TOKEN", "abc"}, {"SFT_TOKEN_FILE", "/token"}}, "box", "abc\n").token,
            "abc");
  EXPECT_EQ(refusal({{"SFT_TOKEN", "ab"}, {"SFT_TOKEN_FILE", "/token"}}, "box", "abc\n"),
            "C136 SFT_TOKEN and SFT_TOKEN_FILE are both set and hold different secrets");
  EXPECT_EQ(refusal({{"SFT_TOKEN_FILE", "/none"}}, "box", "abc\n"),
            "C136 SFT_TOKEN_FILE is /none, which cannot be read as a file");
  EXPECT_EQ(refusal({{"SFT_TOKEN_FILE", "/token"}}, "box", " \n"),
            "C136 SFT_TOKEN_FILE is /token, which is empty");
  EXPECT_EQ(refusal({{"SFT_TOKEN", std::string(5000, 'x')}}),
            "C136 SFT_TOKEN holds 5000 bytes, and should hold a secret of at most 4096");
}

TEST(LaunchEnvironment, ARunsIdTellsItFromItsNeighbours) {
  EXPECT_EQ(resolve(kTorchrun).run_id(), resolve(with(kTorchrun, {{"RANK", "0"}})).run_id());
  EXPECT_NE(resolve(kTorchrun).run_id(),
            resolve(with(kTorchrun, {{"MASTER_PORT", "29501"}})).run_id());
  EXPECT_EQ(resolve(with(kTorchrun, {{"TORCHELASTIC_RUN_ID", "mine"}})).run_id(), "mine");
  EXPECT_EQ(resolve(with(kTorchrun, {{"SFT_JOB_ID", "ours"}})).run_id(), "ours");
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
