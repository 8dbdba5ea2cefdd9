#include "core/python_number.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace sft {
namespace {

TEST(PythonNumber, FloatsAsPythonPrintsThem) {
  const std::pair<double, const char*> cases[] = {{0.0, "0.0"},
                                                  {-0.0, "-0.0"},
                                                  {1.0, "1.0"},
                                                  {0.1, "0.1"},
                                                  {2e-5, "2e-05"},
                                                  {1e-4, "0.0001"},
                                                  {1.5e-5, "1.5e-05"},
                                                  {123456.0, "123456.0"},
                                                  {1e15, "1000000000000000.0"},
                                                  {1e16, "1e+16"},
                                                  {1.25e22, "1.25e+22"},
                                                  {1e100, "1e+100"},
                                                  {-3.25, "-3.25"},
                                                  {1.0 / 3, "0.3333333333333333"},
                                                  {5e-324, "5e-324"},
                                                  {123456789.125, "123456789.125"},
                                                  {0.00012345, "0.00012345"},
                                                  {9999999999999998.0, "9999999999999998.0"}};
  for (const auto& [value, text] : cases) {
    EXPECT_EQ(python_repr(value), text);
  }
}

TEST(PythonNumber, RoundsAsPython) {
  EXPECT_EQ(python_round(2.675, 2), 2.67);  // the binary value lies below the tie
  EXPECT_EQ(python_round(0.125, 2), 0.12);  // a true tie goes to even
  EXPECT_EQ(python_round(1.23456, 4), 1.2346);
  EXPECT_TRUE(std::isnan(python_round(std::nan(""), 2)));
}

}  // namespace
}  // namespace sft
