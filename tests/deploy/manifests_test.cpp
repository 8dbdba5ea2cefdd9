// The manifests of deploy/ against what their kinds may hold (schemas.json is made by
// tools/golden/kubernetes_schemas.py) and against the rules that the operators' webhooks add.
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <regex>
#include <set>

#include "core/file.h"
#include "core/json.h"
#include "support/paths.h"

namespace sft {
namespace {

const fs::path kDeploy = fs::path(SFT_TEST_DIR).parent_path() / "deploy";

// With and without the lines for RDMA.
std::string text_of(const fs::path& path, bool rdma) {
  std::string text = read_text(path);
  return rdma ? std::regex_replace(text, std::regex("(^|\n)#rdma "), "$1") : text;
}

std::vector<YAML::Node> documents(const std::string& name, bool rdma = false) {
  return YAML::LoadAll(text_of(kDeploy / name, rdma));
}

// Every place where a manifest holds what its type does not have.
class Checker {
 public:
  Checker() : schemas_(read_json(SFT_TEST_DIR "/deploy/golden/schemas.json")) {}

  std::vector<std::string> problems(const YAML::Node& node, const std::string& type) {
    found_.clear();
    value(node, type, type);
    return found_;
  }

 private:
  void value(const YAML::Node& node, const std::string& type, const std::string& where) {
    if (type == "any") {
      return;
    }
    if (type.starts_with('[')) {
      if (!node.IsSequence()) {
        found_.push_back(where + " is no list");
        return;
      }
      for (size_t i = 0; i < node.size(); ++i) {
        value(node[i], type.substr(1, type.size() - 2), where + "[" + std::to_string(i) + "]");
      }
    } else if (type.starts_with('{')) {
      if (!node.IsMap()) {
        found_.push_back(where + " is no mapping");
        return;
      }
      for (const auto& entry : node) {
        value(entry.second, type.substr(1, type.size() - 2), where + "." + entry.first.Scalar());
      }
    } else if (schemas_.contains(type)) {
      object(node, schemas_[type], where);
    } else if (!node.IsScalar() || !is_scalar(node, type)) {
      found_.push_back(where + " is not of the type " + type);
    }
  }

  void object(const YAML::Node& node, const Json& schema, const std::string& where) {
    if (!node.IsMap()) {
      found_.push_back(where + " is no mapping");
      return;
    }
    for (const auto& entry : node) {
      const std::string key = entry.first.Scalar();
      if (!schema.contains(key) && !schema.contains(key + "!")) {
        found_.push_back(where + "." + key + " is unknown");
        continue;
      }
      value(entry.second, schema[schema.contains(key) ? key : key + "!"].get<std::string>(),
            where + "." + key);
    }
    for (const auto& [key, type] : schema.items()) {
      if (key.ends_with('!') && !node[key.substr(0, key.size() - 1)]) {
        found_.push_back(where + "." + key.substr(0, key.size() - 1) + " is missing");
      }
    }
  }

  // As the API server reads YAML: what is quoted is text, 8 and true are not.
  static bool is_scalar(const YAML::Node& node, const std::string& type) {
    const bool quoted = node.Tag() == "!";
    const std::string& text = node.Scalar();
    const bool whole = std::regex_match(text, std::regex("-?[0-9]+"));
    const bool number = std::regex_match(text, std::regex("-?[0-9.]+(e-?[0-9]+)?"));
    const bool boolean = text == "true" || text == "false";
    return type == "str"     ? quoted || !(number || boolean || text == "null" || text == "yes" ||
                                       text == "no" || text == "on" || text == "off")
           : quoted          ? false
           : type == "int"   ? whole
           : type == "float" ? number
                             : boolean;
  }

  Json schemas_;
  std::vector<std::string> found_;
};

std::vector<std::string> problems_of(const std::string& text, const std::string& type) {
  return Checker().problems(YAML::Load(text), type);
}

struct Manifest {
  const char *file, *api, *kind, *type;
};

constexpr Manifest kManifests[] = {
    {"pytorchjob.yaml", "kubeflow.org/v1", "PyTorchJob", "PyTorchJob"},
    {"mpijob.yaml", "kubeflow.org/v2beta1", "MPIJob", "MPIJob"},
    {"trainjob.yaml", "trainer.kubeflow.org/v1alpha1", "TrainJob", "TrainerV1alpha1TrainJob"},
    {"clustertrainingruntime.yaml", "trainer.kubeflow.org/v1alpha1", "ClusterTrainingRuntime",
     "TrainerV1alpha1ClusterTrainingRuntime"},
    {"trainingruntime.yaml", "trainer.kubeflow.org/v1alpha1", "TrainingRuntime",
     "TrainerV1alpha1TrainingRuntime"},
};

// Pod specs of a job, by a name for messages.
std::vector<std::pair<std::string, YAML::Node>> pods(const Manifest& manifest,
                                                     const YAML::Node& job) {
  std::vector<std::pair<std::string, YAML::Node>> out;
  const YAML::Node spec = job["spec"];
  for (const char* key : {"pytorchReplicaSpecs", "mpiReplicaSpecs"}) {
    if (spec[key]) {
      for (const auto& replica : spec[key]) {
        out.emplace_back(std::string(manifest.file) + " " + replica.first.Scalar(),
                         replica.second["template"]["spec"]);
      }
    }
  }
  if (spec["template"]) {
    for (const YAML::Node& replicated : spec["template"]["spec"]["replicatedJobs"]) {
      out.emplace_back(manifest.file, replicated["template"]["spec"]["template"]["spec"]);
    }
  }
  return out;
}

TEST(Manifests, HaveOnlyWhatTheirKindsHave) {
  for (const Manifest& manifest : kManifests) {
    for (const bool rdma : {false, true}) {
      const auto parts = documents(manifest.file, rdma);
      ASSERT_EQ(parts.size(), 1u) << manifest.file;
      EXPECT_EQ(parts[0]["apiVersion"].Scalar(), manifest.api);
      EXPECT_EQ(parts[0]["kind"].Scalar(), manifest.kind);
      for (const std::string& problem : Checker().problems(parts[0], manifest.type)) {
        ADD_FAILURE() << manifest.file << (rdma ? " with rdma" : "") << ": " << problem;
      }
    }
  }
}

TEST(Manifests, TheCheckFindsMistakes) {
  const auto job = [](const std::string& spec) {
    return "apiVersion: a\nkind: b\nmetadata: {}\nspec: " + spec;
  };
  const std::string replicas = "pytorchReplicaSpecs: {}, runPolicy: {}";
  EXPECT_TRUE(problems_of(job("{" + replicas + R"(, nprocPerNode: "8"})"), "PyTorchJob").empty());
  EXPECT_EQ(problems_of(job("{" + replicas + ", nprocPerNode: 8}"), "PyTorchJob"),
            std::vector<std::string>{"PyTorchJob.spec.nprocPerNode is not of the type str"});
  EXPECT_EQ(problems_of(job("{" + replicas + ", elasticPolicy: {nprocPerNode: 8}}"), "PyTorchJob"),
            std::vector<std::string>{"PyTorchJob.spec.elasticPolicy.nprocPerNode is unknown"});
  EXPECT_EQ(problems_of(job("{}"), "TrainerV1alpha1TrainJob"),
            std::vector<std::string>{"TrainerV1alpha1TrainJob.spec.runtimeRef is missing"});
  EXPECT_EQ(problems_of(job(R"({runtimeRef: {name: x}, trainer: {numProcPerNode: "8"}})"),
                        "TrainerV1alpha1TrainJob")
                .size(),
            1u);
  EXPECT_EQ(
      problems_of("spec: {containers: [{name: a}], volumez: []}", "IoK8sApiCoreV1PodTemplateSpec"),
      std::vector<std::string>{"IoK8sApiCoreV1PodTemplateSpec.spec.volumez is unknown"});
  EXPECT_EQ(problems_of("spec: {containers: [{name: a, env: [{name: b, value: 1}]}]}",
                        "IoK8sApiCoreV1PodTemplateSpec")
                .size(),
            1u);
}

// A name that becomes a service's: letters, digits and '-', beginning with a letter.
TEST(Manifests, NamesAreLabels) {
  for (const Manifest& manifest : kManifests) {
    const std::string name =
        documents(manifest.file)[0]["metadata"]["name"].Scalar() + "-worker-99";
    EXPECT_TRUE(std::regex_match(name, std::regex("[a-z]([-a-z0-9]{0,61}[a-z0-9])?"))) << name;
  }
}

TEST(Manifests, RulesOfPyTorchJobsWebhook) {
  const YAML::Node job = documents("pytorchjob.yaml")[0];
  const YAML::Node replicas = job["spec"]["pytorchReplicaSpecs"];
  EXPECT_EQ(replicas["Master"]["replicas"].as<int>(), 1);
  for (const auto& replica : replicas) {
    EXPECT_TRUE(replica.first.Scalar() == "Master" || replica.first.Scalar() == "Worker");
    EXPECT_EQ(replica.second["restartPolicy"].Scalar(), "ExitCode");
    bool found = false;
    for (const YAML::Node& container : replica.second["template"]["spec"]["containers"]) {
      found = found || (container["name"].Scalar() == "pytorch" && container["image"]);
    }
    EXPECT_TRUE(found);
  }
  EXPECT_FALSE(job["spec"]["elasticPolicy"]);
  const std::string policy = job["spec"]["runPolicy"]["cleanPodPolicy"].Scalar();
  EXPECT_TRUE(policy == "Running" || policy == "None" || policy == "All");
}

TEST(Manifests, RulesOfTrainJobsWebhook) {
  const YAML::Node spec = documents("trainjob.yaml")[0]["spec"];
  ASSERT_TRUE(spec["trainer"]);  // nothing is injected without it
  EXPECT_GE(spec["trainer"]["numNodes"].as<int>(), 1);
  const std::set<std::string> reserved{"PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK",
                                       "PET_MASTER_ADDR", "PET_MASTER_PORT"};
  for (const YAML::Node& variable : spec["trainer"]["env"]) {
    EXPECT_FALSE(reserved.contains(variable["name"].Scalar())) << variable["name"].Scalar();
  }
  for (const char* file : {"clustertrainingruntime.yaml", "trainingruntime.yaml"}) {
    const YAML::Node runtime = documents(file)[0];
    EXPECT_EQ(runtime["metadata"]["name"].Scalar(), spec["runtimeRef"]["name"].Scalar());
    const YAML::Node jobs = runtime["spec"]["template"]["spec"]["replicatedJobs"];
    ASSERT_EQ(jobs.size(), 1u);
    EXPECT_EQ(jobs[0]["name"].Scalar(), "node");
    EXPECT_EQ(
        jobs[0]["template"]["metadata"]["labels"]["trainer.kubeflow.org/trainjob-ancestor-step"]
            .Scalar(),
        "trainer");
    const YAML::Node pod = jobs[0]["template"]["spec"]["template"]["spec"];
    EXPECT_EQ(pod["containers"][0]["name"].Scalar(), "node");
    EXPECT_EQ(pod["restartPolicy"].Scalar(), "Never");
  }
  EXPECT_EQ(spec["runtimeRef"]["kind"].Scalar(), "ClusterTrainingRuntime");
}

TEST(Manifests, RulesOfMpiJob) {
  const YAML::Node spec = documents("mpijob.yaml")[0]["spec"];
  EXPECT_EQ(spec["mpiReplicaSpecs"]["Launcher"]["replicas"].as<int>(), 1);
  const int workers = spec["mpiReplicaSpecs"]["Worker"]["replicas"].as<int>();
  EXPECT_GE(workers, 1);
  for (const auto& replica : spec["mpiReplicaSpecs"]) {
    const std::string policy = replica.second["restartPolicy"].Scalar();
    EXPECT_TRUE(policy == "Never" || policy == "OnFailure") << policy;
  }
  // mpirun starts as many processes as there are slots.
  const YAML::Node args =
      spec["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]["args"];
  ASSERT_EQ(args[0].Scalar(), "-n");
  EXPECT_EQ(args[1].as<int>(), workers * spec["slotsPerWorker"].as<int>());
  const std::string policy = spec["launcherCreationPolicy"].Scalar();
  EXPECT_TRUE(policy == "AtStartup" || policy == "WaitForWorkersReady");
}

// What decides over success in a pod: shared memory, storage, the recipe, and no volume without a
// mount or the other way about.
TEST(Manifests, PodsHaveMemoryStorageAndTheRecipe) {
  const YAML::Node volumes_of_kind =
      YAML::Load("{dshm: emptyDir, work: persistentVolumeClaim, recipe: configMap}");
  int pods_seen = 0;
  for (const Manifest& manifest : kManifests) {
    for (const bool rdma : {false, true}) {
      for (const auto& [where, pod] : pods(manifest, documents(manifest.file, rdma)[0])) {
        ++pods_seen;
        std::set<std::string> volumes, mounts;
        for (const YAML::Node& volume : pod["volumes"]) {
          volumes.insert(volume["name"].Scalar());
          EXPECT_TRUE(volume[volumes_of_kind[volume["name"].Scalar()].Scalar()]) << where;
          if (volume["name"].Scalar() == "dshm") {
            EXPECT_EQ(volume["emptyDir"]["medium"].Scalar(), "Memory") << where;
          }
        }
        std::string shm;
        for (const YAML::Node& mount : pod["containers"][0]["volumeMounts"]) {
          mounts.insert(mount["name"].Scalar());
          shm += mount["mountPath"].Scalar() == "/dev/shm" ? mount["name"].Scalar() : "";
        }
        EXPECT_EQ(volumes, mounts) << where;
        EXPECT_EQ(volumes.size(), 3u) << where;
        EXPECT_EQ(shm, "dshm") << where;
        const bool launcher = where.ends_with("Launcher");
        EXPECT_EQ(static_cast<bool>(pod["containers"][0]["securityContext"]), rdma && !launcher)
            << where;
      }
    }
  }
  EXPECT_EQ(pods_seen, 12);
}

TEST(Manifests, WhatTheyNameIsInCommon) {
  std::set<std::string> names;
  for (const YAML::Node& part : documents("common.yaml")) {
    names.insert(part["kind"].Scalar() + "/" + part["metadata"]["name"].Scalar());
  }
  EXPECT_EQ(names, (std::set<std::string>{"ConfigMap/sft-recipe", "Secret/sft-tokens",
                                          "PersistentVolumeClaim/sft-work"}));
  for (const Manifest& manifest : kManifests) {
    const std::string text = text_of(kDeploy / manifest.file, false);
    for (const std::string word : {"sft-tokens", "sft-work", "sft-recipe"}) {
      const bool is_runtime = text.find("kind: TrainJob") == std::string::npos;
      if (word != "sft-tokens" && !is_runtime) {
        continue;  // a TrainJob's volumes are its runtime's
      }
      if (word == "sft-tokens" && std::string(manifest.kind).ends_with("Runtime")) {
        continue;
      }
      EXPECT_NE(text.find(word), std::string::npos) << manifest.file << " " << word;
    }
  }
}

}  // namespace
}  // namespace sft
