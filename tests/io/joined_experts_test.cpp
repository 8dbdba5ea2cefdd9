// A layer's experts in one tensor are the same model as experts one by one.
#include "io/joined_experts.h"

#include <cstring>

#include "io/model_saver.h"
#include "io/safetensors.h"
#include "io/support.h"

namespace sft {
namespace {

const fs::path kApart = fs::path(SFT_TEST_DIR) / "model" / "golden" / "qwen3_5_moe";

// All tensors of the source as they are stored.
std::vector<StreamedTensor> tensors_of(const ModelSource& source) {
  std::vector<StreamedTensor> out;
  for (const std::string& name : source.names()) {
    auto values = std::make_shared<std::vector<float>>(read_all(source, name));
    out.push_back(
        {name, DType::f32, source.shape(name), [values](uint64_t begin, std::span<std::byte> into) {
           std::memcpy(into.data(), reinterpret_cast<const std::byte*>(values->data()) + begin,
                       into.size());
         }});
  }
  return out;
}

// The experts one by one stand in the order of a family's parameters.
std::vector<StreamedTensor> in_order(std::vector<StreamedTensor> tensors) {
  std::ranges::stable_sort(tensors, [](const StreamedTensor& a, const StreamedTensor& b) {
    const auto x = expert_place(a.name), y = expert_place(b.name);
    return std::pair(x ? x->tensor : "", x ? x->index : 0) <
           std::pair(y ? y->tensor : "", y ? y->index : 0);
  });
  return tensors;
}

void write_joined(const ModelSource& source, const fs::path& folder) {
  const auto joined =
      join_experts(in_order(tensors_of(source)), [](const std::string&) { return true; });
  write_safetensors(folder / "model.safetensors", joined, DType::f32);
  put(folder / "config.json", *source.file_text("config.json"));
}

TEST(JoinedExperts, AreFoundOneByOneWithTheSameValues) {
  const TemporaryFolder folder;
  const auto apart = open_model(kApart);
  write_joined(*apart, folder.path());
  const auto joined = open_model(folder.path());
  EXPECT_EQ(joined->shape("model.layers.1.mlp.experts.gate_up_proj"), (Shape{8, 48, 32}));
  EXPECT_EQ(joined->shape("model.layers.1.mlp.experts.down_proj"), (Shape{8, 32, 24}));
  EXPECT_EQ(joined->names().size(), apart->names().size() - 4 * (3 * 8 - 2));
  for (const std::string& name : apart->names()) {
    ASSERT_TRUE(joined->has(name)) << name;
    ASSERT_EQ(joined->shape(name), apart->shape(name)) << name;
    const std::vector<float> want = read_all(*apart, name);
    EXPECT_EQ(read_all(*joined, name), want) << name;
    const auto n = static_cast<int64_t>(want.size());
    std::vector<float> part(static_cast<size_t>(n - n / 3));
    joined->read_f32(name, ElementRange{n / 3, n}, part.data());
    EXPECT_TRUE(std::ranges::equal(part, std::span(want).subspan(static_cast<size_t>(n / 3))));
  }
  EXPECT_FALSE(joined->has("model.layers.1.mlp.experts.8.down_proj.weight"));  // there are 8
}

TEST(JoinedExperts, AreSavedAsTheSourceHasThem) {
  const TemporaryFolder folder, out, out_apart;
  const auto apart = open_model(kApart);
  write_joined(*apart, folder.path());
  const auto joined = open_model(folder.path());
  const auto weights = in_order(tensors_of(*apart));
  const SaveReport report =
      save_model(out.path(), *joined, weights, SaveOptions{.model_card = false});
  for (const std::string& change : report.changes) {
    EXPECT_EQ(change.find("weights:"), std::string::npos) << change;
  }
  const SafetensorsFile before(folder / "model.safetensors"), after(out / "model.safetensors");
  ASSERT_EQ(before.tensors().size(), after.tensors().size());
  for (const StoredTensor& t : before.tensors()) {
    ASSERT_NE(after.find(t.name), nullptr) << t.name;
    EXPECT_EQ(after.find(t.name)->shape, t.shape);
    EXPECT_TRUE(std::ranges::equal(before.raw(t), after.raw(*after.find(t.name)))) << t.name;
  }
  save_model(out_apart.path(), *apart, weights, SaveOptions{.model_card = false});
  const SafetensorsFile one_by_one(out_apart / "model.safetensors");
  EXPECT_NE(one_by_one.find("model.layers.1.mlp.experts.7.up_proj.weight"), nullptr);
  EXPECT_EQ(one_by_one.find("model.layers.1.mlp.experts.gate_up_proj"), nullptr);
}

TEST(JoinedExperts, NamesOfOtherTensorsAreNone) {
  for (const char* name :
       {"model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.experts.-1.up_proj.weight",
        "model.layers.0.mlp.experts.1.up_proj.bias", "model.layers.0.mlp.up_proj.weight",
        "model.layers.0.mlp.experts.99999999999999999999.up_proj.weight"}) {
    EXPECT_FALSE(expert_place(name)) << name;
  }
  const auto place = expert_place("model.layers.0.mlp.experts.3.up_proj.weight");
  ASSERT_TRUE(place);
  EXPECT_EQ(place->tensor, "model.layers.0.mlp.experts.gate_up_proj");
  EXPECT_EQ(place->index, 7);
  EXPECT_EQ(place->shape_in({4, 10, 6}), (Shape{5, 6}));
  EXPECT_FALSE(place->shape_in({3, 10, 6}));  // three experts: 0 to 2
  EXPECT_FALSE(place->shape_in({4, 9, 6}));
  EXPECT_FALSE(place->shape_in({40, 6}));
}

}  // namespace
}  // namespace sft
