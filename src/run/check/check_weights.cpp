#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/lfs_pointer.h"
#include "core/numbers.h"
#include "io/joined_experts.h"
#include "model/model.h"
#include "run/check/checks.h"

namespace sft {

namespace {

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr size_t kNamed = 3;

const std::vector<Reader> kTransformers{Reader::transformers4, Reader::transformers5,
                                        Reader::lm_eval};
const std::vector<Reader> kOthers{Reader::vllm, Reader::sglang, Reader::llama_cpp, Reader::ollama,
                                  Reader::mlx};

// "a, b, c and 4 more"
std::string some(const std::vector<std::string>& names) {
  const std::vector<std::string> first(
      names.begin(), names.begin() + static_cast<long>(std::min(names.size(), kNamed)));
  return fmt::format(
      "{}{}", fmt::join(first, ", "),
      names.size() > kNamed ? fmt::format(" and {} more", names.size() - kNamed) : "");
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

void check_files(const ModelFolder& folder, Findings& out) {
  if (folder.weight_files.empty() && !folder.pickled) {
    out.push_back({"weights-missing", "model.safetensors", "there are no weights",
                   "fetch the model's files again", for_all(Effect::refuses)});
  }
  if (folder.weight_files.empty() && folder.pickled) {
    out.push_back(
        {"weights-pickled", "pytorch_model.bin",
         "the weights are a pickle, which runs code when it is read",
         "save the model as safetensors",
         effects({{Effect::refuses, {Reader::mlx}},
                  {Effect::warns,
                   {Reader::transformers4, Reader::transformers5, Reader::vllm, Reader::sglang,
                    Reader::llama_cpp, Reader::ollama, Reader::lm_eval}}})});
  }
  for (const auto& [name, why] : folder.damaged) {
    const bool pointer = is_lfs_pointer(read_text(folder.path / name).substr(0, 200));
    out.push_back({pointer ? "weights-pointer" : "weights-damaged", name,
                   pointer ? fmt::format("{} is a pointer of git-lfs, not the weights", name)
                           : fmt::format("{} cannot be read: {}", name, why),
                   pointer ? "git lfs pull" : "fetch the file again", for_all(Effect::refuses)});
  }
}

void check_index(const ModelFolder& folder, Findings& out) {
  if (!folder.index.there) {
    return;
  }
  const Json map = folder.index.get("weight_map");
  if (!folder.index.usable() || !map.is_object()) {
    out.push_back({"index-unreadable", kIndex,
                   fmt::format("{} has no weight_map that can be read", kIndex),
                   "fetch the file again", for_all(Effect::refuses)});
    return;
  }
  std::set<std::string> missing;
  std::vector<std::string> misplaced, unlisted;
  for (const auto& [name, file] : map.items()) {
    const std::string shard = file.is_string() ? file.get<std::string>() : "";
    if (!folder.has(shard) || shard.empty()) {
      missing.insert(shard);
    } else if (const auto found = folder.tensors.find(name);
               !folder.damaged.contains(shard) &&
               (found == folder.tensors.end() || found->second.file != shard)) {
      misplaced.push_back(name);
    }
  }
  std::set<std::string> listed;
  for (const auto& [name, file] : map.items()) {
    listed.insert(name);
  }
  Json whole = folder.index.value;
  for (const auto& [name, tensor] : folder.tensors) {
    if (!listed.contains(name)) {
      unlisted.push_back(name);
    }
    whole["weight_map"][name] = tensor.file;
  }
  for (const std::string& name : misplaced) {
    if (!folder.tensors.contains(name)) {
      whole["weight_map"].erase(name);
    }
  }
  if (!missing.empty()) {
    out.push_back({"shard-missing", kIndex,
                   fmt::format("{} names {}, which is not there", kIndex,
                               some({missing.begin(), missing.end()})),
                   "fetch the file", for_all(Effect::refuses)});
  }
  if (!misplaced.empty()) {
    out.push_back(
        {"index-misplaced",
         kIndex,
         fmt::format("{} says of {} another file than it lies in", kIndex, some(misplaced)),
         "make the index of what the files hold",
         for_all(Effect::warns),
         {{kIndex, "weight_map", whole["weight_map"]}}});
  }
  if (!unlisted.empty() && missing.empty()) {
    out.push_back({"index-incomplete",
                   kIndex,
                   fmt::format("{} does not list {}, which the files hold", kIndex, some(unlisted)),
                   "make the index of what the files hold",
                   effects({{Effect::wrong, {Reader::transformers4}},
                            {Effect::refuses, {Reader::sglang, Reader::llama_cpp}}}),
                   {{kIndex, "weight_map", whole["weight_map"]}}});
  }
}

// What the family's tensors should be, by config.json; nothing for a family that is not known here.
std::optional<Model> described(const ModelFolder& folder, std::string& problem) {
  const std::vector<std::string> known = supported_architectures();
  const Json named = folder.config.get("architectures");
  if (!named.is_array() || named.empty() || !named[0].is_string() ||
      std::ranges::find(known, named[0].get<std::string>()) == known.end()) {
    return std::nullopt;
  }
  try {
    return Model::from_config(folder.config.value);
  } catch (const Error& e) {
    problem = e.message();
    return std::nullopt;
  }
}

int64_t layer_of(const std::string& name) {
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) {
    return -1;
  }
  const std::string rest = name.substr(kLayers.size());
  return whole_number(rest.substr(0, rest.find('.'))).value_or(-1);
}

void check_embedding(const ModelFolder& folder, Findings& out) {
  const auto table = folder.tensors.find(kEmbeddingWeight);
  const auto vocab = json_whole(folder.config.get("vocab_size"), 0, kMostCount);
  if (table == folder.tensors.end() || table->second.shape.size() != 2 || !vocab ||
      *vocab == table->second.shape[0]) {
    return;
  }
  out.push_back({"vocab-size",
                 "config.json: vocab_size",
                 fmt::format("vocab_size is {}, and the embeddings have {} rows", *vocab,
                             table->second.shape[0]),
                 fmt::format("set vocab_size to {}", table->second.shape[0]),
                 for_all(Effect::refuses),
                 {{"config.json", "vocab_size", table->second.shape[0]}}});
}

// The tensor of all experts that holds this one's matrix; "" where there is none of these sizes.
std::string joined_with(const ModelFolder& folder, const std::string& name,
                        const std::vector<int64_t>& wanted) {
  const auto place = expert_place(name);
  const auto found = place ? folder.tensors.find(place->tensor) : folder.tensors.end();
  if (found == folder.tensors.end() || found->second.shape.size() != 3) {
    return "";
  }
  return place->shape_in(Shape(found->second.shape)) == Shape(wanted) ? place->tensor : "";
}

void check_tensors(const ModelFolder& folder, const Model& model, Findings& out) {
  const int64_t layers = model.config.layers;
  std::set<std::string> expected;
  std::vector<std::string> missing, shapes, dropped, foreign;
  for (const ParamSpec* const spec : model.parameters()) {
    for (const ParamPiece& piece : spec->pieces) {
      expected.insert(piece.name);
      const auto found = folder.tensors.find(piece.name);
      const std::vector<int64_t> wanted = spec->shape_of(piece).dims();
      if (const std::string joined = joined_with(folder, piece.name, wanted); !joined.empty()) {
        expected.insert(joined);
        continue;
      }
      if (found == folder.tensors.end()) {
        missing.push_back(piece.name);
      } else if (found->second.shape != wanted) {
        const bool table = piece.name == kEmbeddingWeight || piece.name == kHeadWeight;
        const bool rows_only = table && found->second.shape.size() == 2 && wanted.size() == 2 &&
                               found->second.shape[1] == wanted[1];
        if (!rows_only) {  // vocab_size says it
          shapes.push_back(fmt::format("{} is {}, wanted {}", piece.name,
                                       shape_text(found->second.shape), shape_text(wanted)));
        }
      }
    }
  }
  for (const auto& [name, tensor] : folder.tensors) {
    // What guesses further tokens (Qwen3-Next) every reader takes or leaves without a word.
    if (expected.contains(name) || name == kHeadWeight || name.ends_with("rotary_emb.inv_freq") ||
        name.starts_with("mtp.")) {
      continue;
    }
    (layer_of(name) >= layers ? dropped : foreign).push_back(name);
  }
  const bool head = std::erase(missing, kHeadWeight) > 0;
  if (head) {
    out.push_back({"head-missing",
                   "config.json: tie_word_embeddings",
                   "there is no lm_head.weight, and config.json does not say that the head is the "
                   "embedding table: readers make one up",
                   "set tie_word_embeddings to true, if the model was trained so",
                   effects({{Effect::wrong, kTransformers}, {Effect::refuses, kOthers}}),
                   {{"config.json", "tie_word_embeddings", true}}});
  }
  if (!missing.empty()) {
    out.push_back(
        {"tensors-missing", some(missing),
         fmt::format("{} tensors are missing: transformers makes up random ones", missing.size()),
         "fetch the weights again, or correct num_hidden_layers",
         effects({{Effect::wrong, kTransformers}, {Effect::refuses, kOthers}})});
  }
  if (!shapes.empty()) {
    out.push_back(
        {"shapes", shapes[0],
         fmt::format("{} tensors are not of the sizes that config.json says", shapes.size()),
         "correct config.json, or fetch the weights again", for_all(Effect::refuses)});
  }
  if (!dropped.empty()) {
    out.push_back({"layers-dropped", "config.json: num_hidden_layers",
                   fmt::format("num_hidden_layers is {}, and the weights have more layers ({}): "
                               "transformers leaves them out",
                               layers, some(dropped)),
                   "correct num_hidden_layers",
                   effects({{Effect::wrong, kTransformers}, {Effect::refuses, kOthers}})});
  }
  if (!foreign.empty()) {
    out.push_back({"tensors-foreign", some(foreign),
                   fmt::format("{} tensors belong to no model of this family", foreign.size()),
                   "leave them out when the model is saved",
                   effects({{Effect::warns, kTransformers}, {Effect::refuses, kOthers}})});
  }
}

// A head of its own where config.json says that there is none.
void check_head(const ModelFolder& folder, Findings& out) {
  if (folder.config.get("tie_word_embeddings") != true) {
    return;
  }
  const SafetensorsFile *head_file = nullptr, *table_file = nullptr;
  const StoredTensor *head = nullptr, *table = nullptr;
  for (const auto& file : folder.files) {
    if (const StoredTensor* found = file->find(kHeadWeight)) {
      head = found;
      head_file = file.get();
    }
    if (const StoredTensor* found = file->find(kEmbeddingWeight)) {
      table = found;
      table_file = file.get();
    }
  }
  if (head == nullptr || table == nullptr) {
    return;
  }
  const auto a = head_file->raw(*head), b = table_file->raw(*table);
  if (!std::ranges::equal(a, b)) {
    out.push_back({"head-differs",
                   "config.json: tie_word_embeddings",
                   "tie_word_embeddings is true, and lm_head.weight differs from the embeddings: "
                   "transformers 5 keeps it, others take the embeddings for the head",
                   "set tie_word_embeddings to false",
                   effects({{Effect::wrong,
                             {Reader::transformers4, Reader::vllm, Reader::sglang, Reader::mlx}}}),
                   {{"config.json", "tie_word_embeddings", false}}});
  }
}

void check_values(const ModelFolder& folder, Findings& out) {
  constexpr int64_t kPiece = 1 << 20;
  std::vector<float> values(kPiece);
  std::vector<std::string> bad;
  for (const auto& file : folder.files) {
    for (const StoredTensor& tensor : file->tensors()) {
      if (tensor.dtype != "F32" && tensor.dtype != "F16" && tensor.dtype != "BF16") {
        continue;
      }
      for (int64_t begin = 0; begin < tensor.elements(); begin += kPiece) {
        const int64_t end = std::min(begin + kPiece, tensor.elements());
        file->read_f32(tensor, {begin, end}, values.data());
        if (!std::all_of(values.begin(), values.begin() + (end - begin),
                         [](float x) { return std::isfinite(x); })) {
          bad.push_back(tensor.name);
          break;
        }
      }
    }
  }
  if (!bad.empty()) {
    out.push_back({"weights-not-finite", some(bad),
                   fmt::format("{} tensors hold values that are no numbers", bad.size()),
                   "take an earlier checkpoint", for_all(Effect::wrong)});
  }
}

}  // namespace

void check_weights(const ModelFolder& folder, bool look_inside, Findings& out) {
  check_files(folder, out);
  check_index(folder, out);
  if (folder.config.usable() && !folder.tensors.empty() && folder.damaged.empty() &&
      std::ranges::none_of(out, [](const Finding& f) { return f.id == "shard-missing"; })) {
    check_embedding(folder, out);
    check_head(folder, out);
    std::string problem;
    if (const auto model = described(folder, problem)) {
      check_tensors(folder, *model, out);
    } else if (!problem.empty()) {
      out.push_back({"config-values", "config.json", "config.json describes no model: " + problem,
                     "take the values of the model that this one was made of",
                     for_all(Effect::refuses)});
    }
  }
  if (look_inside) {
    check_values(folder, out);
  }
}

}  // namespace sft
