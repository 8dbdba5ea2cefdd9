// What ran when in a few steps of a run: instructions on the device's clock, phases of the host on
// the host's. Written as a trace that Perfetto and chrome://tracing open. Used by Executor, the
// trainer (--profile) and `sft bench`.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "device/device.h"

namespace sft {

class Trace {
 public:
  // Whether work that may run beside other work does so: then both take longer, since they share
  // the device.
  enum class Order { as_it_runs, one_by_one };

  // Waits for the device, so that both clocks start at the same moment.
  explicit Trace(Device& device, Order order = Order::as_it_runs);
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  // Work of the device between two of its marks; `aside`: beside the main order.
  void work(std::string_view name, int block, bool aside, int begin, int end);

  // A phase of the host, from construction to the end of the scope; `on_device`: also of the
  // device, for work outside every program. With a null trace: nothing.
  class Phase {
   public:
    Phase(Trace* trace, std::string_view name, bool on_device = false);
    ~Phase();
    Phase(const Phase&) = delete;
    Phase& operator=(const Phase&) = delete;

   private:
    Trace* trace_;
    std::string_view name_;
    double begin_ = 0;
    int mark_ = -1;
  };

  Order order() const { return order_; }
  // Seconds of device work by name. Waits for it.
  std::map<std::string, double> seconds_by_name() const;
  // Trace events in JSON, microseconds; waits for the work.
  void write(const std::filesystem::path& file) const;

 private:
  struct Work {
    std::string name;
    int block;
    bool aside;
    int begin, end;
  };
  struct HostPhase {
    std::string name;
    double begin, end;  // seconds
  };
  double now() const;

  Device& device_;
  Order order_;
  int first_mark_;
  std::chrono::steady_clock::time_point start_;
  std::vector<Work> works_;
  std::vector<HostPhase> phases_;
};

}  // namespace sft
