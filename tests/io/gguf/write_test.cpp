// Files that are written: byte for byte as llama.cpp's converter writes them, and read again.
#include <cmath>
#include <limits>

#include "io/gguf/write/mix.h"
#include "io/gguf/write/model.h"
#include "io/gguf/write/name.h"
#include "io/safetensors_writer.h"
#include "io/support.h"
#include "text/gguf/sentencepiece.h"
#include "text/tokenizer.h"

namespace sft {
namespace {

fs::path model(const std::string& name) {
  return fs::path(SFT_TEST_DIR) / "golden" / "models" / name;
}

std::unique_ptr<ModelSource> opened(const fs::path& path) {
  return ModelSource::open(path.string(), "main", {});
}

void write(const fs::path& folder, const std::string& quant, const fs::path& file) {
  const auto source = opened(folder);
  const GgufPlan plan = plan_gguf(*source, folder, *find_gguf_mix(quant), "");
  const WrittenFile written = write_gguf(file, plan.metadata, plan.tensors, nullptr);
  EXPECT_EQ(written.bytes, fs::file_size(file));
  EXPECT_EQ(written.bytes, gguf_bytes(plan.metadata, plan.tensors));
}

uint64_t fnv1a(const std::string& bytes) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (const char b : bytes) {
    hash = (hash ^ static_cast<uint8_t>(b)) * 0x100000001b3U;
  }
  return hash;
}

struct ConverterFile {
  const char *model, *quant;
  uint64_t hash;
};

// converter_hashes.py printed them.
constexpr ConverterFile kConverterFiles[] = {
#include "converter_hashes.inc"
};

TEST(GgufWriter, FilesAreThoseOfTheConverterByteForByte) {
  const TemporaryFolder folder;
  for (const ConverterFile& c : kConverterFiles) {
    const fs::path file = folder / (std::string(c.model) + c.quant + ".gguf");
    write(model(c.model), c.quant, file);
    EXPECT_EQ(fnv1a(read_text(file)), c.hash) << c.model << " " << c.quant;
  }
}

TEST(GgufWriter, WhatIsWrittenIsReadAgain) {
  const std::string text = "The miller counts 1234 sacks, doesn't he?\n\n  Yes \xC3\xA4.";
  const TemporaryFolder folder;
  for (const char* name : {"l32", "q2gqa", "smol", "chatml", "gemma", "windowed"}) {
    const fs::path file = folder / (std::string(name) + ".gguf");
    write(model(name), "f32", file);
    const auto before = opened(model(name)), after = opened(file);
    for (const std::string& tensor : before->names()) {
      if (!after->has(tensor)) {
        EXPECT_EQ(tensor, "lm_head.weight") << name;
        continue;
      }
      const Shape shape = before->shape(tensor);
      ASSERT_EQ(after->shape(tensor), shape) << name << " " << tensor;
      std::vector<float> want(static_cast<size_t>(shape.elements())), got(want.size());
      before->read_f32(tensor, want.data());
      after->read_f32(tensor, got.data());
      for (size_t i = 0; i < want.size(); ++i) {
        // Gemma's norms have 1 added on the way out and taken off on the way in.
        ASSERT_NEAR(got[i], want[i], std::string(name) == "gemma" ? 2e-7 : 0) << name << tensor;
      }
    }
    for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size",
                            "num_attention_heads", "num_key_value_heads", "rms_norm_eps"}) {
      EXPECT_EQ(after->config()[key], before->config()[key]) << name << " " << key;
    }
    EXPECT_EQ(after->chat_template(), before->chat_template()) << name;
    const auto tokens = [&](const ModelSource& s) {
      const Json config = parse_json(s.file_text("tokenizer_config.json").value_or("{}"), "config");
      return Tokenizer::from_text(*s.file_text("tokenizer.json"), config, name).encode(text, false);
    };
    EXPECT_EQ(tokens(*after), tokens(*before)) << name;
  }
}

TEST(GgufWriter, AValueThatTheFormatCannotHoldLeavesNoFile) {
  const TemporaryFolder folder;
  for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), 1e20F}) {
    const GgufOutput tensor{"x.weight",
                            {2, 32},
                            find_gguf_type(DType::q8_0),
                            [&](int64_t, int64_t, float* into) { std::fill_n(into, 64, wrong); },
                            1};
    EXPECT_EQ(code_of([&] { write_gguf(folder / "x.gguf", {}, {tensor}, nullptr); }), "M280");
    EXPECT_TRUE(fs::is_empty(folder.path()));
  }
}

std::vector<std::string> types_of(const char* mix, const GgufModelFacts& facts, int64_t hidden,
                                  const char* part) {
  std::vector<GgufTensorPlace> places{{"token_embd.weight", {1000, hidden}}};
  std::vector<std::string> names;
  for (int64_t i = 0; i < facts.layers; ++i) {
    names.push_back("blk." + std::to_string(i) + "." + part);
  }
  for (const std::string& name : names) {
    places.push_back({name, {64, hidden}});
  }
  std::vector<std::string> types;
  for (const GgufType* type : gguf_types(*find_gguf_mix(mix), facts, places)) {
    types.emplace_back(type->name);
  }
  return types;
}

TEST(GgufMix, MoreBitsAtBothEndsAndEveryThirdLayer) {
  const auto types = types_of("q4_k_m", {16, true, false}, 512, "attn_v.weight");
  EXPECT_EQ(types[0], "Q6_K");  // the tied table is the head, too
  std::string line;
  for (size_t i = 1; i < types.size(); ++i) {
    line += types[i] == "Q6_K" ? '6' : types[i] == "Q4_K" ? '4' : '?';
  }
  EXPECT_EQ(line, "6644644644644666");
  EXPECT_EQ(types_of("q4_k_m", {16, false, false}, 512, "attn_v.weight")[0], "Q4_K");
  EXPECT_EQ(types_of("q4_k_m", {80, false, true}, 512, "attn_v.weight")[11], "Q5_K");
}

TEST(GgufMix, RowsThatAreNoMultipleOf256GetSmallerBlocks) {
  const GgufModelFacts facts{16, true, false};
  EXPECT_EQ(types_of("q4_k_m", facts, 576, "attn_q.weight")[1], "Q5_0");
  EXPECT_EQ(types_of("q5_k_m", facts, 576, "attn_q.weight")[1], "Q5_1");
  EXPECT_EQ(types_of("q6_k", facts, 576, "attn_q.weight")[1], "Q8_0");
  EXPECT_EQ(types_of("q4_k_m", facts, 576, "attn_v.weight")[1], "Q8_0");
  EXPECT_EQ(types_of("q4_k_m", facts, 576, "attn_v.weight")[0], "Q8_0");
  EXPECT_EQ(types_of("q4_0", facts, 576, "attn_v.weight")[1], "Q4_0");
  for (const char* mix : {"q8_0", "q4_0", "q4_k_m", "q6_k"}) {
    EXPECT_EQ(types_of(mix, facts, 24, "attn_q.weight")[1], "F16") << mix;
  }
  EXPECT_EQ(types_of("q4_k_m", facts, 512, "attn_norm.weight")[1], "F32");
}

// What the converter makes of the same names.
TEST(GgufName, SaysWhatTheConverterReads) {
  struct Case {
    const char* id;
    int64_t parameters;
    GgufName name;
  };
  for (const Case& c : {
           Case{"Qwen/Qwen2.5-0.5B-Instruct",
                494'000'000,
                {"Qwen2.5-0.5B-Instruct", "Qwen", "Qwen2.5", "Instruct", "", "0.5B"}},
           Case{"mistralai/Mistral-7B-Instruct-v0.2",
                7'000'000'000,
                {"Mistral-7B-Instruct-v0.2", "mistralai", "Mistral", "Instruct", "v0.2", "7B"}},
           Case{"Meta-Llama-3-8B",
                8'000'000'000,
                {"Meta-Llama-3-8B", "", "Meta-Llama-3", "", "", "8B"}},
           Case{"phi-3-mini-128k-instruct",
                3'800'000'000,
                {"phi-3-mini-128k-instruct", "", "phi-3", "128k-instruct", "", "mini"}},
           Case{"out", 1000, {"out", "", "", "", "", ""}},
           Case{"my model", 1000, {"my model", "", "", "", "", ""}},
       }) {
    const GgufName got = read_gguf_name(c.id, c.parameters);
    EXPECT_EQ(got.full, c.name.full) << c.id;
    EXPECT_EQ(got.organization, c.name.organization) << c.id;
    EXPECT_EQ(got.basename, c.name.basename) << c.id;
    EXPECT_EQ(got.finetune, c.name.finetune) << c.id;
    EXPECT_EQ(got.version, c.name.version) << c.id;
    EXPECT_EQ(got.size_label, c.name.size_label) << c.id;
  }
  EXPECT_EQ(gguf_title("qwen2.5-0.5B-instruct-v2"), "Qwen2.5 0.5B Instruct v2");
  EXPECT_EQ(gguf_size_label(134'515'008), "135M");
  EXPECT_EQ(gguf_size_label(1'235'814'432), "1.2B");
}

TEST(SentencePieces, DamagedFilesAreRefused) {
  const std::string file("\x0A\x0E\x0A\x05<unk>\x15\x00\x00\x00\x00\x18\x02", 16);
  const auto pieces = read_sentencepieces(file);
  ASSERT_EQ(pieces.size(), 1U);
  EXPECT_EQ(pieces[0].text, "<unk>");
  EXPECT_EQ(pieces[0].type, 2);
  for (size_t n = 0; n < file.size(); ++n) {
    EXPECT_EQ(code_of([&] { read_sentencepieces(file.substr(0, n)); }), "M283") << n;
  }
  EXPECT_EQ(code_of([] { read_sentencepieces("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"); }),
            "M283");
}

}  // namespace
}  // namespace sft
