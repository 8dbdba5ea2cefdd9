// `sft launch --nproc_per_node 8 --config …`: starts the ranks of this node, here and on other
// machines, and starts them again when one is lost. What is done when is decided by the state
// machines of comm; here are the processes, signals and the connection.
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "cli/commands.h"
#include "cli/launch.h"
#include "cli/launch_options.h"
#include "cli/rank_processes.h"
#include "cli/terminal.h"
#include "control/control_server.h"
#include "control/link.h"
#include "control/node_agent.h"
#include "core/error.h"
#include "core/fd.h"
#include "core/host_name.h"

namespace sft {

namespace {

using control::NodeAgent;
using control::Time;

// Blocks what the launcher listens to while it lives.
class Signals {
 public:
  Signals() {
    sigset_t wanted;
    sigemptyset(&wanted);
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD}) {
      sigaddset(&wanted, number);
    }
    ::sigprocmask(SIG_BLOCK, &wanted, &before_);
    fd_ = Fd(::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC));
  }
  ~Signals() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  int fd() const { return fd_.get(); }
  std::vector<int> take() {
    std::vector<int> numbers;
    signalfd_siginfo info{};
    while (::read(fd_.get(), &info, sizeof info) == sizeof info) {
      numbers.push_back(static_cast<int>(info.ssi_signo));
    }
    return numbers;
  }

 private:
  sigset_t before_{};
  Fd fd_;
};

class Launcher {
 public:
  Launcher(LaunchOptions options, Terminal& terminal)
      : options_(std::move(options)), terminal_(terminal) {
    // Made up once for all ranks: nobody else knows it when they are all on this machine.
    if (options_.nodes == 1 && options_.token.empty()) {
      options_.token =
          fmt::format("{:016x}{:016x}", control::random_number(), control::random_number());
    }
    if (options_.node_rank == 0) {
      control::CoordinatorSettings c;
      c.job = options_.job;
      c.token = options_.token;
      c.seed = control::random_seed();
      c.world = options_.nodes * options_.ranks;
      c.nodes = options_.nodes;
      c.max_restarts = options_.max_restarts;
      c.join_timeout = micros();
      const bool alone = options_.nodes == 1;
      server_ = std::make_unique<control::ControlServer>(
          c, std::vector<int>{alone ? 0 : options_.master_port}, alone);
      port_ = server_->port();
    } else {
      port_ = options_.master_port;
    }
    link_ = std::make_unique<control::Link>(store_host(), std::vector<int>{port_});
    agent_ = std::make_unique<NodeAgent>(agent_settings(), control::steady_now());
  }

  int run() {
    while (!exit_code_) {
      act();
      if (exit_code_) {
        break;
      }
      std::vector<pollfd> watched = processes_.watched();
      watched.push_back({signals_.fd(), POLLIN, 0});
      link_->flush();
      const Time wait =
          std::clamp<Time>(agent_->deadline() - control::steady_now(), 0, control::kSecond / 2);
      const control::LinkNews news = link_->wait(wait, &watched);
      control::tell(agent_->member(), news);
      processes_.take_output();
      const Time now = control::steady_now();
      for (const int number : signals_.take()) {
        if (number != SIGCHLD) {
          const bool stop = number == SIGTERM || number == SIGINT || number == SIGHUP;
          agent_->signalled(number, stop, now);
        }
      }
      for (const auto& [number, status] : processes_.reap()) {
        agent_->rank_ended(number, status, now);
      }
      say_causes();
      agent_->tick(control::steady_now());
    }
    processes_.end();
    say_causes();
    return *exit_code_;
  }

 private:
  Time micros() const { return static_cast<Time>(options_.join_timeout * 1e6); }
  std::string store_host() const {
    return options_.node_rank == 0 ? "127.0.0.1" : options_.master_addr;
  }

  control::AgentSettings agent_settings() const {
    control::AgentSettings s;
    s.member.hello = {
        options_.job, "", 0, options_.node_rank, options_.nodes, control::random_number(),
        host_name()};
    s.member.token = options_.token;
    s.member.seed = control::random_seed();
    s.member.ranks_here = options_.ranks;
    s.member.join_timeout = micros();
    s.member.place = fmt::format("{} port {}", store_host(), port_);
    s.ranks = options_.ranks;
    s.first_rank = options_.node_rank * options_.ranks;
    s.max_restarts = options_.max_restarts;
    return s;
  }

  void start(int64_t attempt) {
    std::vector<RankProcesses::Start> all;
    for (int local = 0; local < options_.ranks; ++local) {
      RankProcesses::Start s;
      s.rank = options_.node_rank * options_.ranks + local;
      s.shown = s.rank == 0;
      s.argv = {"sft"};
      s.argv.insert(s.argv.end(), options_.training.begin(), options_.training.end());
      const auto text = [](auto number) { return fmt::format("{}", number); };
      s.variables = {{"RANK", text(s.rank)},
                     {"LOCAL_RANK", text(local)},
                     {"WORLD_SIZE", text(options_.nodes * options_.ranks)},
                     {"LOCAL_WORLD_SIZE", text(options_.ranks)},
                     {"GROUP_RANK", text(options_.node_rank)},
                     {"GROUP_WORLD_SIZE", text(options_.nodes)},
                     {"MASTER_ADDR", store_host()},
                     {"MASTER_PORT", text(options_.master_port)},
                     {"TORCHELASTIC_RESTART_COUNT", text(attempt)},
                     {"TORCHELASTIC_MAX_RESTARTS", text(options_.max_restarts)},
                     {"TORCHELASTIC_RUN_ID", options_.job},
                     {"SFT_LAUNCHED", "1"},
                     {"SFT_LAUNCH_ID", id_},
                     {"SFT_STORE_PORT", text(port_)},
                     {"SFT_JOB_ID", options_.job},
                     {"SFT_TOKEN", options_.token},
                     {"SFT_TOKEN_FILE", ""}};  // read here, for all of them
      all.push_back(std::move(s));
    }
    processes_.start(all);
  }

  void act() {
    agent_->pump(control::steady_now());
    for (NodeAgent::Action& a : agent_->take_actions()) {
      switch (a.kind) {
        case NodeAgent::Action::Kind::open:
          link_->open(a.number);
          break;
        case NodeAgent::Action::Kind::send:
          link_->send(a.message);
          break;
        case NodeAgent::Action::Kind::close:
          link_->close();
          break;
        case NodeAgent::Action::Kind::start:
          say_causes();
          if (a.restart) {
            terminal_.say(
                fmt::format("sft launch: attempt {} of {} begins, from the newest checkpoint "
                            "of this run",
                            a.attempt + 1, options_.max_restarts + 1));
          }
          start(a.attempt);
          break;
        case NodeAgent::Action::Kind::signal:
          processes_.signal(a.number);
          break;
        case NodeAgent::Action::Kind::kill:
          processes_.signal(SIGKILL);
          break;
        case NodeAgent::Action::Kind::say:
          causes_.push_back(a.text);
          say_causes();
          break;
        case NodeAgent::Action::Kind::waits:
          terminal_.say("sft launch: " + a.text);
          break;
        case NodeAgent::Action::Kind::leave:
          exit_code_ = a.number;
          break;
      }
    }
  }

  // Once the ranks have ended: what some of them have said themselves is not said again.
  void say_causes() {
    if (processes_.any_alive()) {
      return;
    }
    const std::string errors = processes_.take_errors();
    if (!errors.empty()) {
      terminal_.say(errors.substr(0, errors.size() - 1));
    }
    for (const std::string& cause : std::exchange(causes_, {})) {
      constexpr std::string_view kStopped = " stopped: ";
      const size_t reason = cause.find(kStopped);
      const size_t message =
          reason == std::string::npos ? reason : cause.find(' ', reason + kStopped.size());
      const bool in_errors =
          errors.find(message == std::string::npos ? cause : cause.substr(message + 1)) !=
          std::string::npos;
      const bool by_rank_0 =
          processes_.shown_spoke() && cause.find(" ended with ") == std::string::npos;
      if (!in_errors && !by_rank_0) {
        terminal_.say("sft launch: " + cause);
      }
    }
  }

  LaunchOptions options_;
  // What a restarted run finds its own checkpoints by.
  const std::string id_ = fmt::format("{:016x}", control::random_number());
  Terminal& terminal_;
  Signals signals_;  // before any thread begins: they must not take the signals
  std::unique_ptr<control::ControlServer> server_;
  int port_ = 0;
  RankProcesses processes_;
  std::unique_ptr<control::Link> link_;
  std::unique_ptr<NodeAgent> agent_;
  std::optional<int> exit_code_;
  std::vector<std::string> causes_;  // not said yet
};

}  // namespace

int run_launch(Args args, Terminal& terminal) {
  return launch_ranks(args, surrounding_launch(), terminal);
}

int launch_ranks(Args args, const LaunchEnvironment& environment, Terminal& terminal) {
  const LaunchOptions options = read_launch_options(args, environment);
  require_secret(options.require_token, options.nodes, options.token);
  terminal.say(fmt::format(
      "sft launch: {} rank{} on node {} of {}{}", options.ranks, options.ranks == 1 ? "" : "s",
      options.node_rank, options.nodes,
      options.nodes == 1
          ? ""
          : fmt::format("; node 0 is {} port {}", options.master_addr, options.master_port)));
  if (options.nodes > 1 && options.token.empty()) {
    terminal.say(no_secret_line(options.master_port));
  }
  return Launcher(options, terminal).run();
}

}  // namespace sft
