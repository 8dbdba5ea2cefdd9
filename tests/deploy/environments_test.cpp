// The environments that the operators make of the manifests in deploy/, given to the resolver: each
// pod or process must find its place, and all of them the same first rank.
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <map>

#include "control/launch_environment.h"
#include "support/paths.h"

namespace sft {
namespace {

using Variables = std::map<std::string, std::string>;

YAML::Node spec_of(const std::string& name) {
  return YAML::LoadFile(std::filesystem::path(SFT_TEST_DIR).parent_path() / "deploy" /
                        name)["spec"];
}

LaunchEnvironment resolve(const Variables& variables, const std::string& host,
                          const std::string& hostfile = "") {
  return resolve_launch({[&](const char* name) -> const char* {
                           const auto it = variables.find(name);
                           return it == variables.end() ? nullptr : it->second.c_str();
                         },
                         [&](const std::string& path) -> std::optional<std::string> {
                           return path == "/etc/mpi/hostfile" && !hostfile.empty()
                                      ? std::optional(hostfile)
                                      : std::nullopt;
                         },
                         host});
}

// The training operator: RANK is the pod's number, WORLD_SIZE counts processes.
TEST(Environments, PyTorchJob) {
  const YAML::Node spec = spec_of("pytorchjob.yaml");
  const std::string per_pod = spec["nprocPerNode"].Scalar();
  const YAML::Node replicas = spec["pytorchReplicaSpecs"];
  const int workers = replicas["Worker"]["replicas"].as<int>();
  const std::string port =
      replicas["Master"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"].Scalar();
  for (int pod = 0; pod <= workers; ++pod) {
    const LaunchEnvironment e =
        resolve({{"PYTHONUNBUFFERED", "1"},
                 {"MASTER_ADDR", "sft-master-0"},
                 {"MASTER_PORT", port},
                 {"PET_MASTER_ADDR", "sft-master-0"},
                 {"PET_MASTER_PORT", port},
                 {"WORLD_SIZE", std::to_string((workers + 1) * std::stoi(per_pod))},
                 {"RANK", std::to_string(pod)},
                 {"PET_NODE_RANK", std::to_string(pod)},
                 {"PET_NPROC_PER_NODE", per_pod},
                 {"PET_NNODES", std::to_string(workers + 1)}},
                pod == 0 ? "sft-master-0" : "sft-worker-" + std::to_string(pod - 1));
    EXPECT_EQ(e.role, LaunchEnvironment::Role::launcher);
    EXPECT_EQ(e.node_rank, pod);
    EXPECT_EQ(e.nodes, 2);
    EXPECT_EQ(e.local_world, 8);
    EXPECT_EQ(e.master_addr, "sft-master-0");
    EXPECT_EQ(e.master_port, 23456);
  }
}

// Trainer v2: PET_* alone.
TEST(Environments, TrainJob) {
  const YAML::Node trainer = spec_of("trainjob.yaml")["trainer"];
  const int nodes = trainer["numNodes"].as<int>();
  for (int pod = 0; pod < nodes; ++pod) {
    const LaunchEnvironment e = resolve({{"PET_NNODES", std::to_string(nodes)},
                                         {"PET_NPROC_PER_NODE", trainer["numProcPerNode"].Scalar()},
                                         {"PET_NODE_RANK", std::to_string(pod)},
                                         {"JOB_COMPLETION_INDEX", std::to_string(pod)},
                                         {"PET_MASTER_ADDR", "sft-node-0-0.sft"},
                                         {"PET_MASTER_PORT", "29500"}},
                                        "sft-node-0-" + std::to_string(pod));
    EXPECT_EQ(e.role, LaunchEnvironment::Role::launcher);
    EXPECT_EQ(e.node_rank, pod);
    EXPECT_EQ(e.nodes, 2);
    EXPECT_EQ(e.local_world, 8);
    EXPECT_EQ(e.master_addr, "sft-node-0-0.sft");
    EXPECT_EQ(e.master_port, 29500);
  }
}

// mpirun in the launcher's pod: every process has Open MPI's variables, and those that -x sets. The
// host file may be missing in the workers' pods.
TEST(Environments, MpiJob) {
  const YAML::Node spec = spec_of("mpijob.yaml");
  const int slots = spec["slotsPerWorker"].as<int>();
  const YAML::Node args =
      spec["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]["args"];
  Variables given;
  for (size_t i = 0; i + 1 < args.size(); ++i) {
    const std::string word = args[i + 1].Scalar();
    if (args[i].Scalar() == "-x" && word.find('=') != std::string::npos) {
      given[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
    }
  }
  EXPECT_EQ(given.at("MASTER_ADDR"), "sft-worker-0.sft");
  for (int rank = 0; rank < 2 * slots; ++rank) {
    Variables variables = given;
    variables.insert({{"OMPI_COMM_WORLD_RANK", std::to_string(rank)},
                      {"OMPI_COMM_WORLD_SIZE", std::to_string(2 * slots)},
                      {"OMPI_COMM_WORLD_LOCAL_RANK", std::to_string(rank % slots)},
                      {"OMPI_COMM_WORLD_LOCAL_SIZE", std::to_string(slots)},
                      {"OMPI_COMM_WORLD_NODE_RANK", std::to_string(rank % slots)},
                      {"K_MPI_JOB_ROLE", "worker"}});
    const std::string host = "sft-worker-" + std::to_string(rank / slots);
    const LaunchEnvironment e = resolve(variables, host);
    EXPECT_EQ(e.role, LaunchEnvironment::Role::rank);
    EXPECT_EQ(e.rank, rank);
    EXPECT_EQ(e.world, 16);
    EXPECT_EQ(e.local_rank, rank % 8);
    EXPECT_EQ(e.node_rank, rank / 8);
    EXPECT_EQ(e.master_addr, "sft-worker-0.sft");
    variables.erase("MASTER_ADDR");
    EXPECT_EQ(
        resolve(variables, host,
                "sft-worker-0.sft.default.svc slots=8\nsft-worker-1.sft.default.svc slots=8\n")
            .master_addr,
        "sft-worker-0.sft.default.svc");
  }
}

}  // namespace
}  // namespace sft
