// Where a state is copied to while it is saved: a card that is full leaves it to the host.
#include "train/background_save.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <utility>

namespace sft {
namespace {

// A card whose memory is the host's, with as much of it free as it is told.
class Card final : public Device {
 public:
  explicit Card(size_t free) : Device(DeviceKind::cuda, 2), free_(free) {}

  std::string name() const override { return "card"; }
  size_t free_memory() const override { return free_; }
  void upload(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override {
    ++downloads;
    std::memcpy(to, from, bytes);
  }
  void download_beside(void* to, const void* from, size_t bytes) override {
    ++downloads_beside;
    std::memcpy(to, from, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void zero(void* to, size_t bytes) override { std::memset(to, 0, bytes); }
  void add(const Tensor&, Tensor&, bool) override {}
  void synchronize() override {
    if (under_way) {
      std::exchange(under_way, nullptr)();
    }
  }

  std::function<void()> under_way;  // done when it is waited for
  int downloads = 0, downloads_beside = 0;

 private:
  Buffer take(size_t bytes) override { return Buffer(bytes); }
  size_t free_;
};

std::vector<float> values_of(const StreamedTensor& tensor) {
  std::vector<float> out(static_cast<size_t>(tensor.shape.elements()));
  tensor.fill(0, std::as_writable_bytes(std::span(out)));
  return out;
}

TEST(StateSnapshot, is_on_the_card_or_on_the_host_and_does_not_change) {
  for (const size_t free : {size_t{80} << 30, size_t{0}}) {
    Card card(free);
    std::vector<float> a(10'000), b(3, 7.0F);
    std::iota(a.begin(), a.end(), 0.0F);
    const std::vector<float> before = a;
    const StateSnapshot snapshot(card, {{"a", {a.data(), Shape{100, 100}, DType::f32}},
                                        {"b", {b.data(), Shape{3}, DType::f32}}});
    EXPECT_TRUE(snapshot.copied());
    std::ranges::fill(a, -1.0F);  // the next step
    const std::vector<StreamedTensor> tensors = snapshot.streamed();
    EXPECT_EQ(values_of(tensors[0]), before);
    EXPECT_EQ(values_of(tensors[1]), b);
    EXPECT_EQ(card.downloads, free == 0 ? 2 : 0);
    EXPECT_EQ(card.downloads_beside, free == 0 ? 0 : 2);
  }
}

TEST(StreamedWeights, have_the_update_that_the_card_is_still_at) {
  Card card(0);
  std::vector<float> a(4, 1.0F);
  card.under_way = [&] { std::ranges::fill(a, 2.0F); };
  const NamedTensor weight{"a", {a.data(), Shape{4}, DType::f32}};
  EXPECT_EQ(values_of(streamed_from(card, std::span(&weight, 1))[0]), std::vector<float>(4, 2.0F));
}

TEST(StateSnapshot, is_read_where_it_is_when_nothing_has_room) {
  Card card(0);
  std::vector<float> a(4, 1.0F);
  // More than any host has; only the size is looked at.
  const StateSnapshot snapshot(card, {{"a", {a.data(), Shape{int64_t{1} << 46}, DType::f32}}});
  EXPECT_FALSE(snapshot.copied());
}

}  // namespace
}  // namespace sft
