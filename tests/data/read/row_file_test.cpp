#include "data/read/row_file.h"

#include "core/torch_random.h"
#include "data/support.h"
#include "support/paths.h"

namespace sft {
namespace {

using test::TemporaryFolder;

// The rows of a file by number, backwards, must be those of its reader.
void expect_same_rows(const std::filesystem::path& path) {
  std::vector<std::pair<std::string, std::string>> wanted;
  RawRow row;
  for (const auto reader = open_reader(path); reader->next(row);) {
    wanted.emplace_back(row.place(), row.json().dump());
  }
  ThreadPool pool(2);
  const auto file = open_row_file(path, pool);
  ASSERT_NE(file, nullptr) << path;
  ASSERT_EQ(file->count(), static_cast<int64_t>(wanted.size())) << path;
  for (int64_t i = file->count() - 1; i >= 0; --i) {
    file->read(i, row);
    EXPECT_EQ(row.place(), wanted[static_cast<size_t>(i)].first);
    EXPECT_EQ(row.json().dump(), wanted[static_cast<size_t>(i)].second);
    EXPECT_GT(file->chunk_end(i), i);
    EXPECT_LE(file->chunk_end(i), file->count());
  }
}

TEST(RowFile, FindsLinesWhateverTheirLengthAndBlankOnesBetween) {
  const TemporaryFolder folder;
  TorchGenerator random(3);
  // Lines from none to several blocks of the index, with every kind of blank line and line end.
  for (int file = 0; file < 20; ++file) {
    std::string text = file % 3 == 0 ? "\n \t\n" : file % 3 == 1 ? "\xef\xbb\xbf" : "";
    for (int line = 0; line < 400; ++line) {
      const size_t length =
          random.random() % 50 == 0 ? random.random() % 90000 : random.random() % 700;
      text += R"({"a": ")" + std::string(length, 'x') + std::to_string(line) + "\"}";
      text += line == 399 && file % 2 == 0 ? "" : random.random() % 3 == 0 ? "\r\n" : "\n";
      text += random.random() % 4 == 0 ? "  \r\n" : random.random() % 5 == 0 ? "\n\n" : "";
    }
    expect_same_rows(folder.write("lines.jsonl", text));
    expect_same_rows(folder.write("lines.txt", text));
  }
  expect_same_rows(folder.write("empty.jsonl", ""));
  expect_same_rows(folder.write("blank.jsonl", "\n\n \n"));
  expect_same_rows(folder.write("one.txt", "\n"));
}

TEST(RowFile, ReadsOtherFormatsByNumber) {
  const TemporaryFolder folder;
  std::string csv = "text,note\n";
  for (int i = 0; i < 300; ++i) {
    csv += i % 7 == 0 ? "\n" : "";
    csv += "\"row " + std::to_string(i) + (i % 3 == 0 ? "\nand more\"" : "\"") + ",n\n";
  }
  expect_same_rows(folder.write("rows.csv", csv));
  expect_same_rows(folder.write("rows.json", R"([{"a": 1}, {"a": 2}, {"a": 3}])"));
  expect_same_rows(folder.write("texts.json", R"(["x", "y"])"));
  expect_same_rows(folder.write("columns.json", R"({"a": [1, 2], "b": ["x", "y"]})"));
}

TEST(RowFile, ReadsParquetAndArrowByNumber) {
#ifndef SFT_ARROW_BUILT
  GTEST_SKIP() << "built without Apache Arrow";
#endif
  const std::filesystem::path golden = std::filesystem::path(SFT_TEST_DIR) / "data" / "golden";
  expect_same_rows(golden / "rows.parquet");
  expect_same_rows(golden / "rows.arrow");
}

TEST(RowFile, SaysWhatCannotBeOpened) {
  ThreadPool pool(1);
  EXPECT_EQ(error_of([&] { open_row_file("nowhere.jsonl", pool); }).code().text(), "D001");
  const TemporaryFolder folder;
  const auto path = folder.write("rows.xyz", "x");
  EXPECT_EQ(error_of([&] { open_row_file(path, pool); }).code().text(), "D003");
}

}  // namespace
}  // namespace sft
