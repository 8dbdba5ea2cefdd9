#include "text/answer_scores.h"

#include <gtest/gtest.h>

#include "core/file.h"
#include "core/json.h"
#include "support/paths.h"
#include "text/find_all.h"

namespace sft {
namespace {

TEST(AnswerScores, RougeIsThatOfRougeScore) {
  const Json pairs = read_json(fs::path(SFT_TEST_DIR) / "text/golden/answer_scores.json");
  ASSERT_GT(pairs.size(), 60);
  for (const Json& pair : pairs) {
    const std::string answer = pair["answer"].get<std::string>();
    const std::string wanted = pair["wanted"].get<std::string>();
    EXPECT_NEAR(rouge_l(answer, wanted), pair["rougeL"].get<double>(), 1e-12)
        << answer << " | " << wanted;
  }
}

TEST(AnswerScores, WhiteSpaceAroundAnAnswerDoesNotCount) {
  EXPECT_TRUE(is_exact_match(" 42\n", "42"));
  EXPECT_FALSE(is_exact_match("4 2", "42"));
  EXPECT_TRUE(is_exact_match("", " "));
}

// What Python's re gives.
TEST(FindAll, GroupsAndEmptyMatchesAreThoseOfPython) {
  using Found = std::vector<std::optional<std::string>>;
  EXPECT_EQ(find_all("a1b22", "[0-9]+"), (Found{"1", "22"}));
  EXPECT_EQ(find_all("#### 42", R"(#### (\-?[0-9\.\,]+))"), (Found{"42"}));
  EXPECT_EQ(find_all("aB", "([a-z])|([A-Z])"), (Found{"a", "B"}));
  EXPECT_EQ(find_all("x", "(y)?|(z)?"), (Found{std::nullopt, std::nullopt}));
  EXPECT_EQ(find_all("\u00e9a", "q*"), (Found{"", "", ""}));
  EXPECT_EQ(without_matches("a1b22c", "[0-9]+"), "abc");
  EXPECT_EQ(without_matches("", "x*"), "");
}

}  // namespace
}  // namespace sft
