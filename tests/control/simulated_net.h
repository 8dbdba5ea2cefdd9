// The simulation's clock, processes and network. Used by simulation.cpp.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <random>
#include <vector>

#include "control/wire.h"

namespace sft::simulated {

using control::Message;
using control::Time;
constexpr Time kNever = INT64_MAX / 4;

// Something that runs on a host, may stop for a while, and may die.
struct Process {
  int host = 0;
  bool alive = true;
  Time paused_until = 0;
  std::vector<int64_t> connections;
};
using ProcessPtr = std::shared_ptr<Process>;

class Net {
 public:
  explicit Net(uint64_t seed) : random_(seed) {}

  Time now() const { return now_; }
  uint64_t events() const { return events_; }
  uint64_t hash() const { return hash_; }
  int64_t draw(int64_t low, int64_t high) {  // both included
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  bool chance(int percent) { return draw(1, 100) <= percent; }
  // Mostly short, now and then long.
  Time delay() { return chance(97) ? draw(20, 3000) : draw(3000, 400'000); }

  // Runs the work after `after`, unless the process is dead by then; later when it is paused.
  void after(Time after, ProcessPtr who, std::function<void()> work) {
    push(now_ + after, [this, who = std::move(who), work = std::move(work)] { run_in(who, work); });
  }
  void world_after(Time after, std::function<void()> work) { push(now_ + after, std::move(work)); }
  // One event; false when there is none left before `end`.
  bool step(Time end) {
    if (queue_.empty() || queue_.top().at > end) {
      return false;
    }
    Event event = queue_.top();
    queue_.pop();
    now_ = event.at;
    ++events_;
    mix(static_cast<uint64_t>(now_));
    event.work();
    return true;
  }
  void mix(uint64_t value) { hash_ = (hash_ ^ value) * 0x100000001B3ULL; }

  void cut(int host, Time until) { cut_until_[host] = until; }
  // When two hosts hear each other again; now, when they do.
  Time reachable(int a, int b) const { return a == b ? now_ : std::max({now_, cut(a), cut(b)}); }

  struct End {
    ProcessPtr process;
    std::function<void(const Message&)> received;
    std::function<void()> closed;
    bool open = true;
    std::deque<std::optional<Message>> inbox;  // nothing stands for the end
    Time last = 0;
  };
  int64_t connect(End client, End server) {
    const int64_t id = ++last_id_;
    client.process->connections.push_back(id);
    server.process->connections.push_back(id);
    ends_[id] = {std::move(client), std::move(server)};
    return id;
  }
  // From side 0 (client) or 1.
  void send(int64_t id, int side, const Message& message) { put(id, 1 - side, message); }
  void close(int64_t id, int side) {
    if (const auto found = ends_.find(id); found != ends_.end()) {
      found->second[static_cast<size_t>(side)].open = false;
      put(id, 1 - side, std::nullopt);
    }
  }
  // Both sides are told that it broke, at once.
  void reset(int64_t id) {
    close(id, 0);
    if (const auto found = ends_.find(id); found != ends_.end()) {
      End& client = found->second[0];
      if (client.process->alive) {
        after(0, client.process, client.closed);
      }
    }
  }
  void kill(const ProcessPtr& process) {
    process->alive = false;
    for (const int64_t id : process->connections) {
      if (const auto found = ends_.find(id); found != ends_.end()) {
        close(id, found->second[0].process == process ? 0 : 1);
      }
    }
  }
  void pause(const ProcessPtr& process, Time until) {
    process->paused_until = std::max(process->paused_until, until);
  }
  std::vector<int64_t> connections() const {
    std::vector<int64_t> all;
    for (const auto& [id, ends] : ends_) {
      if (ends[0].open && ends[1].open) {
        all.push_back(id);
      }
    }
    return all;
  }

 private:
  struct Event {
    Time at;
    uint64_t number;
    std::function<void()> work;
    bool operator<(const Event& other) const {
      return at != other.at ? at > other.at : number > other.number;
    }
  };

  Time cut(int host) const {
    const auto found = cut_until_.find(host);
    return found == cut_until_.end() ? 0 : found->second;
  }
  void push(Time at, std::function<void()> work) {
    if (at < kNever) {
      queue_.push({at, ++numbers_, std::move(work)});
    }
  }
  void run_in(const ProcessPtr& who, const std::function<void()>& work) {
    if (!who->alive) {
      return;
    }
    if (who->paused_until > now_) {
      push(who->paused_until, [this, who, work] { run_in(who, work); });
    } else {
      work();
    }
  }
  void put(int64_t id, int side, std::optional<Message> message) {
    const auto found = ends_.find(id);
    if (found == ends_.end() || !found->second[static_cast<size_t>(side)].open) {
      return;
    }
    End& end = found->second[static_cast<size_t>(side)];
    end.inbox.push_back(std::move(message));
    end.last = std::max(end.last, now_ + delay());
    push(end.last, [this, id, side] { deliver(id, side); });
  }
  void deliver(int64_t id, int side) {
    const auto found = ends_.find(id);
    if (found == ends_.end()) {
      return;
    }
    End& end = found->second[static_cast<size_t>(side)];
    End& other = found->second[static_cast<size_t>(1 - side)];
    if (!end.process->alive || !end.open || end.inbox.empty()) {
      return;
    }
    const Time heard =
        std::max(reachable(end.process->host, other.process->host), end.process->paused_until);
    if (heard > now_) {
      push(heard, [this, id, side] { deliver(id, side); });
      return;
    }
    std::optional<Message> message = std::move(end.inbox.front());
    end.inbox.pop_front();
    if (message) {
      mix(static_cast<uint64_t>(message->type) + static_cast<uint64_t>(message->a));
      const auto received = end.received;
      received(*message);
    } else {
      end.open = false;
      const auto closed = end.closed;
      if (!other.open) {
        ends_.erase(id);
      }
      closed();
    }
  }

  std::mt19937_64 random_;
  Time now_ = 0;
  uint64_t numbers_ = 0, events_ = 0, hash_ = 0xCBF29CE484222325ULL;
  int64_t last_id_ = 0;
  std::priority_queue<Event> queue_;
  std::map<int64_t, std::array<End, 2>> ends_;
  std::map<int, Time> cut_until_;
};

}  // namespace sft::simulated
