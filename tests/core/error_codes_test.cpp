// The table of error codes against the sources: what is thrown has a row, what has a row is thrown,
// and a code means one thing.
#include "core/error_codes.h"

#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "core/file.h"
#include "support/paths.h"

namespace sft {
namespace {

const fs::path kSources = fs::path(SFT_TEST_DIR) / "../src";

struct Source {
  std::string folder, file, text;
};

// Everything in src/ but the table itself.
std::vector<Source> sources() {
  std::vector<Source> out;
  for (const auto& entry : fs::recursive_directory_iterator(kSources)) {
    const fs::path file = entry.path().lexically_relative(kSources);
    const std::string kind = file.extension().string();
    const bool is_code = kind == ".cpp" || kind == ".h" || kind == ".cu" || kind == ".cuh";
    if (is_code && file.parent_path() != "core/error_codes") {
      out.push_back({file.parent_path().string(), file.string(), read_text(entry.path())});
    }
  }
  return out;
}

std::vector<CodeRow> rows() {
  std::vector<CodeRow> out;
  for (const CodeFamily& family : code_families()) {
    for (const CodeGroup& group : family.groups) {
      out.insert(out.end(), group.rows.begin(), group.rows.end());
    }
  }
  return out;
}

std::string without_comments(const std::string& text) {
  static const std::regex kComment("//[^\n]*");
  return std::regex_replace(text, kComment, "");
}

// The folders in whose sources each code is written.
std::map<std::string, std::set<std::string>> folders_of_codes() {
  static const std::regex kCode("\"([A-Z][0-9]{3})\"");
  std::map<std::string, std::set<std::string>> out;
  for (const Source& source : sources()) {
    const std::string text = without_comments(source.text);
    for (std::sregex_iterator at(text.begin(), text.end(), kCode), end; at != end; ++at) {
      const std::string code = (*at)[1];
      if (code != "H100" && code != "H200" && code != "B200" && code != "A100") {  // GPUs
        out[code].insert(source.folder);
      }
    }
  }
  return out;
}

TEST(ErrorCodes, EveryCodeThatTheSourcesUseHasARowAndEveryRowIsUsed) {
  const auto used = folders_of_codes();
  ASSERT_GT(used.size(), 250u) << kSources;
  for (const auto& [code, folders] : used) {
    EXPECT_NE(find_row(code), nullptr) << code << " of " << *folders.begin() << " has no row";
  }
  for (const CodeRow& row : rows()) {
    EXPECT_TRUE(used.contains(std::string(row.code.text())))
        << row.code.text() << " is used nowhere: remove its row";
  }
}

// Two folders that throw one code have each their reason, unless the table says that it is the
// same.
TEST(ErrorCodes, ACodeIsThrownInOneFolderOrItsRowSaysOtherwise) {
  for (const auto& [code, folders] : folders_of_codes()) {
    const CodeRow* row = find_row(code);
    if (row == nullptr) {
      continue;  // the test above tells
    }
    std::string all;
    for (const std::string& folder : folders) {
      all += folder + " ";
    }
    EXPECT_EQ(row->thrown == Thrown::widely, folders.size() > 1) << code << " stands in " << all;
  }
}

TEST(ErrorCodes, EachRowStandsOnceUnderItsLetterAndSaysSomethingOfItsOwn) {
  std::set<std::string_view> codes, meanings;
  std::set<char> letters;
  for (const CodeFamily& family : code_families()) {
    EXPECT_TRUE(letters.insert(family.letter).second) << family.letter;
    for (const CodeGroup& group : family.groups) {
      for (const CodeRow& row : group.rows) {
        EXPECT_EQ(row.code.letter(), family.letter) << row.code.text();
        EXPECT_TRUE(codes.insert(row.code.text()).second) << row.code.text() << " stands twice";
        EXPECT_TRUE(meanings.insert(row.meaning).second) << row.code.text() << ": " << row.meaning;
        EXPECT_FALSE(row.action.empty()) << row.code.text();
        EXPECT_FALSE(row.meaning.ends_with('.') || row.action.ends_with('.')) << row.code.text();
        EXPECT_EQ((std::string(row.meaning) + std::string(row.action)).find_first_of("|\n"),
                  std::string::npos)
            << row.code.text() << " would break the page's table";
      }
    }
  }
  EXPECT_EQ(letters, (std::set<char>{'C', 'D', 'M', 'G', 'S', 'N', 'X'}));
}

// What the program does must not hang on how a code is spelled: a constant names it.
TEST(ErrorCodes, NoSourceComparesACodeWithALiteral) {
  static const std::regex kCompares(
      R"(([=!]=\s*"[CDMGSNX][0-9]{3}"|code(\(\))?\.(starts_with|find\()))");
  for (const Source& source : sources()) {
    const std::string text = without_comments(source.text);
    std::smatch found;
    EXPECT_FALSE(std::regex_search(text, found, kCompares)) << source.file << ": " << found.str();
  }
}

TEST(ErrorCodes, ARowIsFoundByWhatAnotherProcessWrote) {
  EXPECT_EQ(find_row("D012")->code, Code("D012"));
  for (const char* foreign : {"", "D01", "D0120", "d012", "D999", "Q012", "D0\n2"}) {
    EXPECT_EQ(find_row(foreign), nullptr) << foreign;
  }
  EXPECT_EQ(find_shown("a line\nerror[N017]: rank 3 stopped\n")->code, Code("N017"));
  EXPECT_EQ(find_shown(Error("M001", "no").text())->code, Code("M001"));
  for (const char* other :
       {"", "error", "error[", "error[N0", "error[N999]: x", "an error: N017"}) {
    EXPECT_EQ(find_shown(other), nullptr) << other;
  }
}

}  // namespace
}  // namespace sft
