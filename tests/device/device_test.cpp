#include "device/device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/error.h"

namespace sft {
namespace {

TEST(Buffer, is_zeroed_and_aligned) {
  const Buffer b(100001);
  EXPECT_EQ(b.size(), 100001U);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b.data()) % 64, 0U);
  EXPECT_TRUE(
      std::all_of(b.data(), b.data() + b.size(), [](std::byte x) { return x == std::byte{0}; }));
}

TEST(Buffer, moves_with_its_memory) {
  Buffer a(64);
  a.f32()[3] = 7.0F;
  const std::byte* at = a.data();
  Buffer b(std::move(a));
  EXPECT_EQ(b.data(), at);
  EXPECT_EQ(a.data(), nullptr);  // NOLINT: moved from on purpose
  EXPECT_EQ(a.size(), 0U);       // NOLINT
  Buffer c(32);
  c = std::move(b);
  EXPECT_EQ(c.f32()[3], 7.0F);
  EXPECT_EQ(c.size(), 64U);
  c = Buffer();
  EXPECT_EQ(c.data(), nullptr);
}

TEST(Buffer, of_nothing_has_no_memory) {
  EXPECT_EQ(Buffer(0).data(), nullptr);
  EXPECT_EQ(Buffer().size(), 0U);
}

TEST(Buffer, more_than_there_is_is_an_error_with_numbers) {
  try {
    const Buffer b(size_t{1} << 60);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "G001");
    EXPECT_EQ(e.exit_code(), ExitCode::memory);
    EXPECT_NE(e.message().find("1048576.0 TiB"), std::string::npos) << e.message();
    EXPECT_FALSE(e.hint().empty());
  }
}

TEST(Device, owns_its_threads) {
  const auto device = Device::cpu(3);
  EXPECT_EQ(device->threads().size(), 3);
  EXPECT_EQ(device->kind(), DeviceKind::cpu);
  EXPECT_EQ(device->allocate(10).size(), 10U);
}

TEST(System, tells_its_memory) { EXPECT_GT(available_memory(), size_t{1} << 20); }

}  // namespace
}  // namespace sft
