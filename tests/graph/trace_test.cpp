#include "graph/trace.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "core/json.h"
#include "graph/executor.h"

namespace sft {
namespace {

void pause() { std::this_thread::sleep_for(std::chrono::milliseconds(2)); }

// x + 1 in block 3.
Program slow_program() {
  Program p(Program::Purpose::inference, Recompute::none);
  const Value x = p.input("x", {1}, DType::f32);
  const Value y = p.like(x, "y");
  p.begin_block(3);
  p.emit("add_one", {x}, {y}, [](const Run& r) {
    pause();
    r.out(0).f32()[0] = r.in(0).f32()[0] + 1.0F;
  });
  p.end_block();
  p.keep(y);
  return p;
}

TEST(Trace, has_each_instruction_with_its_time_and_the_phases_of_the_host) {
  const auto device = Device::cpu(1);
  Arena arena(*device);
  Executor executor(*device, arena, slow_program());
  float x = 1.0F;
  Bindings bindings;
  bindings.inputs["x"] = {&x, {1}, DType::f32};
  const auto file = std::filesystem::temp_directory_path() / "sft_trace_test.json";
  {
    Trace trace(*device);
    executor.trace(&trace);
    {
      const Trace::Phase phase(&trace, "batches");
      executor.run(bindings);
      executor.run(bindings);
    }
    executor.trace(nullptr);
    executor.run(bindings);
    {
      const Trace::Phase phase(&trace, "optimizer", true);
      pause();
    }
    const auto seconds = trace.seconds_by_name();
    EXPECT_EQ(seconds.size(), 2);
    EXPECT_GE(seconds.at("add_one"), 0.004);
    EXPECT_GE(seconds.at("optimizer"), 0.002);
    trace.write(file);
  }
  int instructions = 0;
  int tracks = 0;
  double end_of_batches = 0;
  const Json all = read_json(file);
  for (const Json& e : all.at("traceEvents")) {
    tracks += e.at("ph") == "M" ? 1 : 0;
    if (e.at("name") == "add_one") {
      ++instructions;
      EXPECT_EQ(e.at("tid"), 1);
      EXPECT_EQ(e.at("args").at("block"), 3);
      EXPECT_LE(e.at("ts").get<double>() + e.at("dur").get<double>(), end_of_batches + 100);
    } else if (e.at("name") == "batches") {
      EXPECT_EQ(e.at("tid"), 0);
      end_of_batches = e.at("ts").get<double>() + e.at("dur").get<double>();
    }
  }
  EXPECT_EQ(instructions, 2);
  EXPECT_EQ(tracks, 3);
  std::filesystem::remove(file);
}

TEST(Trace, a_phase_without_a_trace_does_nothing) { const Trace::Phase phase(nullptr, "x", true); }

}  // namespace
}  // namespace sft
