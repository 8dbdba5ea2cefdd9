#include "control/rank_control.h"
#include "control/store.h"

namespace sft {

namespace {

class ControlStore final : public Store {
 public:
  explicit ControlStore(RankControl& control) : control_(control) {}
  void set(const std::string& key, std::string_view value) override { control_.set(key, value); }
  std::string get(const std::string& key, std::chrono::milliseconds timeout) override {
    return control_.get(key, timeout);
  }

 private:
  RankControl& control_;
};

}  // namespace

std::unique_ptr<Store> control_store(RankControl& control) {
  return std::make_unique<ControlStore>(control);
}

}  // namespace sft
