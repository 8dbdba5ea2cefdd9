// Runs of several processes that `sft launch` starts, and what becomes of them when one is killed,
// stops, or loses the others. The two machines of the last test are network namespaces.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <regex>
#include <thread>

#include "comm/communicator.h"
#include "core/fd.h"
#include "core/file_writer.h"
#include "io/checkpoint_manifest.h"
#include "support/paths.h"
#include "torture/runs.h"

namespace sft {
namespace {

using Words = std::vector<std::string>;

constexpr int kEndsAll = 140;
const std::regex kOperation("(all-reduce|reduce-scatter|all-gather) of ");

bool wait_for(double seconds, const std::function<bool()>& what) {
  for (const double until = now() + seconds; now() < until;) {
    if (what()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

// A port that was free a moment ago.
int free_port() {
  const Fd socket(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const auto any = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(socket.get(), any, size), 0);
  EXPECT_EQ(::getsockname(socket.get(), any, &size), 0);
  return ntohs(address.sin_port);
}

class LaunchTest : public ::testing::Test {
 protected:
  LaunchTest() {
    settings_.sft = SFT_BINARY;
    settings_.model = SFT_TEST_DIR "/../examples/tiny-model";
    settings_.scratch = fs::temp_directory_path() / fmt::format("sft_launch_{}", ::getpid());
    fs::remove_all(settings_.scratch);
    fs::create_directories(settings_.scratch);
    make_data(settings_);
  }
  ~LaunchTest() override { fs::remove_all(settings_.scratch); }
  void SetUp() override {
    if (!gloo_built()) {
      GTEST_SKIP() << "built without Gloo, which ranks on CPUs need";
    }
  }

  Words two_ranks(const std::string& out, const Words& more, int restarts = 0) const {
    return ranks_by({"launch", "--nproc_per_node", "2", "--max_restarts", std::to_string(restarts)},
                    out, more);
  }
  // The run as whatever begins with `words` starts it.
  Words ranks_by(Words words, const std::string& out, const Words& more) const {
    const Words rest = recipe(settings_, settings_.scratch / out);
    words.insert(words.end(), rest.begin(), rest.end());
    words.insert(words.end(), {"--zero_stage", "2"});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  fs::path out(const std::string& name) const { return settings_.scratch / name; }
  // Waits until the run has saved a checkpoint.
  bool trains(const std::string& name) const {
    return wait_for(30, [&] { return !list_checkpoints(out(name)).empty(); });
  }
  void expect_whole_checkpoints(const std::string& name) const {
    for (const std::string& broken : broken_checkpoints(out(name))) {
      ADD_FAILURE() << broken;
    }
  }

  Settings settings_;
};

const Words kLong = {"--max_steps", "100000"};

TEST_F(LaunchTest, AKilledRankEndsAllAtOnceAtWhateverMoment) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 4; ++round) {
    const std::string name = fmt::format("killed-{}", round);
    Child run(settings_, two_ranks(name, kLong));
    ASSERT_TRUE(wait_for(30, [&] { return ranks_of(run.pid()).size() == 2; }));
    const int rank = static_cast<int>(random() % 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 2000));
    ASSERT_EQ(::kill(ranks_of(run.pid()).at(rank), SIGKILL), 0);
    EXPECT_TRUE(run.wait(10)) << "it did not end: " << run.said();
    const Ended ended = run.end();
    EXPECT_EQ(ended.code, kEndsAll) << ended.err;
    EXPECT_NE(ended.err.find(fmt::format("rank {} on ", rank)), std::string::npos) << ended.err;
    expect_whole_checkpoints(name);
  }
}

TEST_F(LaunchTest, AStoppedRankEndsAllWithinTheTimeoutAndIsNamedWithTheOperation) {
  constexpr int kTimeout = 4;
  for (const int rank : {0, 1}) {
    const std::string name = fmt::format("stopped-{}", rank);
    Words more = kLong;
    more.insert(more.end(), {"--ddp_timeout", std::to_string(kTimeout)});
    Child run(settings_, two_ranks(name, more));
    ASSERT_TRUE(trains(name)) << run.said();
    const double began = now();
    ASSERT_EQ(::kill(ranks_of(run.pid()).at(rank), SIGSTOP), 0);
    EXPECT_TRUE(run.wait(kTimeout + 15)) << run.said();
    const Ended ended = run.end();
    EXPECT_GE(now() - began, kTimeout - 1);
    EXPECT_EQ(ended.code, kEndsAll) << ended.err;
    EXPECT_NE(ended.err.find(fmt::format("rank {} is behind: rank {} on ", rank, rank)),
              std::string::npos)
        << ended.err;
    EXPECT_TRUE(std::regex_search(ended.err, kOperation)) << ended.err;
    EXPECT_NE(ended.err.find(" at step "), std::string::npos) << ended.err;
    expect_whole_checkpoints(name);
  }
}

TEST_F(LaunchTest, ARestartGoesOnToTheSameWeights) {
  const Ended whole = run(settings_, two_ranks("whole", {}));
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_NE(whole.err.find("ranks: 2, through Gloo"), std::string::npos) << whole.err;
  const std::string expected = outcome_of(out("whole"));
  ASSERT_FALSE(expected.empty());
  int restarted = 0;
  std::mt19937_64 random(5);
  for (int round = 0; round < 3; ++round) {
    const std::string name = fmt::format("again-{}", round);
    Child run(settings_, two_ranks(name, {}, 1));
    ASSERT_TRUE(trains(name)) << run.said();
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 100));
    const auto ranks = ranks_of(run.pid());
    const auto victim = ranks.find(static_cast<int>(random() % 2));
    if (victim != ranks.end()) {
      ::kill(victim->second, SIGKILL);
    }
    const Ended ended = run.end();
    EXPECT_EQ(ended.code, 0) << ended.err;
    EXPECT_TRUE(outcome_of(out(name)) == expected) << ended.err;
    restarted += ended.err.find("attempt 2 of 2 begins") != std::string::npos ? 1 : 0;
  }
  EXPECT_GT(restarted, 0);
}

TEST_F(LaunchTest, ASecretCanBeInsistedOn) {
  Launch launch;
  launch.environment = {
      {"RANK", "0"},         {"WORLD_SIZE", "2"},          {"LOCAL_RANK", "0"},
      {"SFT_TOKEN", ""},     {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "29500"},
      {"SFT_TOKEN_FILE", ""}};
  Words words = recipe(settings_, out("insists"));
  words.push_back("--require_token");
  const Ended ended = run(settings_, words, launch);
  EXPECT_EQ(ended.code, 2) << ended.err;
  EXPECT_NE(ended.err.find("error[C137]: "), std::string::npos) << ended.err;
  launch.environment = {{"SFT_TOKEN", ""}, {"SFT_TOKEN_FILE", "/none"}};
  const Ended unreadable = run(settings_, recipe(settings_, out("insists")), launch);
  EXPECT_EQ(unreadable.code, 2) << unreadable.err;
  EXPECT_NE(unreadable.err.find("error[C136]: "), std::string::npos) << unreadable.err;
  Words launcher = {"launch", "--nnodes", "2", "--node_rank", "0", "--require_token"};
  launcher.insert(launcher.end(), words.begin(), words.end());
  launch.environment = {{"SFT_TOKEN", ""}, {"SFT_TOKEN_FILE", ""}};
  const Ended two = run(settings_, launcher, launch);
  EXPECT_EQ(two.code, 2) << two.err;
  EXPECT_NE(two.err.find("error[C137]: "), std::string::npos) << two.err;
}

TEST_F(LaunchTest, ALauncherThatWaitsForOthersStopsWhenItIsTold) {
  const std::string port = std::to_string(free_port());
  Child run(settings_, ranks_by({"launch", "--nnodes", "2", "--node_rank", "0", "--master_port",
                                 port, "--nproc_per_node", "1"},
                                "waits", {}));
  ASSERT_TRUE(wait_for(20, [&] {
    return run.said().find("waiting for node 1 of 2 to come") != std::string::npos;
  })) << run.said();
  ASSERT_EQ(::kill(run.pid(), SIGTERM), 0);
  EXPECT_TRUE(run.wait(10)) << run.said();
  EXPECT_EQ(run.end().code, 143);
}

// Kubeflow's and Slurm's variables, where one process is all there is to start.
TEST_F(LaunchTest, WhatLaunchersWriteIntoTheirVariablesTrainsOrIsRefused) {
  struct Case {
    std::map<std::string, std::string> set;
    int code;
    std::string says;
  };
  const std::map<std::string, std::string> batch = {
      {"SLURM_JOB_ID", "7"},  {"SLURM_NTASKS", "2"}, {"SLURM_PROCID", "0"},
      {"SLURM_LOCALID", "0"}, {"SLURM_NODEID", "0"}, {"SLURM_JOB_NUM_NODES", "2"}};
  for (const Case& c : {Case{{{"PET_NPROC_PER_NODE", "auto"}}, 0, "node variables (PET_*)"},
                        Case{{{"PET_NPROC_PER_NODE", "2"}}, 0, "2 ranks on node 0 of 1"},
                        Case{{{"PET_NPROC_PER_NODE", "gpu"}}, 2, "error[C130]: "},
                        Case{{{"PET_NPROC_PER_NODE", "xpu"}}, 2, "error[C130]: "},
                        Case{{{"PET_NPROC_PER_NODE", "0"}}, 2, "error[C130]: "},
                        Case{{{"PET_NNODES", ":"}}, 2, "error[C130]: "},
                        Case{batch, 0, "Slurm has set 2 processes or machines aside"}}) {
    Launch launch;
    launch.environment = c.set;
    launch.environment["CUDA_VISIBLE_DEVICES"] = "";
    Words words = recipe(settings_, out("value"));
    words.insert(words.end(), {"--max_steps", "1", "--overwrite_output_dir"});
    fs::remove_all(out("value"));
    const Ended ended = run(settings_, words, launch);
    EXPECT_EQ(ended.code, c.code) << c.says << "\n" << ended.err;
    EXPECT_NE(ended.err.find(c.says), std::string::npos) << ended.err;
  }
}

// Open MPI's own launcher gives what ours gives.
TEST_F(LaunchTest, MpirunStartsTheSameRun) {
  Settings mpi = settings_;
  mpi.sft = "/usr/bin/mpirun";
  if (!fs::exists(mpi.sft)) {
    GTEST_SKIP() << "openmpi-bin is not installed";
  }
  const Ended ours = run(settings_, two_ranks("ours", {}));
  ASSERT_EQ(ours.code, 0) << ours.err;
  const Ended theirs =
      run(mpi, ranks_by({"--allow-run-as-root", "--oversubscribe", "-np", "2", settings_.sft},
                        "theirs", {}));
  ASSERT_EQ(theirs.code, 0) << theirs.err;
  EXPECT_NE(theirs.err.find("mpirun: rank 0 of 2"), std::string::npos) << theirs.err;
  EXPECT_TRUE(outcome_of(out("theirs")) == outcome_of(out("ours")));
}

TEST_F(LaunchTest, SigtermStopsAllAfterTheSameStepAndIsSavedOnce) {
  Child run(settings_, two_ranks("asked", kLong));
  ASSERT_TRUE(trains("asked")) << run.said();
  ASSERT_EQ(::kill(run.pid(), SIGTERM), 0);
  const Ended ended = run.end();
  EXPECT_EQ(ended.code, 143) << ended.err;
  EXPECT_NE(ended.err.find("--resume_from_checkpoint"), std::string::npos) << ended.err;
  expect_whole_checkpoints("asked");
}

TEST_F(LaunchTest, AnErrorIsSaidOnce) {
  for (const Words& wrong : {Words{"--model_name_or_path", "/none"}, Words{"--learning_rat", "1"},
                             Words{"--dataset_name", "/none.jsonl"}}) {
    const Ended ended = run(settings_, two_ranks("wrong", wrong));
    EXPECT_GT(ended.code, 0);
    EXPECT_LT(ended.code, 128);
    const size_t first = ended.err.find("error[");
    ASSERT_NE(first, std::string::npos) << ended.err;
    EXPECT_EQ(ended.err.find("error[", first + 1), std::string::npos) << ended.err;
    EXPECT_EQ(ended.err.find("stopped: "), std::string::npos) << ended.err;
  }
}

// Two ranks with folders of their own, which a scheduler would have started.
TEST_F(LaunchTest, RanksWithOtherDataOrAnotherModelAreNamed) {
  struct Case {
    std::string file, from, to, says;
  };
  for (const Case& c :
       {Case{"model/config.json", "\"rms_norm_eps\": 1e", "\"rms_norm_eps\": 2e",
             "rms_norm_eps of config.json is "},
        Case{"train.jsonl", "{\"text\"", "{\"text\": \"one more\"}\n{\"text\"",
             "the number of rows of the training data is 120 on rank 0, 121 on rank 1"}}) {
    const int port = free_port();
    std::vector<std::unique_ptr<Child>> ranks;
    for (int rank = 0; rank < 2; ++rank) {
      const fs::path home = settings_.scratch / fmt::format("home-{}", rank);
      fs::remove_all(home);
      fs::create_directories(home);
      fs::copy(settings_.model, home / "model", fs::copy_options::recursive);
      fs::copy(settings_.scratch / "train.jsonl", home / "train.jsonl");
      if (rank == 1) {
        std::string text = read_text(home / c.file);
        const size_t at = text.find(c.from);
        ASSERT_NE(at, std::string::npos) << text;
        write_text(home / c.file, text.replace(at, c.from.size(), c.to));
      }
      Launch launch;
      launch.environment = {
          {"RANK", std::to_string(rank)},       {"WORLD_SIZE", "2"},
          {"LOCAL_RANK", std::to_string(rank)}, {"LOCAL_WORLD_SIZE", "2"},
          {"MASTER_ADDR", "127.0.0.1"},         {"MASTER_PORT", std::to_string(port)}};
      launch.in_child = [home] {
        if (::chdir(home.c_str()) != 0) {
          ::_exit(125);
        }
      };
      ranks.push_back(std::make_unique<Child>(
          settings_,
          Words{"--model_name_or_path", "model", "--dataset_name", "train.jsonl", "--output_dir",
                "out", "--use_cpu", "--threads", "1", "--max_steps", "2"},
          launch));
    }
    for (int rank = 0; rank < 2; ++rank) {
      const Ended ended = ranks[static_cast<size_t>(rank)]->end();
      EXPECT_EQ(ended.code, 2) << ended.err;
      EXPECT_NE(ended.err.find("error[C150]: the ranks do not agree on the model and data: "),
                std::string::npos)
          << ended.err;
      EXPECT_NE(ended.err.find(c.says), std::string::npos) << ended.err;
      EXPECT_NE(ended.err.find(" on rank 0, "), std::string::npos) << ended.err;
    }
  }
}

bool shell(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

// Two network namespaces with one cable between them; they go with this object.
class TwoMachines {
 public:
  TwoMachines() : a_(fmt::format("sft{}a", ::getpid())), b_(fmt::format("sft{}b", ::getpid())) {
    up_ = ::geteuid() == 0 && shell("ip netns add " + a_) && shell("ip netns add " + b_) &&
          shell(fmt::format("ip -n {} link add cable type veth peer name cable netns {}", a_, b_));
    int number = 1;
    for (const std::string& name : {a_, b_}) {
      up_ = up_ &&
            shell(fmt::format("ip -n {} addr add 10.87.3.{}/24 dev cable", name, number++)) &&
            shell(fmt::format("ip -n {} link set cable up", name)) &&
            shell(fmt::format("ip -n {} link set lo up", name)) &&
            shell(fmt::format("ip netns exec {} unshare --uts true", name));
    }
  }
  ~TwoMachines() {
    shell("ip netns del " + a_);
    shell("ip netns del " + b_);
  }
  TwoMachines(const TwoMachines&) = delete;
  TwoMachines& operator=(const TwoMachines&) = delete;

  bool up() const { return up_; }
  bool cut() const { return shell(fmt::format("ip -n {} link set cable down", a_)); }
  // What makes a command run on machine `number`, which is called so.
  Words on(int number) const {
    const std::string name = fmt::format("hostname machine-{}; exec \"$@\"", number);
    return {"ip", "netns", "exec", number == 0 ? a_ : b_, "unshare", "--uts", "sh",
            "-c", name,    "sh"};
  }

 private:
  std::string a_, b_;
  bool up_ = false;
};

TEST_F(LaunchTest, TwoMachinesEndWhenTheirLinkIsCut) {
  const TwoMachines machines;
  if (!machines.up()) {
    GTEST_SKIP() << "network namespaces need root, ip (iproute2) and unshare";
  }
  const auto start = [&](int node, const std::string& name, const Words& more) {
    Words words = {"launch",
                   "--nnodes",
                   "2",
                   "--node_rank",
                   std::to_string(node),
                   "--nproc_per_node",
                   "1",
                   "--master_addr",
                   "10.87.3.1",
                   "--zero_stage",
                   "2"};
    const Words rest = recipe(settings_, out(name));
    words.insert(words.end(), rest.begin(), rest.end());
    words.insert(words.end(), more.begin(), more.end());
    Launch launch;
    launch.before = machines.on(node);
    return std::make_unique<Child>(settings_, words, launch);
  };
  {
    const auto first = start(0, "joined", {}), second = start(1, "joined", {});
    const Ended a = first->end(), b = second->end();
    EXPECT_EQ(a.code, 0) << a.err;
    EXPECT_EQ(b.code, 0) << b.err;
  }
  const Ended one_machine = run(settings_, two_ranks("alone", {}));
  EXPECT_EQ(one_machine.code, 0) << one_machine.err;
  EXPECT_TRUE(outcome_of(out("joined")) == outcome_of(out("alone"))) << "other weights or losses";

  const auto first = start(0, "cut", kLong), second = start(1, "cut", kLong);
  ASSERT_TRUE(trains("cut")) << first->said() << second->said();
  ASSERT_TRUE(machines.cut());
  const double began = now();
  const Ended a = first->end(), b = second->end();
  EXPECT_LT(now() - began, 45);  // 10 s of silence, 5 s of grace, 10 s to find each other again
  for (const Ended& ended : {a, b}) {
    EXPECT_EQ(ended.code, kEndsAll) << ended.err;
    EXPECT_TRUE(std::regex_search(ended.err, kOperation)) << ended.err;
    EXPECT_NE(ended.err.find(" at step "), std::string::npos) << ended.err;
  }
  EXPECT_NE(a.err.find("rank 1 on machine-1 "), std::string::npos) << a.err;
  EXPECT_NE(b.err.find("rank 1 on machine-1 was in "), std::string::npos) << b.err;
  expect_whole_checkpoints("cut");
}

}  // namespace
}  // namespace sft
