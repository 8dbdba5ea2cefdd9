// Metadata of a GGUF file's own architecture, with the checks every value needs. Used by the
// synthesis of config.json.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/gguf/errors.h"
#include "io/gguf/family.h"
#include "io/gguf/file.h"

namespace sft {

class MetadataReader {
 public:
  MetadataReader(const GgufFile& file, const GgufFamily& family) : file_(file), family_(family) {}

  std::string key(const char* rest) const {
    return fmt::format("{}.{}", family_.architecture, rest);
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(kGgufSetting,
                fmt::format("{}: {}, which is not supported", file_.path().string(), what))
        .hint("use the original model folder instead");
  }
  int64_t size(const char* rest) const {
    const int64_t n = file_.required_integer(key(rest));
    if (n <= 0 || n > int64_t{1} << 31) {
      fail(fmt::format("{} is {}", key(rest), n));
    }
    return n;
  }
  std::optional<int64_t> integer(const char* rest) const { return file_.integer(key(rest)); }
  std::optional<double> number(const char* rest) const { return file_.number(key(rest)); }
  std::optional<std::string> string(const char* rest) const { return file_.string(key(rest)); }

  int64_t heads() const { return size("attention.head_count"); }
  // One number, or a list of equal numbers, of which layers without attention have 0.
  int64_t kv_heads() const {
    const GgufValue* v = file_.value(key("attention.head_count_kv"));
    if (v == nullptr) {
      return heads();
    }
    if (const auto* list = std::get_if<std::vector<int64_t>>(&v->value)) {
      const bool hybrid = family_.is("lfm2");
      const int64_t most = list->empty() ? 0 : std::ranges::max(*list);
      if (most <= 0 ||
          std::ranges::any_of(*list, [&](auto n) { return n != most && (n != 0 || !hybrid); })) {
        fail("the number of key heads differs from layer to layer");
      }
      return most;
    }
    return size("attention.head_count_kv");
  }
  // What may differ from layer to layer: a list, or one number for all of them.
  std::vector<int64_t> by_layer(const char* rest, int64_t layers) const {
    const GgufValue* v = file_.value(key(rest));
    const auto* list = v == nullptr ? nullptr : std::get_if<std::vector<int64_t>>(&v->value);
    std::vector<int64_t> out =
        list == nullptr ? std::vector(static_cast<size_t>(layers), size(rest)) : *list;
    constexpr int64_t kMost = int64_t{1} << 31;
    if (static_cast<int64_t>(out.size()) != layers ||
        std::ranges::any_of(out, [](int64_t n) { return n <= 0 || n > kMost; })) {
      fail(fmt::format("{} has not a number for each of {} layers", key(rest), layers));
    }
    return out;
  }
  // How much of each head is turned.
  double rotated_share() const {
    const int64_t rotated = integer("rope.dimension_count").value_or(head_dim());
    return static_cast<double>(rotated) / static_cast<double>(head_dim());
  }
  int64_t head_dim() const {
    return integer("attention.key_length").value_or(size("embedding_length") / heads());
  }
  int64_t vocab() const {
    const GgufTensor* embedding = file_.find("token_embd.weight");
    if (embedding == nullptr || embedding->shape.size() != 2) {
      throw Error("M244",
                  fmt::format("{} has no matrix \"token_embd.weight\"", file_.path().string()))
          .hint("the file is incomplete; fetch or convert it again");
    }
    return embedding->shape[0];
  }
  double theta() const {
    return number("rope.freq_base").value_or(family_.is("gemma3_text") ? 1e6 : 1e4);
  }

  const GgufFile& file() const { return file_; }
  const GgufFamily& family() const { return family_; }

 private:
  const GgufFile& file_;
  const GgufFamily& family_;
};

}  // namespace sft
