#include "core/torch_random.h"

#include "data/support.h"

namespace sft {
namespace {

using test::digest;
using test::golden;

std::vector<int64_t> head(const std::vector<int64_t>& order) {
  return {order.begin(), order.begin() + std::min<long>(10, static_cast<long>(order.size()))};
}

TEST(TorchRandom, DrawsTorchsNumbers) {
  TorchGenerator generator(7);
  const Json all = golden("order");
  for (const Json& wanted : all.at("torch_random")) {
    // randint over 2^32 values takes 64 bits a draw in PyTorch and keeps them modulo the range.
    EXPECT_EQ(generator.random64() % (uint64_t{1} << 32), wanted.get<uint64_t>());
  }
}

TEST(TorchRandom, PermutesAsTorch) {
  const Json all = golden("order");
  for (const Json& c : all.at("torch")) {
    TorchGenerator generator(c["seed"].get<uint64_t>());
    const auto order = torch_randperm(c["n"].get<int64_t>(), generator);
    EXPECT_EQ(head(order), c["head"].get<std::vector<int64_t>>()) << c.dump();
    EXPECT_EQ(digest(order), c["digest"].get<std::string>()) << c.dump();
  }
}

TEST(TorchRandom, PermutesAsNumpy) {
  const Json all = golden("order");
  for (const Json& c : all.at("numpy")) {
    NumpyGenerator generator(c["seed"].get<uint64_t>());
    const auto order = numpy_permutation(c["n"].get<int64_t>(), generator);
    EXPECT_EQ(head(order), c["head"].get<std::vector<int64_t>>()) << c.dump();
    EXPECT_EQ(digest(order), c["digest"].get<std::string>()) << c.dump();
  }
}

TEST(TorchRandom, SplitsAsDatasets) {
  const Json all = golden("order");
  for (const Json& c : all.at("splits")) {
    const auto split = train_test_split(c["n"].get<int64_t>(), c["size"].get<double>(), 42);
    EXPECT_EQ(split.train, c["train"].get<std::vector<int64_t>>());
    EXPECT_EQ(split.test, c["test"].get<std::vector<int64_t>>());
  }
}

TEST(TorchRandom, RefusesSplitsThatLeaveASideEmpty) {
  for (const double size : {0.0, -0.5, 10.0, 11.0}) {
    EXPECT_EQ(error_of([&] { train_test_split(10, size, 0); }).code().text(), "D060");
  }
}

}  // namespace
}  // namespace sft
