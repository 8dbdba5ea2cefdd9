#include "io/safetensors.h"

#include <cstring>

#include "core/json.h"
#include "io/safetensors_writer.h"
#include "io/support.h"

namespace sft {
namespace {

std::string file_of(const std::string& header, size_t data_bytes) {
  std::string text(8, '\0');
  const uint64_t n = header.size();
  std::memcpy(text.data(), &n, 8);
  return text + header + std::string(data_bytes, '\1');
}

std::string open_code(const TemporaryFolder& folder, const std::string& bytes) {
  put(folder / "x.safetensors", bytes);
  return code_of([&] { SafetensorsFile file(folder / "x.safetensors"); });
}

TEST(Safetensors, ReadsWhatTransformersWrote) {
  const SafetensorsFile file(golden("llama/model.safetensors"));
  const StoredTensor* t = file.find("model.embed_tokens.weight");
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(t->dtype, "BF16");
  EXPECT_EQ(t->shape, (std::vector<int64_t>{48, 32}));
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.find("nothing"), nullptr);
}

TEST(Safetensors, EveryUnsoundHeaderHasItsCode) {
  const TemporaryFolder folder;
  const std::string ok = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(open_code(folder, file_of(ok, 8)), "");
  EXPECT_EQ(open_code(folder, "abc"), "M200");
  EXPECT_EQ(open_code(folder, file_of(ok, 7)), "M200");
  EXPECT_EQ(open_code(folder, file_of(ok, 9)), "M205");
  EXPECT_EQ(open_code(folder, file_of(ok, 8).substr(0, 30)), "M200");
  EXPECT_EQ(open_code(folder, file_of("{\"a\":", 8)), "M201");
  EXPECT_EQ(open_code(folder, file_of("[1]", 8)), "M201");
  EXPECT_EQ(open_code(folder, file_of(R"({"a":{"dtype":"F32","shape":[2]}})", 8)), "M202");
  EXPECT_EQ(
      open_code(folder, file_of(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8)),
      "M202");
  EXPECT_EQ(
      open_code(folder, file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8)),
      "M202");
  EXPECT_EQ(open_code(folder, file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                      R"("a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
                                      16)),
            "M203");
  EXPECT_EQ(
      open_code(folder, file_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8)),
      "M204");
  EXPECT_EQ(open_code(folder, file_of(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,2],)"
                                      R"("data_offsets":[0,8]}})",
                                      8)),
            "M204");
  EXPECT_EQ(
      open_code(folder, file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12)),
      "M205");
  EXPECT_EQ(
      open_code(folder, file_of(R"({"a":{"dtype":"X9","shape":[2],"data_offsets":[0,8]}})", 8)),
      "M207");
  EXPECT_EQ(open_code(folder, std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8) + "{}"), "M206");
  EXPECT_EQ(code_of([&] { SafetensorsFile file(folder / "absent"); }), "M001");
}

TEST(Safetensors, ACutFileNamesExpectedAndFoundSize) {
  const TemporaryFolder folder;
  const std::string whole = read_text(golden("llama/model.safetensors"));
  put(folder / "cut.safetensors", whole.substr(0, whole.size() - 100));
  const std::string words = words_of([&] { SafetensorsFile file(folder / "cut.safetensors"); });
  EXPECT_NE(words.find("cut short"), std::string::npos) << words;
  EXPECT_NE(words.find(std::to_string(whole.size())), std::string::npos) << words;
  EXPECT_NE(words.find(std::to_string(whole.size() - 100)), std::string::npos) << words;
}

TEST(Safetensors, AnUntrainableTypeIsNamedWhenRead) {
  const TemporaryFolder folder;
  put(folder / "x.safetensors",
      file_of(R"({"w":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})", 8));
  const SafetensorsFile file(folder / "x.safetensors");
  float values[8];
  EXPECT_EQ(code_of([&] { file.read_f32(*file.find("w"), values); }), "M246");
}

// What a reader may do with a damaged file: refuse it, or give the right numbers for the right
// name.
void expect_error_or_same(const fs::path& path, const SafetensorsFile& original) {
  try {
    const SafetensorsFile file(path);
    for (const StoredTensor& t : original.tensors()) {
      const StoredTensor* found = file.find(t.name);
      if (found == nullptr || found->dtype != t.dtype || found->shape != t.shape) {
        continue;  // caught by name or shape further up
      }
      std::vector<float> a(static_cast<size_t>(t.elements()));
      std::vector<float> b = a;
      original.read_f32(t, a.data());
      file.read_f32(*found, b.data());
      ASSERT_EQ(std::memcmp(a.data(), b.data(), a.size() * 4), 0) << t.name;
    }
  } catch (const Error&) {
  }
}

TEST(Safetensors, FlippedHeaderBytesAndCutsAreErrorsOrHarmless) {
  const TemporaryFolder folder;
  const SafetensorsFile original(golden("qwen2/model.safetensors"));
  const std::string whole = read_text(original.path());
  uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  const fs::path path = folder / "mutant.safetensors";
  for (size_t i = 0; i < 8 + header; ++i) {
    for (const char flip : {'\x01', '\x20', '\x80'}) {
      std::string mutant = whole;
      mutant[i] = static_cast<char>(mutant[i] ^ flip);
      put(path, mutant);
      expect_error_or_same(path, original);
    }
  }
  for (size_t i = 0; i < 64; ++i) {
    put(path, whole.substr(0, whole.size() * i / 64));
    EXPECT_NE(code_of([&] { SafetensorsFile file(path); }), "") << i;
  }
}

TEST(SafetensorsFolder, ShardsGiveTheSameAsOneFile) {
  const SafetensorsFolder sharded(golden("sharded"));
  const SafetensorsFolder single(golden("qwen2"));
  ASSERT_EQ(sharded.names().size(), single.names().size());
  for (const std::string& name : single.names()) {
    const auto a = sharded.find(name);
    const auto b = single.find(name);
    ASSERT_TRUE(a.has_value()) << name;
    std::vector<float> x(static_cast<size_t>(a->tensor->elements()));
    std::vector<float> y(x.size());
    a->file->read_f32(*a->tensor, x.data());
    b->file->read_f32(*b->tensor, y.data());
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(x[i], to_float(to_float16(y[i]))) << name;
    }
  }
}

TEST(SafetensorsFolder, AnUnsoundIndexHasItsCode) {
  const TemporaryFolder folder;
  const auto with_index = [&](const std::string& text) {
    put(folder / "model.safetensors.index.json", text);
    return code_of([&] { SafetensorsFolder opened(folder.path()); });
  };
  EXPECT_EQ(with_index("{"), "M210");
  EXPECT_EQ(with_index("{}"), "M210");
  EXPECT_EQ(with_index(R"({"weight_map":{"a":3}})"), "M210");
  EXPECT_EQ(with_index(R"({"weight_map":{"a":"../a.safetensors"}})"), "M210");
  EXPECT_EQ(with_index(R"({"weight_map":{"a":"a.safetensors"}})"), "M211");
  put(folder / "a.safetensors",
      file_of(R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8));
  EXPECT_EQ(with_index(R"({"weight_map":{"a":"a.safetensors"}})"), "M212");
  EXPECT_EQ(with_index(R"({"weight_map":{"b":"a.safetensors"}})"), "");
}

TEST(SafetensorsFolder, AnIndexNamesFilesBesideItOnly) {
  const TemporaryFolder folder;
  const std::string tensor =
      file_of(R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  put(folder / "elsewhere/a.safetensors", tensor);
  put(folder / "elsewhere/private.safetensors", tensor);
  fs::create_directories(folder / "model");
  fs::create_symlink("../elsewhere/a.safetensors", folder / "model/a.safetensors");
  fs::create_symlink("../elsewhere/private.safetensors", folder / "model/b.safetensors");
  const auto with_file = [&](const std::string& name) {
    put(folder / "model/model.safetensors.index.json", Json{{"weight_map", {{"b", name}}}}.dump());
    return code_of([&] { SafetensorsFolder opened(folder / "model"); });
  };
  EXPECT_EQ(with_file("a.safetensors"), "");  // as in a folder of links to a model elsewhere
  for (const std::string& name :
       {std::string("b.safetensors"), std::string("../elsewhere/a.safetensors"),
        (folder / "elsewhere/a.safetensors").string(), std::string("..")}) {
    EXPECT_EQ(with_file(name), "M210") << name;
  }
}

struct Three {
  std::vector<float> a = std::vector<float>(600, 1.5F), b = std::vector<float>(500, -2.25F),
                     c = {7};
  std::vector<NamedTensor> tensors{{"a", {a.data(), Shape{20, 30}, DType::f32}},
                                   {"b", {b.data(), Shape{500}, DType::f32}},
                                   {"c", {c.data(), Shape{1}, DType::f32}}};
};

TEST(SafetensorsWriter, RoundTripsInEveryTypeAndAligned) {
  const TemporaryFolder folder;
  const Three three;
  ThreadPool pool(2);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const WrittenFile written =
        write_safetensors(folder / "x.safetensors", streamed(three.tensors), dtype, &pool);
    const std::string bytes = read_text(folder / "x.safetensors");
    uint64_t header = 0;
    std::memcpy(&header, bytes.data(), 8);
    EXPECT_EQ(header % 8, 0U);
    EXPECT_EQ(written.bytes, bytes.size());
    EXPECT_EQ(written.crc32c, crc32c(0, bytes.data(), bytes.size()));
    const SafetensorsFile file(folder / "x.safetensors");
    EXPECT_EQ(file.metadata().at("format"), "pt");
    std::vector<float> a(600);
    file.read_f32(*file.find("a"), a.data());
    EXPECT_EQ(a, three.a);
  }
}

// Large tensors are made in pieces, ahead of what is being written; small ones lie between them.
TEST(SafetensorsWriter, PiecesOfLargeTensorsComeInTheirOrder) {
  const TemporaryFolder folder;
  std::vector<std::vector<float>> values;
  std::vector<NamedTensor> tensors;
  for (const size_t n :
       {size_t{2'500'000}, size_t{3}, size_t{1} << 20, size_t{300'000}, size_t{1}}) {
    std::vector<float>& tensor = values.emplace_back(n);
    for (size_t i = 0; i < n; ++i) {
      tensor[i] = static_cast<float>((i * 7 + n) % 251);  // exact in bfloat16
    }
  }
  for (size_t i = 0; i < values.size(); ++i) {
    tensors.push_back(
        {std::string(1, static_cast<char>('a' + i)),
         {values[i].data(), Shape{static_cast<int64_t>(values[i].size())}, DType::f32}});
  }
  for (const DType dtype : {DType::f32, DType::bf16}) {
    write_safetensors(folder / "x.safetensors", streamed(tensors), dtype);
    const SafetensorsFile file(folder / "x.safetensors");
    for (size_t i = 0; i < values.size(); ++i) {
      std::vector<float> read(values[i].size());
      file.read_f32(*file.find(tensors[i].name), read.data());
      EXPECT_TRUE(read == values[i]) << tensors[i].name;
    }
  }
  // An error of whoever holds the bytes comes through, whichever piece it was.
  for (const uint64_t at : {uint64_t{0}, uint64_t{8} << 20}) {
    std::vector<StreamedTensor> failing = streamed(tensors);
    failing[0].fill = [at](uint64_t begin, std::span<std::byte>) {
      if (begin == at) {
        throw Error("G021", "gone");
      }
    };
    EXPECT_EQ(code_of([&] { write_safetensors(folder / "y.safetensors", failing, DType::f32); }),
              "G021");
    EXPECT_FALSE(fs::exists(folder / "y.safetensors"));
  }
}

TEST(SafetensorsWriter, ShardsAreCutBetweenTensorsAndIndexed) {
  const TemporaryFolder folder;
  const Three three;
  const auto one =
      write_safetensors_shards(folder.path(), streamed(three.tensors), DType::f32, 1 << 20);
  ASSERT_EQ(one.size(), 1U);
  EXPECT_EQ(one[0].name, "model.safetensors");
  const auto cut =
      write_safetensors_shards(folder.path(), streamed(three.tensors), DType::f32, 2100);
  ASSERT_EQ(cut.size(), 3U);  // a | b, c | the index
  EXPECT_EQ(cut[0].name, "model-00001-of-00002.safetensors");
  EXPECT_FALSE(fs::exists(folder / "model.safetensors"));  // it would win over the index
  const Json index = read_json(folder / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], 4404);
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00002.safetensors");
  EXPECT_EQ(SafetensorsFolder(folder.path()).names().size(), 3U);
  write_safetensors_shards(folder.path(), streamed(three.tensors), DType::f32, 1 << 20);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(SafetensorsWriter, SizesAreReadAsPeopleWriteThem) {
  EXPECT_EQ(parse_byte_size("5GB"), 5'000'000'000U);
  EXPECT_EQ(parse_byte_size("2GiB"), 2ULL << 30);
  EXPECT_EQ(parse_byte_size(" 1.5 MB"), 1'500'000U);
  EXPECT_EQ(parse_byte_size("1000"), 1000U);
  for (const char* bad : {"", "GB", "-1GB", "0", "5 parsecs", "nan", "inf", "1e300TB"}) {
    EXPECT_EQ(code_of([&] { parse_byte_size(bad); }), "C090") << bad;
  }
}

}  // namespace
}  // namespace sft
