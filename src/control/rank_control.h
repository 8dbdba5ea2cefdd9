// The control plane as a rank sees it: the run's small key/value store, agreement, and the news
// that another rank has failed. Used by communicators (which operation runs, when to abort), by
// the trainer (agreement) and by cli. Works beside the data plane, over TCP of
// its own, so that it still speaks when collectives hang.
//
//   const Operation operation(control, "all_reduce grads.3");   // shown to others when this hangs
//   control.on_failure([&](const Error& why) { abort_everything(); });
//   control.check();                                            // throws what ended the run
//
// All waiting calls throw the run's failure (N01x) as soon as it is known, and their own timeout
// otherwise. Any thread may call.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/operations.h"
#include "control/store.h"
#include "core/error.h"

namespace sft {

// What ranks must have in common, by name: ("learning_rate", "1e-05").
using Facts = std::vector<std::pair<std::string, std::string>>;

class RankControl {
 public:
  using Seconds = std::chrono::duration<double>;

  virtual ~RankControl() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // How long a rank may stay in one operation, and the default of the waits below (--ddp_timeout).
  virtual Seconds timeout() const = 0;

  // The operation that this rank is in. The others hear it with the next heartbeat; a rank that
  // stays in one longer than `timeout` ends the run, and the message names the rank that is behind.
  // Every rank must begin the same operations in the same order: their number is compared. Not
  // nested. `end` returns to "computing".
  virtual void begin_operation(std::string_view name) = 0;
  virtual void end_operation() = 0;
  // The same for the operations of one communicator, beside the others'. Goes with this object.
  virtual OperationLane& open_lane() = 0;
  // The rank has got further, in `step` (from 1): call it for each micro-batch. All ranks computing
  // without a word of it for `timeout` is a failure, too. 0: no step, it takes what it takes.
  virtual void progress(int64_t step) = 0;

  // Calls back once, from another thread (or at once, when the run has failed already), with what
  // ended the run. The callback must be short and must not call back into this object; it is
  // forgotten when the returned handle goes, which waits for a call that is under way.
  virtual std::shared_ptr<void> on_failure(std::function<void(const Error&)> callback) = 0;
  // Throws what ended the run, if something has.
  virtual void check() = 0;
  // What ended the run; waits for it up to `wait`.
  virtual std::optional<Error> failure(Seconds wait) = 0;
  // This rank failed: tells the others why, who then end with that cause. Call it before leaving
  // with an error; later calls, and calls after another rank's failure, do nothing.
  virtual void fail(const Error& why) = 0;

  // The store. Keys up to 1 KiB, values up to 1 MiB, all together 64 MiB (N025 beyond).
  virtual void set(const std::string& key, std::string_view value) = 0;
  // Waits until the key is there: N020 after `wait` (0: `timeout`).
  virtual std::string get(const std::string& key, Seconds wait = {}) = 0;
  // The new value; a key that is not there counts as 0. N026 when it holds no number.
  virtual int64_t add(const std::string& key, int64_t amount) = 0;
  // Sets `key` to `wanted` where it holds `expected` ("" also stands for: not there). Returns what
  // it holds afterwards.
  virtual std::string compare_set(const std::string& key, std::string_view expected,
                                  std::string_view wanted) = 0;
  // Waits for all ranks; N021 names those that did not come. A name may be used again and again.
  virtual void barrier(const std::string& name, Seconds wait = {}) = 0;
  // Throws C150 on every rank unless all bring the same facts; names the ranks and the first keys
  // that differ. `name` says what is compared ("configuration").
  virtual void agree(const std::string& name, const Facts& facts) = 0;
  // What rank 0 finds is what all get ("" where there is nothing), so that a file system that shows
  // files late cannot make ranks begin at different steps. `name` is used once in a run.
  std::string decide(const std::string& name, const std::function<std::string()>& find) {
    if (rank() != 0) {
      return get(name);
    }
    const std::string found = find();
    set(name, found);
    return found;
  }

  // The orderly end: returns when all ranks have come to it, rank 0 last, so that no launcher ends
  // the others early. Without it, the end of this object is a failure to the other ranks.
  virtual void finish() = 0;
};

// Names an operation for as long as it lives.
class Operation {
 public:
  Operation(RankControl& control, std::string_view name) : control_(control) {
    control_.begin_operation(name);
  }
  ~Operation() { control_.end_operation(); }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

 private:
  RankControl& control_;
};

// For the only rank there is: a store of its own, nothing to wait for.
std::unique_ptr<RankControl> local_control();

// The run's store as communicators want it while they connect. `control` must outlive it.
std::unique_ptr<Store> control_store(RankControl& control);

}  // namespace sft
