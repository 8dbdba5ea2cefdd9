#include "text/bpe.h"

#include <gtest/gtest.h>

#include <random>

namespace sft {
namespace {

// A vocabulary of a few letters and random merges of them, and the slow, obvious way to apply them.
struct Toy {
  Vocabulary vocabulary;
  std::vector<Merge> merges;

  explicit Toy(unsigned seed) {
    std::mt19937 rng(seed);
    for (const char c : {'a', 'b', 'c', 'd'}) {
      vocabulary.add(std::string(1, c), vocabulary.count());
    }
    while (merges.size() < 40) {
      const auto left = static_cast<int32_t>(rng() % static_cast<unsigned>(vocabulary.count()));
      const auto right = static_cast<int32_t>(rng() % static_cast<unsigned>(vocabulary.count()));
      std::string joined(vocabulary.text(left));
      joined += vocabulary.text(right);
      vocabulary.add(joined, vocabulary.count());
      merges.push_back({left, right, vocabulary.find(joined)});
    }
  }

  std::vector<int32_t> slow_encode(std::string_view text) const {
    std::vector<int32_t> ids;
    for (const char c : text) {
      ids.push_back(vocabulary.find(std::string_view(&c, 1)));
    }
    while (true) {
      size_t best_rank = merges.size(), best_place = 0;
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        for (size_t rank = merges.size(); rank-- > 0;) {
          if (merges[rank].left == ids[i] && merges[rank].right == ids[i + 1]) {
            if (rank < best_rank) {
              best_rank = rank;
              best_place = i;
            }
            break;  // of equal pairs the last counts
          }
        }
      }
      if (best_rank == merges.size()) {
        return ids;
      }
      ids[best_place] = merges[best_rank].result;
      ids.erase(ids.begin() + static_cast<long>(best_place) + 1);
    }
  }
};

TEST(Bpe, MergesAsTheDefinitionSays) {
  std::mt19937 rng(11);
  for (unsigned seed = 0; seed < 20; ++seed) {
    const Toy toy(seed);
    const Bpe bpe(toy.vocabulary, toy.merges, {}, "toy");
    BpeScratch scratch;
    for (int i = 0; i < 60; ++i) {
      std::string text(1 + rng() % (i < 50 ? 30 : 300), 'a');  // short and long words
      for (char& c : text) {
        c = static_cast<char>('a' + rng() % 4);
      }
      std::vector<int32_t> ids;
      std::vector<uint32_t> sizes;
      bpe.encode(text, false, scratch, ids, &sizes);
      ASSERT_EQ(ids, toy.slow_encode(text)) << text;
      for (size_t k = 0; k < ids.size(); ++k) {
        ASSERT_EQ(sizes[k], toy.vocabulary.text(ids[k]).size());
      }
    }
  }
}

TEST(Bpe, UnknownCharactersBecomeOneUnkWhenFused) {
  Vocabulary vocabulary;
  vocabulary.add("<unk>", 0);
  vocabulary.add("a", 1);
  BpeOptions options;
  options.unk_token = "<unk>";
  BpeScratch scratch;
  for (const bool fuse : {false, true}) {
    options.fuse_unk = fuse;
    const Bpe bpe(vocabulary, {}, options, "toy");
    std::vector<int32_t> ids;
    std::vector<uint32_t> sizes;
    bpe.encode("xya\xC3\xA9", false, scratch, ids, &sizes);
    EXPECT_EQ(ids, fuse ? std::vector<int32_t>({0, 1, 0}) : std::vector<int32_t>({0, 0, 1, 0}));
    EXPECT_EQ(sizes, fuse ? std::vector<uint32_t>({2, 1, 2}) : std::vector<uint32_t>({1, 1, 1, 2}));
    scratch.cache.clear();
  }
}

TEST(Bpe, WordsThatEndInZeroBytesAreNotMixedUp) {
  Vocabulary vocabulary;
  vocabulary.add("a", 0);
  vocabulary.add(std::string_view("\0", 1), 1);
  const Bpe bpe(vocabulary, {}, {}, "toy");
  BpeScratch scratch;
  std::vector<int32_t> ids;
  bpe.encode("a", false, scratch, ids, nullptr);
  bpe.encode(std::string_view("a\0", 2), false, scratch, ids, nullptr);
  bpe.encode("a", false, scratch, ids, nullptr);
  EXPECT_EQ(ids, std::vector<int32_t>({0, 0, 1, 0}));
}

}  // namespace
}  // namespace sft
