#include "data/tokens/pack.h"

#include <map>

#include "data/support.h"

namespace sft {
namespace {

using test::digest;

TEST(Pack, MakesTheRowsOfTrl) {
  const Json golden = test::golden("pack");
  for (const Json& c : golden["cases"]) {
    const auto lengths = golden["sets"][c["set"].get<std::string>()].get<std::vector<int64_t>>();
    std::vector<int64_t> starts = {0};
    for (const int64_t length : lengths) {
      starts.push_back(starts.back() + length);
    }
    const PackPlan plan = plan_packing(lengths, c["max_length"].get<int64_t>(),
                                       parse_packing(c["strategy"].get<std::string>()));
    std::vector<int64_t> tokens, row_lengths, documents;
    for (int64_t i = 0; i < plan.rows(); ++i) {
      int64_t row_length = 0;
      for (const Piece& piece : plan.row(i)) {
        for (int64_t t = 0; t < piece.length; ++t) {
          tokens.push_back(starts[static_cast<size_t>(piece.example)] + piece.begin + t);
        }
        row_length += piece.length;
        documents.push_back(piece.length);
      }
      row_lengths.push_back(row_length);
    }
    const std::string name = c.dump();
    EXPECT_EQ(plan.rows(), c["rows"].get<int64_t>()) << name;
    EXPECT_EQ(digest(row_lengths), c["lengths"].get<std::string>()) << name;
    EXPECT_EQ(digest(tokens), c["tokens"].get<std::string>()) << name;
    if (c["documents"] != "") {
      EXPECT_EQ(digest(documents), c["documents"].get<std::string>()) << name;
    }
  }
}

TEST(Pack, CountsWhatItCuts) {
  const std::vector<int64_t> lengths = {10, 3, 12};
  EXPECT_EQ(plan_packing(lengths, 8, Packing::bfd).tokens_cut, 6);
  EXPECT_EQ(plan_packing(lengths, 8, Packing::bfd_split).tokens_cut, 0);
}

TEST(Pack, OfNothingIsNothing) {
  EXPECT_EQ(plan_packing({}, 8, Packing::wrapped).rows(), 0);
  EXPECT_EQ(plan_packing(std::vector<int64_t>{0, 0}, 8, Packing::bfd).rows(), 0);
}

TEST(Pack, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(error_of([] { parse_packing("bestfit"); }).code().text(), "D050");
  EXPECT_EQ(error_of([] { plan_packing({}, 0, Packing::bfd); }).code().text(), "D051");
  EXPECT_EQ(parse_packing("bfd-requeue"), Packing::bfd_split);
}

}  // namespace
}  // namespace sft
