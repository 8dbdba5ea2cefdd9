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

// torch 2.15, torch.manual_seed(42): a small tensor, one of whole blocks of 16 and one whose last
// block lies over the one before it.
TEST(TorchRandom, DrawsTorchsNormalNumbers) {
  const auto drawn = [](size_t size, float deviation) {
    std::vector<float> values(size);
    TorchGenerator(42).normal(values, deviation);
    return values;
  };
  const auto near = [](const std::vector<float>& have, const std::vector<float>& want) {
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_NEAR(have[i], want[i], 3e-7F) << i;
    }
  };
  near(drawn(15, 1), {0.33669036626815796F, 0.12880940735340118F, 0.23446236550807953F,
                      0.23033303022384644F, -1.1228563785552979F, -0.18632829189300537F});
  near(drawn(7, 1.0F / 3),
       {0.11223011463880539F, 0.04293646663427353F, 0.07815412431955338F, 0.07677767425775528F,
        -0.3742854595184326F, -0.062109433114528656F, 0.7360671162605286F});
  near(drawn(40, 1), {1.9269152879714966F, 1.4872840642929077F, 0.9007171988487244F,
                      -2.1055209636688232F, 0.6784184575080872F, -1.2345448732376099F,
                      -0.04306747764348984F, -1.6046669483184814F, -0.7521353363990784F});
  near(drawn(18, 1.0F / 3),
       {0.6423051357269287F, 0.49576136469841003F, -0.16579918563365936F, 0.14652976393699646F,
        -0.25271040201187134F, 0.3594392240047455F, 0.26693353056907654F, 0.5602068901062012F,
        0.11861997097730637F, -0.2288743257522583F, 0.20348882675170898F, 0.4449126124382019F,
        -0.07720810920000076F, 0.013919830322265625F, -0.0838584303855896F, 0.28661951422691345F,
        -0.10324226319789886F, -0.1319034993648529F});
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
