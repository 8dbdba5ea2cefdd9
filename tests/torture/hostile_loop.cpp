// Strangers against running jobs: none may end, none may let one of them in, and what a job leaves
// must be, bit for bit, what it leaves in peace. Without a secret they come once all ranks are
// there; with one, from before the first rank.
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>

#include "control/secret.h"
#include "control/socket.h"
#include "core/fd.h"
#include "support/dial.h"
#include "torture/hostile_messages.h"
#include "torture/runs.h"

namespace sft {

namespace {

struct Job {
  const char* name;
  int ranks;
  bool secret, launched;  // launched: by `sft launch` as two machines
};
constexpr Job kJobs[] = {{"2 ranks, no secret", 2, false, false},
                         {"2 ranks with a secret", 2, true, false},
                         {"4 ranks, no secret", 4, false, false},
                         {"4 ranks with a secret", 4, true, false},
                         {"2 launchers with a secret", 2, true, true}};

// A port that was free a moment ago, and the one before it, which torchrun's agent would have.
int free_port() { return control::port_of(control::listen_on(0, true)->get()); }

// Threads that talk to a port for as long as they live.
class Strangers {
 public:
  Strangers(const HostileTarget& target, int port, uint64_t seed) : target_(target), port_(port) {
    for (uint64_t i = 0; i < 4; ++i) {
      threads_.emplace_back([this, seed, i] { work(seed * 4 + i); });
    }
  }
  ~Strangers() { stop(); }
  void stop() {
    over_ = true;
    for (std::thread& t : threads_) {
      t.join();
    }
    threads_.clear();
  }
  std::map<std::string, int64_t> counts;  // by kind, once stopped
  std::atomic<int64_t> let_in = 0;

 private:
  // What has been answered within `milliseconds`; the text of a challenge.
  std::string hear(int socket, control::FrameReader& reader, int milliseconds) {
    std::string nonce;
    pollfd waiting{socket, POLLIN, 0};
    while (::poll(&waiting, 1, milliseconds) > 0) {
      char buffer[4096];
      const ssize_t got = ::recv(socket, buffer, sizeof buffer, MSG_DONTWAIT);
      if (got <= 0) {
        break;
      }
      reader.add({buffer, static_cast<size_t>(got)});
      milliseconds = 0;
    }
    while (auto m = reader.next()) {
      using control::Type;
      nonce = m->type == Type::challenge ? m->text : nonce;
      let_in += m->type == Type::welcome || m->type == Type::start || m->type == Type::launch ||
                        m->type == Type::proven || m->type == Type::reply
                    ? 1
                    : 0;
    }
    return nonce;
  }

  void work(uint64_t seed) {
    std::mt19937_64 random(seed);
    std::map<std::string, int64_t> mine;
    std::deque<Fd> held;
    while (!over_) {
      const HostileTalk talk = hostile_talk(random, target_);
      Fd socket = dial(port_);
      if (!socket) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        continue;
      }
      control::FrameReader reader;
      reader.set_limit(control::kMaxFrame);
      bool first = true;
      std::string nonce;
      for (const std::string& piece : talk.pieces) {
        (void)!::send(socket.get(), piece.data(), piece.size(), MSG_NOSIGNAL);
        if (std::exchange(first, false) && talk.waits) {
          nonce = hear(socket.get(), reader, 50);
        }
      }
      if (talk.forges && nonce.size() == control::kNonceBytes) {
        const std::string forged = control::encode(
            {control::Type::prove, 0, 0, 0, "",
             control::proof(random() % 2 == 0 ? control::Side::member : control::Side::coordinator,
                            "guess", nonce, talk.pieces[0])});
        (void)!::send(socket.get(), forged.data(), forged.size(), MSG_NOSIGNAL);
      }
      hear(socket.get(), reader, random() % 8 == 0 ? 20 : 0);
      ++mine[talk.kind];
      if (talk.end == HostileTalk::End::reset) {
        const linger at_once{1, 0};
        ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      } else if (talk.end == HostileTalk::End::hold) {
        held.push_back(std::move(socket));
        if (held.size() > 40) {
          held.pop_front();
        }
      }
    }
    const std::lock_guard lock(mutex_);
    for (const auto& [kind, count] : mine) {
      counts[kind] += count;
    }
  }

  HostileTarget target_;
  int port_;
  std::atomic<bool> over_ = false;
  std::mutex mutex_;
  std::vector<std::thread> threads_;
};

std::vector<std::unique_ptr<Child>> start(const Settings& s, const Job& job, const fs::path& out,
                                          int port, int steps) {
  std::vector<std::unique_ptr<Child>> all;
  for (int rank = 0; rank < job.ranks; ++rank) {
    std::vector<std::string> words;
    Launch launch;
    const std::string number = std::to_string(rank), world = std::to_string(job.ranks);
    if (job.launched) {
      words = {"launch",        "--nnodes",  world,           "--node_rank",       number,
               "--master_addr", "127.0.0.1", "--master_port", std::to_string(port)};
    } else {  // as on machines of one rank each: the store listens for all
      launch.environment = {{"RANK", number},
                            {"WORLD_SIZE", world},
                            {"LOCAL_RANK", "0"},
                            {"LOCAL_WORLD_SIZE", "1"},
                            {"MASTER_ADDR", "127.0.0.1"},
                            {"MASTER_PORT", std::to_string(port - 1)}};
    }
    launch.environment["SFT_TOKEN"] = job.secret ? "5f0b7c0e4b6a" : "";
    const std::vector<std::string> rest = recipe(s, out);
    words.insert(words.end(), rest.begin(), rest.end());
    words.insert(words.end(), {"--max_steps", std::to_string(steps), "--save_steps", "50",
                               "--eval_steps", "50"});
    all.push_back(std::make_unique<Child>(s, words, launch));
  }
  return all;
}

}  // namespace

int hostile_loop(const Settings& s, int64_t messages) {
  Report report("strangers");
  const int steps = s.sample ? 60 : 400;
  std::map<int, std::string> peace;
  std::map<std::string, int64_t> counts;
  int64_t sent = 0, jobs = 0;
  const auto all = std::span(kJobs).first(s.sample ? 2 : std::size(kJobs));
  for (size_t i = 0; sent < messages || i % all.size() != 0; ++i) {
    const Job& job = all[i % all.size()];
    if (!peace.contains(job.ranks)) {
      const fs::path out = s.scratch / fmt::format("peace-{}", job.ranks);
      for (const auto& child : start(s, job, out, free_port(), steps)) {
        const Ended ended = child->end();
        if (ended.code != 0) {
          report.wrong(
              fmt::format("{} in peace ended with {}: {}", job.name, ended.code, ended.err));
          return report.end("nothing");
        }
      }
      peace[job.ranks] = outcome_of(out);
    }
    const fs::path out = s.scratch / fmt::format("strangers-{}", i);
    const int port = free_port();
    HostileTarget target{fmt::format("port {}", job.launched ? port : port - 1), job.ranks,
                         job.launched ? job.ranks : 0, job.secret};
    std::optional<Strangers> strangers;
    if (job.secret) {
      strangers.emplace(target, port, s.seed * 1000 + i);
    }
    const auto children = start(s, job, out, port, steps);
    if (!job.secret) {
      for (const double until = now() + 30; now() < until && !fs::exists(out / "metrics.jsonl");) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      strangers.emplace(target, port, s.seed * 1000 + i);
    }
    for (size_t rank = 0; rank < children.size(); ++rank) {
      children[rank]->wait(240);
      const Ended ended = children[rank]->end();
      if (ended.code != 0) {
        report.wrong(fmt::format("{}: rank {} ended with {} (signal {}): {}", job.name, rank,
                                 ended.code, ended.signal, ended.err));
      }
    }
    strangers->stop();
    if (strangers->let_in > 0) {
      report.wrong(
          fmt::format("{}: a stranger was let in, {} times", job.name, strangers->let_in.load()));
    }
    if (outcome_of(out) != peace[job.ranks] || peace[job.ranks].empty()) {
      report.wrong(fmt::format("{}: another log or other weights than in peace", job.name));
    }
    int64_t here = 0;
    for (const auto& [kind, count] : strangers->counts) {
      counts[kind] += count;
      here += count;
    }
    if (here == 0) {
      report.wrong(fmt::format("{}: no stranger came", job.name));
    }
    sent += here;
    ++jobs;
    std::error_code ignored;
    fs::remove_all(out, ignored);
  }
  std::string kinds;
  for (const auto& [kind, count] : counts) {
    kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", count, kind);
  }
  return report.end(fmt::format("{} jobs, {} hostile messages of {} kinds ({})", jobs, sent,
                                counts.size(), kinds));
}

}  // namespace sft
