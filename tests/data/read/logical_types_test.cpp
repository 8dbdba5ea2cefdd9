// Arrow, parquet and the features of `datasets`: a value is what its logical type says, whatever it
// is stored as. The reference values are those of tools/golden/logical_types.py.
#include "chat/chat_template.h"
#include "data/read/reader.h"
#include "data/read/row_file.h"
#include "data/rows/shapes.h"
#include "data/support.h"

#if __has_include(<arrow/util/config.h>)
#include <arrow/util/config.h>
#endif

namespace sft {
namespace {

#ifdef SFT_ARROW_BUILT

// Without the null members of objects, which a struct has for what is missing.
Json without_nulls(const Json& value) {
  Json out = value;
  if (value.is_object()) {
    out = Json::object();
    for (const auto& [key, member] : value.items()) {
      if (!member.is_null()) {
        out[key] = without_nulls(member);
      }
    }
  } else if (value.is_array()) {
    for (Json& element : out) {
      element = without_nulls(element);
    }
  }
  return out;
}

std::filesystem::path file_of(const Json& c) {
  return std::filesystem::path(SFT_TEST_DIR) / "data" / "golden" / "logical" /
         c["file"].get<std::string>();
}

std::vector<Json> read_in_order(const std::filesystem::path& path) {
  std::vector<Json> rows;
  const auto reader = open_reader(path);
  for (RawRow row; reader->next(row);) {
    rows.push_back(row.json());
  }
  return rows;
}

// Arrow before 26 reads no parquet file in which a value of a column of lists of one length is
// missing: the file is refused with Arrow's words, and nothing of it is read wrongly.
bool refused_by_an_old_arrow([[maybe_unused]] const Json& c) {
#if defined(ARROW_VERSION_MAJOR) && ARROW_VERSION_MAJOR < 26
  if (c["file"] == "types.parquet") {
    try {
      read_in_order(file_of(c));
      ADD_FAILURE() << "this Arrow reads it: the exception can go";
    } catch (const Error& e) {
      EXPECT_EQ(e.code().text(), "D021");
      EXPECT_NE(std::string(e.message()).find("all lists to be of size=2"), std::string::npos);
    }
    return true;
  }
#endif
  return false;
}

TEST(LogicalTypes, ValuesAreThoseOfDatasetsForEveryTypeAndFeature) {
  const Json golden = test::golden("logical");
  for (const Json& c : golden["cases"]) {
    if (refused_by_an_old_arrow(c)) {
      continue;
    }
    const std::vector<Json> rows = read_in_order(file_of(c));
    ASSERT_EQ(rows.size(), c["rows"].size());
    for (size_t i = 0; i < rows.size(); ++i) {
      for (const auto& [column, wanted] : c["rows"][i].items()) {
        EXPECT_EQ(without_nulls(rows[i].value(column, Json())), without_nulls(wanted))
            << c["file"] << " row " << i << " " << column;
      }
    }
  }
}

TEST(LogicalTypes, ARowIsTheSameInOrderAndAtRandom) {
  ThreadPool pool(1);
  const Json golden = test::golden("logical");
  for (const Json& c : golden["cases"]) {
    if (refused_by_an_old_arrow(c)) {
      continue;
    }
    const std::vector<Json> rows = read_in_order(file_of(c));
    const auto file = open_row_file(file_of(c), pool);
    ASSERT_NE(file, nullptr);
    for (size_t i = 0; i < rows.size(); ++i) {
      RawRow row;
      file->read(static_cast<int64_t>(i), row);
      EXPECT_EQ(row.json(), rows[i]) << c["file"] << " row " << i;
    }
  }
}

TEST(LogicalTypes, TemplatesPrintThemAsTransformersDoes) {
  const Json golden = test::golden("logical");
  const ChatTemplate chat(golden["template"].get<std::string>());
  for (const Json& c : golden["cases"]) {
    if (!c.contains("texts")) {
      continue;
    }
    const std::vector<Json> rows = read_in_order(file_of(c));
    const RowShape shape(rows, "", "text");
    for (size_t i = 0; i < rows.size(); ++i) {
      const ShapedRow row = shape.read(rows[i], "");
      RenderOptions options;
      options.tools = row.tools;
      EXPECT_EQ(chat.render(row.messages, options).text, c["texts"][i].get<std::string>())
          << c["file"] << " row " << i;
    }
  }
}

#endif

}  // namespace
}  // namespace sft
