#include <map>
#include <mutex>
#include <vector>

#include <fmt/format.h>

#include "control/rank_control.h"
#include "core/numbers.h"

namespace sft {

namespace {

class LocalControl final : public RankControl {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  Seconds timeout() const override { return Seconds(1800); }
  void begin_operation(std::string_view) override {}
  void end_operation() override {}
  OperationLane& open_lane() override { return lane_; }
  void progress(int64_t) override {}
  std::optional<Error> failure(Seconds) override { return std::nullopt; }
  std::shared_ptr<void> on_failure(std::function<void(const Error&)>) override { return nullptr; }
  void check() override {}
  void fail(const Error&) override {}
  void barrier(const std::string&, Seconds) override {}
  void agree(const std::string&, const Facts&) override {}
  void finish() override {}

  void set(const std::string& key, std::string_view value) override {
    const std::lock_guard lock(mutex_);
    values_[key] = value;
  }

  std::string get(const std::string& key, Seconds) override {
    const std::lock_guard lock(mutex_);
    const auto found = values_.find(key);
    if (found == values_.end()) {
      throw Error("N020", fmt::format("nobody will ever set \"{}\": there is one rank", key));
    }
    return found->second;
  }

  int64_t add(const std::string& key, int64_t amount) override {
    const std::lock_guard lock(mutex_);
    std::string& value = values_[key];
    const auto number = value.empty() ? 0 : whole_number(value);
    int64_t sum = 0;
    if (!number || __builtin_add_overflow(*number, amount, &sum)) {
      throw Error("N026", fmt::format("\"{}\" holds no number", key));
    }
    value = std::to_string(sum);
    return sum;
  }

  std::string compare_set(const std::string& key, std::string_view expected,
                          std::string_view wanted) override {
    const std::lock_guard lock(mutex_);
    std::string& value = values_[key];
    if (value == expected) {
      value = wanted;
    }
    return value;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> values_;
  OperationLane lane_;
};

}  // namespace

std::unique_ptr<RankControl> local_control() { return std::make_unique<LocalControl>(); }

}  // namespace sft
