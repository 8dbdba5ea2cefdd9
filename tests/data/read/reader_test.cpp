#include "data/read/reader.h"

#include <cmath>

#include "data/read/row_file.h"
#include "data/support.h"
#include "support/paths.h"

namespace sft {
namespace {

using test::TemporaryFolder;

Json read_all(const std::filesystem::path& path) {
  Json rows = Json::array();
  const auto reader = open_reader(path);
  RawRow row;
  while (reader->next(row)) {
    rows.push_back(row.json());
  }
  return rows;
}

TEST(Reader, ReadsJsonLines) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.jsonl", "\xef\xbb\xbf{\"a\": 1}\r\n\n{\"a\": \"\xc3\xa4\"}");
  EXPECT_EQ(read_all(path), Json::parse(R"([{"a": 1}, {"a": "ä"}])"));
}

TEST(Reader, NamesTheLineOfBrokenJson) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.jsonl", "{\"a\": 1}\n\n{\"a\": \n{\"a\": 2}\n");
  const Error e = error_of([&] { read_all(path); });
  EXPECT_EQ(e.code().text(), "D010");
  EXPECT_EQ(e.where(), path.string() + ":3");
  const auto scalar = folder.write("b.jsonl", "{\"a\": 1}\n17\n");
  EXPECT_EQ(error_of([&] { read_all(scalar); }).code().text(), "D011");
  EXPECT_EQ(error_of([&] { read_all(scalar); }).where(), scalar.string() + ":2");
  const auto first = folder.write("c.jsonl", "{\"a\": oops}\n{\"a\": 1}\n");
  EXPECT_EQ(error_of([&] { read_all(first); }).where(), first.string() + ":1");
  const auto bytes = folder.write("d.jsonl", "{\"a\": \"\xff\xfe\"}\n");
  EXPECT_EQ(error_of([&] { read_all(bytes); }).code().text(), "D010");
}

TEST(Reader, ANumberThatNoDoubleHoldsIsNamed) {
  const TemporaryFolder folder;
  const auto lines = folder.write("a.jsonl", "{\"a\": 1}\n{\"a\": 7e554}\n");
  EXPECT_EQ(error_of([&] { read_all(lines); }).code().text(), "D010");
  EXPECT_EQ(error_of([&] { read_all(lines); }).where(), lines.string() + ":2");
  const auto document = folder.write("a.json", "[\n{\"a\": 7e554}]");
  EXPECT_EQ(error_of([&] { read_all(document); }).code().text(), "D010");
}

TEST(Reader, RowsThatAreNestedTooDeepAreRefused) {
  const TemporaryFolder folder;
  const auto row = [](int depth) {
    return "{\"a\": " + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  const auto fine = folder.write("fine.jsonl", row(999) + "\n");
  EXPECT_EQ(read_all(fine).size(), 1U);
  const auto lines = folder.write("deep.jsonl", "{\"a\": 1}\n" + row(1000) + "\n");
  EXPECT_EQ(error_of([&] { read_all(lines); }).code().text(), "D010");
  EXPECT_EQ(error_of([&] { read_all(lines); }).where(), lines.string() + ":2");
  const auto document = folder.write("deep.json", "[" + row(999) + "]");
  EXPECT_EQ(error_of([&] { read_all(document); }).code().text(), "D010");
}

// The byte that a character of Latin-1 is.
std::string bytes_of(const std::string& utf8) {
  std::string out;
  for (size_t i = 0; i < utf8.size(); ++i) {
    const auto byte = static_cast<unsigned char>(utf8[i]);
    out += byte < 0x80
               ? utf8[i]
               : static_cast<char>((byte << 6) | (static_cast<unsigned char>(utf8[++i]) & 0x3F));
  }
  return out;
}

// Against tools/golden/text_files.py.
TEST(Reader, OddTextFilesAreReadAsDatasetsReadsThem) {
  const TemporaryFolder folder;
  ThreadPool pool(1);
  const Json golden = test::golden("text_files");
  for (const Json& c : golden) {
    const auto path =
        folder.write(c["file"].get<std::string>(), bytes_of(c["text"].get<std::string>()));
    Json rows = read_all(path);
    const auto file = open_row_file(path, pool);
    ASSERT_EQ(file->count(), static_cast<int64_t>(c["rows"].size())) << c["file"];
    for (size_t i = 0; i < rows.size(); ++i) {
      RawRow row;
      file->read(static_cast<int64_t>(i), row);
      EXPECT_EQ(to_text(row.json()), to_text(rows[i])) << c["file"];
      for (Json& value : rows[i]) {
        if (value.is_number_float() && !std::isfinite(value.get<double>())) {
          const double number = value.get<double>();
          value = std::isnan(number) ? "nan" : number < 0 ? "-inf" : "inf";
        }
      }
    }
    EXPECT_EQ(rows, c["rows"]) << c["file"];
  }
}

// As Python writes it; `datasets` reads such rows too.
TEST(Reader, NumbersThatAreNoneAreRead) {
  const TemporaryFolder folder;
  const auto path = folder.write(
      "a.jsonl",
      "{\"t\": \"NaN, \\\"Infinity\", \"x\": NaN, \"y\": [-Infinity, {\"z\": Infinity}]}\n");
  const Json row = read_all(path)[0];
  EXPECT_EQ(row["t"], "NaN, \"Infinity");
  EXPECT_TRUE(std::isnan(row["x"].get<double>()));
  EXPECT_EQ(row["y"][0].get<double>(), -INFINITY);
  EXPECT_EQ(row["y"][1]["z"].get<double>(), INFINITY);
  EXPECT_EQ(read_all(folder.write("b.json", "[{\"x\": NaN}]")).size(), 1U);
  EXPECT_EQ(error_of([&] { read_all(folder.write("c.jsonl", "{\"x\": NaNa}\n")); }).code().text(),
            "D010");
}

TEST(Reader, ReadsObjectsOneBehindTheOther) {
  const TemporaryFolder folder;
  const Json wanted = Json::parse(R"([{"text": "a}{", "n": {"m": 1}}, {"text": "b"}])");
  const std::string pretty = wanted[0].dump(2) + "\n" + wanted[1].dump(2) + "\n";
  EXPECT_EQ(read_all(folder.write("a.json", pretty)), wanted);
  EXPECT_EQ(read_all(folder.write("b.jsonl", pretty)), wanted);
  EXPECT_EQ(read_all(folder.write("c.json", wanted[0].dump() + " " + wanted[1].dump())), wanted);
  EXPECT_EQ(error_of([&] { read_all(folder.write("d.json", pretty + "{\"x\": ")); }).code().text(),
            "D010");
}

TEST(Reader, ACarriageReturnEndsALineAsInDatasets) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.txt", "a\rb\r\nc\n\rd");
  const Json wanted =
      Json::parse(R"([{"text": "a"}, {"text": "b"}, {"text": "c"}, {"text": ""}, {"text": "d"}])");
  EXPECT_EQ(read_all(path), wanted);
  ThreadPool pool(1);
  const auto rows = open_row_file(path, pool);
  ASSERT_EQ(rows->count(), 5);
  for (int64_t i = 0; i < 5; ++i) {
    RawRow row;
    rows->read(i, row);
    EXPECT_EQ(row.json(), wanted[static_cast<size_t>(i)]);
  }
  for (const std::string text :
       {"{\"a\":1}\r{\"a\":2}\r", "{\"a\":1}\n{\"a\":2}", "{\"a\":1}\r\n{\"a\":2}\r\n",
        "\n{\"a\":1}\n\r{\"a\":2}\n", "{\"a\":1}\r\r{\"a\":2}", "\r{\"a\":1}\r\n\n{\"a\":2}\r"}) {
    const auto lines = folder.write("b.jsonl", text);
    EXPECT_EQ(read_all(lines), Json::parse(R"([{"a": 1}, {"a": 2}])")) << text;
    const auto table = open_row_file(lines, pool);
    ASSERT_EQ(table->count(), 2) << text;
    RawRow second;
    table->read(1, second);
    EXPECT_EQ(second.json(), Json::parse(R"({"a": 2})")) << text;
  }
  // The first line says nothing of those that follow.
  std::string mixed;
  for (int i = 0; i < 40'000; ++i) {
    mixed += "{\"a\":" + std::to_string(i) + "}" + (i == 30'000 ? "\r" : "\n");
  }
  const auto lines = folder.write("mixed.jsonl", mixed);
  EXPECT_EQ(read_all(lines).size(), 40'000U);
  const auto table = open_row_file(lines, pool);
  ASSERT_EQ(table->count(), 40'000);
  RawRow row;
  table->read(30'001, row);
  EXPECT_EQ(row.json(), Json::parse(R"({"a": 30001})"));
  EXPECT_EQ(read_all(folder.write("c.csv", "a\r1\r2\r")).size(), 2U);
}

TEST(Reader, OtherEncodingsAreNamed) {
  const TemporaryFolder folder;
  const auto wide = [](bool mark, bool big) {
    std::string out = !mark ? "" : big ? "\xfe\xff" : "\xff\xfe";
    for (const char c : std::string("{\"text\": \"a\"}\n")) {
      out += big ? std::string({'\0', c}) : std::string({c, '\0'});
    }
    return out;
  };
  for (const char* name : {"a.jsonl", "a.json", "a.csv", "a.txt"}) {
    for (const bool mark : {true, false}) {
      for (const bool big : {true, false}) {
        const Error e = error_of([&] { read_all(folder.write(name, wide(mark, big))); });
        EXPECT_EQ(e.code().text(), "D014") << name;
        EXPECT_NE(e.message().find(big ? "UTF-16BE" : "UTF-16LE"), std::string::npos);
        EXPECT_NE(e.hint().find("iconv"), std::string::npos);
      }
    }
  }
  const auto latin = folder.write("b.jsonl", "{\"a\": 1}\n{\"text\": \"Gr\xfc\xdf\"}\n");
  const Error e = error_of([&] { read_all(latin); });
  EXPECT_EQ(e.code().text(), "D010");
  EXPECT_EQ(e.where(), latin.string() + ":2");
  EXPECT_NE(e.message().find("0xfc, as in Latin-1"), std::string::npos) << e.message();
}

TEST(Reader, ReadsEveryFormOfJson) {
  const TemporaryFolder folder;
  const Json wanted = Json::parse(R"([{"p": "x", "n": 1}, {"p": "y", "n": 2}])");
  EXPECT_EQ(read_all(folder.write("lines.json", "{\"p\":\"x\",\"n\":1}\n{\"p\":\"y\",\"n\":2}")),
            wanted);
  EXPECT_EQ(read_all(folder.write("array.json", wanted.dump(2))), wanted);
  EXPECT_EQ(read_all(folder.write("array1.jsonl", wanted.dump())), wanted);
  EXPECT_EQ(
      read_all(folder.write("columns.json", Json::parse(R"({"p":["x","y"],"n":[1,2]})").dump(1))),
      wanted);
  EXPECT_EQ(read_all(folder.write("data.json", Json{{"data", wanted}}.dump(1))), wanted);
  EXPECT_EQ(read_all(folder.write("one.json", wanted[0].dump(4))), Json::array({wanted[0]}));
  EXPECT_EQ(read_all(folder.write("texts.json", R"(["x", "y"])")),
            Json::parse(R"([{"text": "x"}, {"text": "y"}])"));
  EXPECT_EQ(read_all(folder.write("empty.json", "")), Json::array());
}

TEST(Reader, NamesTheLineOfABrokenDocument) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.json", "[\n{\"a\": 1},\n{\"a\": }\n]");
  EXPECT_EQ(error_of([&] { read_all(path); }).where(), path.string() + ":3");
}

TEST(Reader, ReadsCsv) {
  const TemporaryFolder folder;
  const auto path = folder.write(
      "a.csv", "prompt,completion\r\n\"a, \"\"b\"\"\",c\r\n\r\n\"two\nlines\",\nlast,\"\"");
  EXPECT_EQ(read_all(path), Json::parse(R"([{"prompt": "a, \"b\"", "completion": "c"},
      {"prompt": "two\nlines", "completion": null}, {"prompt": "last", "completion": ""}])"));
  EXPECT_EQ(read_all(folder.write("a.tsv", "x\ty\n1\t2,3\n")),
            Json::parse(R"([{"x":"1","y":"2,3"}])"));
}

TEST(Reader, NamesTheLineOfBrokenCsv) {
  const TemporaryFolder folder;
  const auto fail = [&](const std::string& text) {
    const auto path = folder.write("a.csv", text);
    const Error e = error_of([&] { read_all(path); });
    EXPECT_EQ(e.code().text(), "D012");
    return e.where().substr(path.string().size());
  };
  EXPECT_EQ(fail("a,b\n1,2\n3\n"), ":3");
  EXPECT_EQ(fail("a,b\n\"x\ny\",2\n1,2,3\n"), ":4");
  EXPECT_EQ(fail("a,b\n1,\"2\n3,4\n"), ":2");
  EXPECT_EQ(fail("a,b\n\"1\"x,2\n"), ":2");
  EXPECT_EQ(fail("a,a\n1,2\n"), ":1");
}

TEST(Reader, ReadsTextByLine) {
  const TemporaryFolder folder;
  EXPECT_EQ(read_all(folder.write("a.txt", "one\r\n\ntwo")),
            Json::parse(R"([{"text": "one"}, {"text": ""}, {"text": "two"}])"));
}

TEST(Reader, RefusesWhatItCannotRead) {
  const TemporaryFolder folder;
  EXPECT_EQ(error_of([&] { open_reader(folder / "none.jsonl"); }).code().text(), "D001");
  EXPECT_EQ(error_of([&] { open_reader(folder.write("a.zip", "x")); }).code().text(), "D003");
  EXPECT_EQ(error_of([&] { open_reader(folder.write("a.png", "x")); }).code().text(), "D003");
  EXPECT_EQ(error_of([&] { open_reader(folder.path()); }).code().text(), "D001");
  // Without libsft_arrow.so it says what to install; with it, that the file is not parquet.
  const Error failure = error_of([&] { open_reader(folder.write("a.parquet", "not parquet")); });
  EXPECT_TRUE(failure.code() == "D020" || failure.code() == "D021") << failure.text();
}

TEST(Reader, WhatUnpacksToFarMoreThanItsSizeIsRefused) {
#ifndef SFT_ARROW_BUILT
  GTEST_SKIP() << "built without Apache Arrow";
#endif
  // 479 bytes: one long value in a dictionary, and many rows that are it.
  const std::string bomb = std::string(SFT_TEST_DIR) + "/data/golden/bomb_dict.parquet";
  EXPECT_EQ(error_of([&] { read_all(bomb); }).code().text(), "D026");
}

TEST(Reader, ReadsParquetAndArrow) {
#ifndef SFT_ARROW_BUILT
  GTEST_SKIP() << "built without Apache Arrow";
#endif
  const std::string golden = std::string(SFT_TEST_DIR) + "/data/golden/rows";
  const Json wanted = read_json(golden + ".json");
  for (const char* extension : {".parquet", ".arrow"}) {
    EXPECT_EQ(read_all(golden + extension), wanted);
  }
}

}  // namespace
}  // namespace sft
