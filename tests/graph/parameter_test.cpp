#include "graph/parameter.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace sft {
namespace {

std::vector<ParamSpec> specs() {
  return {{"embed", {5, 3}, {{"embed", 5}}, 0, ParamKind::matrix, Init::normal},
          {"qkv", {4, 2}, {{"q", 2}, {"k", 1}, {"v", 1}}, 1, ParamKind::matrix, Init::normal},
          {"qkv.bias",
           {4},
           {{"q.bias", 2}, {"k.bias", 1}, {"v.bias", 1}},
           1,
           ParamKind::norm,
           Init::zeros},
          {"norm", {17}, {{"norm", 17}}, 3, ParamKind::norm, Init::ones}};
}

TEST(ParamLayout, parameters_lie_apart_and_aligned) {
  const ParamLayout layout = layout_parameters(specs());
  EXPECT_EQ(layout.offsets, (std::vector<int64_t>{0, 256, 512, 768}));
  EXPECT_EQ(layout.elements, 1024);
}

TEST(ParamLayout, a_block_is_one_range_even_when_it_is_empty) {
  EXPECT_EQ(layout_parameters(specs()).block_offsets,
            (std::vector<int64_t>{0, 256, 768, 768, 1024}));
  EXPECT_EQ(layout_parameters({}).block_offsets, std::vector<int64_t>{0});
  EXPECT_EQ(layout_parameters({}).elements, 0);
}

TEST(ParamLayout, blocks_come_in_order) {
  auto wrong = specs();
  std::swap(wrong[0], wrong[3]);
  EXPECT_THROW(layout_parameters(wrong), Error);
}

TEST(NamedTensors, are_views_under_published_names) {
  const auto list = specs();
  const ParamLayout layout = layout_parameters(list);
  std::vector<float> memory(static_cast<size_t>(layout.elements));
  const auto tensors = named_tensors(list, layout, memory.data());
  std::vector<std::string> names;
  std::vector<std::string> shapes;
  std::vector<int64_t> offsets;
  for (const NamedTensor& t : tensors) {
    names.push_back(t.name);
    shapes.push_back(t.tensor.shape.text());
    offsets.push_back(t.tensor.f32() - memory.data());
    EXPECT_EQ(t.tensor.dtype, DType::f32);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"embed", "q", "k", "v", "q.bias", "k.bias", "v.bias",
                                             "norm"}));
  EXPECT_EQ(shapes, (std::vector<std::string>{"(5, 3)", "(2, 2)", "(1, 2)", "(1, 2)", "(2)", "(1)",
                                              "(1)", "(17)"}));
  EXPECT_EQ(offsets, (std::vector<int64_t>{0, 256, 260, 262, 512, 514, 515, 768}));
}

TEST(NamedTensors, pieces_must_make_up_the_parameter) {
  auto list = specs();
  list[1].pieces.pop_back();
  const ParamLayout layout = layout_parameters(list);
  std::vector<float> memory(static_cast<size_t>(layout.elements));
  EXPECT_THROW(named_tensors(list, layout, memory.data()), Error);
}

TEST(CountParameters, leaves_padding_out) { EXPECT_EQ(count_parameters(specs()), 15 + 8 + 4 + 17); }

}  // namespace
}  // namespace sft
