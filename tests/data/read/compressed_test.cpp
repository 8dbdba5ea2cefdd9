#include "data/read/compressed.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "data/read/reader.h"
#include "data/support.h"

namespace sft {
namespace {

using test::TemporaryFolder;

std::string gzip(const std::string& text) {
  std::string out(compressBound(text.size()) + 32, '\0');
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::string bzip2(const std::string& text) {
  std::string out(text.size() + text.size() / 64 + 600, '\0');
  auto size = static_cast<unsigned>(out.size());
  BZ2_bzBuffToBuffCompress(out.data(), &size, const_cast<char*>(text.data()),
                           static_cast<unsigned>(text.size()), 9, 0, 0);
  out.resize(size);
  return out;
}

std::string xz(const std::string& text) {
  std::string out(lzma_stream_buffer_bound(text.size()), '\0');
  size_t size = 0;
  lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, nullptr,
                          reinterpret_cast<const uint8_t*>(text.data()), text.size(),
                          reinterpret_cast<uint8_t*>(out.data()), &size, out.size());
  out.resize(size);
  return out;
}

struct Format {
  const char* ending;
  std::string (*pack)(const std::string&);
};
constexpr Format kFormats[] = {{".gz", gzip}, {".zst", zstd}, {".bz2", bzip2}, {".xz", xz}};

// Large enough for several blocks of input, and not all alike.
std::string long_text() {
  std::string text;
  uint64_t state = 1;
  for (int i = 0; i < 60000; ++i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    text += R"({"text": "row )" + std::to_string(i) + " " + std::to_string(state) + "\"}\n";
  }
  return text;
}

std::string stream_all(const std::filesystem::path& path, size_t block) {
  Decompressor stream(path);
  std::string out;
  std::vector<char> buffer(block);
  while (const size_t count = stream.read(buffer)) {
    out.append(buffer.data(), count);
  }
  return out;
}

TEST(Compressed, UnpacksEveryFormatWhole) {
  const TemporaryFolder folder;
  const std::string text = long_text();
  for (const Format& format : kFormats) {
    SCOPED_TRACE(format.ending);
    const auto path = folder.write(std::string("a.jsonl") + format.ending, format.pack(text));
    EXPECT_TRUE(DataFile(path).text() == text);
    EXPECT_TRUE(stream_all(path, 100'000) == text);
    // Members that follow one another are one text, as gzip and the others have it.
    const auto two = folder.write("two" + path.extension().string(),
                                  format.pack("one\n") + format.pack("") + format.pack("two\n"));
    EXPECT_EQ(stream_all(two, 3), "one\ntwo\n");
    EXPECT_EQ(DataFile(folder.write("empty", format.pack(""))).text(), "");
  }
}

TEST(Compressed, RowsKeepTheNameOfTheirFile) {
  const TemporaryFolder folder;
  const std::string rows = "{\"a\": 1}\n\n{\"a\": 2}\n";
  for (const Format& format : kFormats) {
    const auto path = folder.write(std::string("a.jsonl") + format.ending, format.pack(rows));
    const auto reader = open_reader(path);
    RawRow row;
    ASSERT_TRUE(reader->next(row));
    ASSERT_TRUE(reader->next(row));
    EXPECT_EQ(row.json(), Json({{"a", 2}}));
    EXPECT_EQ(row.place(), path.string() + ":3");
    EXPECT_FALSE(reader->next(row));
  }
  // Neither the name nor the contents have to agree: the first bytes decide.
  const auto plain = open_reader(folder.write("plain.csv.gz", "a\n1\n"));
  RawRow row;
  ASSERT_TRUE(plain->next(row));
  EXPECT_EQ(row.json(), Json({{"a", "1"}}));
  const auto packed = open_reader(folder.write("packed.txt", gzip("x\n")));
  ASSERT_TRUE(packed->next(row));
  EXPECT_EQ(row.json(), Json({{"text", "x"}}));
}

TEST(Compressed, RefusesDamage) {
  const TemporaryFolder folder;
  const std::string text = long_text();
  for (const Format& format : kFormats) {
    SCOPED_TRACE(format.ending);
    const std::string packed = format.pack(text);
    for (const size_t kept : {size_t{6}, size_t{20}, packed.size() / 2, packed.size() - 1}) {
      const auto path = folder.write("cut", packed.substr(0, kept));
      EXPECT_EQ(error_of([&] { stream_all(path, 4096); }).code().text(), "D022") << kept;
      EXPECT_EQ(error_of([&] { DataFile data(path); }).code().text(), "D022") << kept;
    }
    std::string broken = packed;
    for (size_t i = 0; i < 200; ++i) {
      broken[broken.size() / 2 + i] ^= static_cast<char>(0x55);
    }
    EXPECT_EQ(error_of([&] { DataFile data(folder.write("broken", broken)); }).code().text(),
              "D022");
  }
  EXPECT_EQ(error_of([&] { DataFile data(folder.write("a", "PK\x03\x04zip")); }).code().text(),
            "D002");
  EXPECT_EQ(error_of([&] { DataFile data(folder / "none"); }).code().text(), "M001");
}

TEST(Compressed, TellsNames) {
  EXPECT_EQ(without_compression("x/a.jsonl.GZ"), "x/a.jsonl");
  EXPECT_EQ(without_compression("x.gz/a.jsonl"), "x.gz/a.jsonl");
  EXPECT_TRUE(has_compressed_name("a.zip"));
}

}  // namespace
}  // namespace sft
