// What an older GPU lacks is refused before a run begins, and what it computes in is what it has.
#include "run/capability.h"

#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"

namespace sft {
namespace {

bool refused(int capability, const std::function<void(TrainOptions&)>& ask) {
  TrainOptions options;
  ask(options);
  try {
    check_capability(options, capability, "a card");
    return false;
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "C085");
    EXPECT_FALSE(e.hint().empty());
    return true;
  }
}

TEST(Capability, VoltaAndTuringComputeInFloat16AndTheOthersInBfloat16) {
  EXPECT_EQ(type_of_capability(70), DType::f16);
  EXPECT_EQ(type_of_capability(75), DType::f16);
  EXPECT_EQ(type_of_capability(80), DType::bf16);
  EXPECT_EQ(type_of_capability(90), DType::bf16);
  EXPECT_EQ(type_of_capability(120), DType::bf16);
}

TEST(Capability, AnOptionIsRefusedBelowTheLeastThatHasItAndTakenFromThereOn) {
  const struct {
    int least;
    std::function<void(TrainOptions&)> ask;
  } cases[] = {
      {80, [](TrainOptions& o) { o.bf16 = true; }},
      {80, [](TrainOptions& o) { o.distributed.mixed_precision = "bf16"; }},
      {80, [](TrainOptions& o) { o.model.dtype = "bfloat16"; }},
      {80, [](TrainOptions& o) { o.optim.optim = "muon"; }},
      {80, [](TrainOptions& o) { o.tf32 = true; }},
      {89, [](TrainOptions& o) { o.model.base_dtype = "fp8"; }},
      {75, [](TrainOptions& o) { o.model.load_in_8bit = true; }},
  };
  for (const auto& c : cases) {
    for (const int capability : {70, 75, 80, 86, 89, 90, 100, 120}) {
      EXPECT_EQ(refused(capability, c.ask), capability < c.least) << capability << " " << c.least;
    }
  }
}

TEST(Capability, WhatTheTutorialsV100TrainsByIsTaken) {
  EXPECT_FALSE(refused(70, [](TrainOptions&) {}));
  EXPECT_FALSE(refused(70, [](TrainOptions& o) { o.fp16 = true; }));
  EXPECT_FALSE(refused(70, [](TrainOptions& o) { o.bf16 = false; }));
  EXPECT_FALSE(refused(70, [](TrainOptions& o) { o.model.load_in_4bit = true; }));
}

}  // namespace
}  // namespace sft
