#include "control/control_client.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "control/codes.h"
#include "control/control_server.h"
#include "control/link.h"
#include "control/meetings.h"
#include "control/member.h"
#include "control/socket.h"
#include "core/threads.h"

namespace sft {

namespace {

using control::Cause;
using control::kOtherRun;
using control::kOtherSecret;
using control::kOtherSize;
using control::kTaken;
using control::Member;
using control::Message;
using control::Time;
using control::Type;

Time micros(double seconds) { return static_cast<Time>(seconds * 1e6); }

control::MemberSettings member_settings(const JoinSettings& s) {
  control::MemberSettings m;
  m.hello = {s.job, "", s.attempt, s.rank, s.world, control::random_number(), s.host};
  m.token = s.token;
  m.seed = control::random_seed();
  m.addresses = static_cast<int>(s.ports.size());
  m.join_timeout = micros(s.join_timeout);
  m.silence = micros(s.silence);
  m.operation_timeout = micros(s.operation_timeout);
  const bool row =
      s.ports.size() > 2 && s.ports.back() - s.ports.front() + 1 == std::ssize(s.ports);
  m.place = row ? fmt::format("{} ports {}-{}", s.master, s.ports.front(), s.ports.back())
                : fmt::format("{} port {}", s.master, fmt::join(s.ports, ", "));
  return m;
}

// For those whom a run has refused.
std::string way_out(Code code) {
  if (code == kOtherSecret) {
    return "give all machines of one run the same SFT_TOKEN or SFT_TOKEN_FILE";
  }
  if (code == kOtherSize || code == kOtherRun || code == kTaken) {
    return "give each run a MASTER_PORT of its own, and all its ranks the same WORLD_SIZE";
  }
  return "";
}

class RemoteControl final : public RankControl {
 public:
  explicit RemoteControl(const JoinSettings& s)
      : settings_(s),
        server_(serve(s)),
        link_(s.master, s.ports),
        member_(member_settings(s), control::steady_now()),
        thread_(start_thread("word from the other ranks", [this] { run(); })) {}

  ~RemoteControl() override {
    quit_ = true;
    link_.wake();
    thread_.join();
  }

  void wait_for_start() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return started_ || failure_; });
    throw_failure();
  }

  int rank() const override { return settings_.rank; }
  int size() const override { return settings_.world; }
  Seconds timeout() const override { return Seconds(settings_.operation_timeout); }

  void begin_operation(std::string_view name) override {
    operations_.begin(std::string(name), control::steady_now());
  }
  void end_operation() override { operations_.end(control::steady_now()); }
  OperationLane& open_lane() override { return operations_.open_lane(); }
  void progress(int64_t step) override { operations_.progress(step, control::steady_now()); }

  std::optional<Error> failure(Seconds wait) override {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, wait, [&] { return failure_ != nullptr; });
    return failure_ ? std::optional<Error>(*failure_) : std::nullopt;
  }

  std::shared_ptr<void> on_failure(std::function<void(const Error&)> callback) override {
    auto entry = std::make_shared<Callback>();
    entry->call = std::move(callback);
    {
      const std::lock_guard lock(mutex_);
      if (!failure_) {
        callbacks_.push_back(entry);
        entry->listed = true;
      }
    }
    if (!entry->listed) {
      entry->once(*failure_);
    }
    return std::shared_ptr<void>(entry.get(), [entry](void*) {
      const std::lock_guard lock(entry->mutex);  // a call under way ends first
      entry->call = nullptr;
    });
  }

  void check() override {
    if (has_failed_) {
      const std::lock_guard lock(mutex_);
      throw_failure();
    }
  }

  void fail(const Error& why) override {
    std::unique_lock lock(mutex_);
    member_.fail({settings_.rank, why.code(), why.message(), static_cast<int>(why.exit_code())});
    link_.wake();
    changed_.wait_for(lock, std::chrono::seconds(1), [&] { return failure_ && drained_; });
  }

  void set(const std::string& key, std::string_view value) override {
    ask(Type::set, key, std::string(value), 0);
  }
  std::string get(const std::string& key, Seconds wait) override {
    return ask(Type::get, key, "", time_of(wait)).text;
  }
  int64_t add(const std::string& key, int64_t amount) override {
    return ask(Type::add, key, "", amount).b;
  }
  std::string compare_set(const std::string& key, std::string_view expected,
                          std::string_view wanted) override {
    return ask(Type::compare, key, fmt::format("{}{}", expected, wanted),
               static_cast<int64_t>(expected.size()))
        .text;
  }
  void barrier(const std::string& name, Seconds wait) override {
    ask(Type::barrier, name, "", time_of(wait));
  }
  void agree(const std::string& name, const Facts& facts) override {
    ask(Type::agree, name, control::encode_facts(facts), time_of({}));
  }

  void finish() override {
    std::unique_lock lock(mutex_);
    throw_failure();
    member_.finish();
    link_.wake();
    changed_.wait(lock, [&] { return released_ || failure_; });
    throw_failure();
  }

 private:
  struct Callback {
    std::mutex mutex;
    std::function<void(const Error&)> call;
    bool listed = false;
    void once(const Error& why) {
      const std::lock_guard lock(mutex);
      if (call) {
        std::exchange(call, nullptr)(why);
      }
    }
  };

  static std::unique_ptr<control::ControlServer> serve(const JoinSettings& s) {
    if (!s.serve) {
      return nullptr;
    }
    control::CoordinatorSettings c;
    c.job = s.job;
    c.token = s.token;
    c.seed = control::random_seed();
    c.world = s.world;
    c.attempt = s.attempt;
    c.join_timeout = micros(s.join_timeout);
    c.silence = micros(s.silence);
    return std::make_unique<control::ControlServer>(c, s.ports, s.loopback);
  }

  int64_t time_of(Seconds wait) const {
    return micros(wait.count() > 0 ? wait.count() : settings_.operation_timeout);
  }

  void throw_failure() const {
    if (failure_) {
      throw Error(*failure_);
    }
  }

  Message ask(Type type, const std::string& key, std::string text, int64_t number) {
    if (key.size() > control::kMaxKey || text.size() > control::kMaxValue) {
      throw Error("N025", fmt::format("\"{}\" of {} bytes is too much for the store",
                                      key.substr(0, 80), text.size()));
    }
    std::unique_lock lock(mutex_);
    throw_failure();
    const int64_t id = ++last_request_;
    waiting_[id];
    member_.request({type, id, number, 0, key, std::move(text)});
    link_.wake();
    changed_.wait(lock, [&] { return waiting_[id] || failure_; });
    const auto answer = std::move(waiting_[id]);
    waiting_.erase(id);
    if (!answer) {
      throw_failure();
    }
    if (answer->type == Type::problem) {
      throw Error(code_of(*answer), answer->text);
    }
    return *answer;
  }

  void run() {
    std::vector<Member::Action> actions;
    while (!quit_) {
      std::vector<std::shared_ptr<Callback>> to_call;
      Time wait = 0;
      {
        const std::lock_guard lock(mutex_);
        if (const Time now = control::steady_now(); now >= member_.deadline()) {
          member_.tick(now);
        }
        act(to_call);
        link_.flush();
        drained_ = link_.drained();
        wait = member_.deadline() - control::steady_now();
        changed_.notify_all();
      }
      for (const auto& callback : to_call) {
        callback->once(*failure_);
      }
      const control::LinkNews news = link_.wait(std::clamp<Time>(wait, 0, control::kSecond));
      const std::lock_guard lock(mutex_);
      tell(member_, news);
    }
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<Callback>> nobody;
    act(nobody);
    link_.flush();
  }

  void act(std::vector<std::shared_ptr<Callback>>& to_call) {
    for (auto actions = member_.take_actions(); !actions.empty();
         actions = member_.take_actions()) {
      for (Member::Action& a : actions) {
        switch (a.kind) {
          case Member::Action::Kind::open:
            link_.open(a.address);
            break;
          case Member::Action::Kind::send:
            link_.send(a.message);
            break;
          case Member::Action::Kind::close:
            link_.close();
            break;
          case Member::Action::Kind::started:
            started_ = true;
            break;
          case Member::Action::Kind::released:
            released_ = true;
            break;
          case Member::Action::Kind::answered:
            if (const auto found = waiting_.find(a.message.a); found != waiting_.end()) {
              found->second = std::move(a.message);
            }
            break;
          case Member::Action::Kind::failed: {
            const Cause& cause = *member_.cause();
            failure_ = std::make_unique<Error>(cause.code, cause.text);
            failure_->hint(way_out(cause.code));
            has_failed_ = true;
            to_call.assign(callbacks_.begin(), callbacks_.end());
            callbacks_.clear();
            break;
          }
          case Member::Action::Kind::waits:
            settings_.waits(a.message.text);
            break;
          default:
            break;
        }
      }
    }
  }

  const JoinSettings settings_;
  std::unique_ptr<control::ControlServer> server_;  // goes last: it waits for the others to leave
  std::mutex mutex_;
  std::condition_variable changed_;
  control::Link link_;
  Member member_;
  Operations& operations_ = member_.operations();
  std::unique_ptr<Error> failure_;
  std::atomic<bool> has_failed_ = false, quit_ = false;
  bool started_ = false, released_ = false, drained_ = false;
  int64_t last_request_ = 0;
  std::map<int64_t, std::optional<Message>> waiting_;
  std::list<std::shared_ptr<Callback>> callbacks_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<RankControl> join_run(const JoinSettings& settings) {
  auto control = std::make_unique<RemoteControl>(settings);
  control->wait_for_start();
  return control;
}

}  // namespace sft
