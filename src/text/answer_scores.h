// How an answer compares with the one that was wanted. Used where a model's answers are evaluated.
#pragma once

#include <string_view>

namespace sft {

// The same text, but for white space at both ends.
bool is_exact_match(std::string_view answer, std::string_view wanted);

// ROUGE-L's F-measure as Google's rouge_score 0.1.2 computes it, without stemming: words are runs
// of a-z and 0-9 of the text in lower case; with the longest common subsequence of n words,
// precision is n / words of the answer, recall n / words wanted, F their harmonic mean. 0 where
// either has no words. Takes (answer words) * (words wanted) steps.
double rouge_l(std::string_view answer, std::string_view wanted);

}  // namespace sft
