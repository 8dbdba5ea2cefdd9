#include "train/peak_flops.h"

#include <gtest/gtest.h>

#include "core/json.h"
#include "support/paths.h"

namespace sft {
namespace {

TEST(FlopsPerToken, of_experts_those_count_that_a_token_goes_to) {
  const std::filesystem::path folder =
      std::filesystem::path(SFT_TEST_DIR) / "model" / "golden" / "qwen3_moe_plain";
  Json config = read_json(folder / "config.json");
  const double some = flops_per_token(Model::from_config(config), 0);
  config["num_experts_per_tok"] = 4;
  const double more = flops_per_token(Model::from_config(config), 0);
  // Two experts more in each of two layers: 3 matrices of 16 x 32, 6 operations a weight.
  EXPECT_DOUBLE_EQ(more - some, 2.0 * 2 * 3 * 16 * 32 * 6);
  config["num_local_experts"] = 60;  // which nobody looks at
  const Model wide = Model::from_config(config);
  EXPECT_DOUBLE_EQ(flops_per_token(wide, 0) - more, 6.0 * 2 * (60 - 6) * 32);  // the router alone
}

}  // namespace
}  // namespace sft
