#include "run/broken_folders.h"

#include <cstring>
#include <limits>

#include "core/file.h"
#include "core/file_writer.h"
#include "core/json.h"

namespace sft::testing {

namespace {

constexpr const char* kWeights = "model.safetensors";

void edit(const fs::path& file, const std::string& key, const Json& value) {
  Json json = read_json(file);
  if (value.is_null()) {
    json.erase(key);
  } else {
    json[key] = value;
  }
  write_text(file, to_text(json, 2));
}

Json get(const fs::path& file, const std::string& key) { return read_json(file)[key]; }

// A file of weights as a header and the bytes behind it.
struct Weights {
  explicit Weights(const fs::path& file) {
    const std::string all = read_text(file);
    uint64_t size = 0;
    std::memcpy(&size, all.data(), sizeof(size));
    header = parse_json(all.substr(8, size), "header");
    data = all.substr(8 + size);
  }
  void write(const fs::path& file) const {
    std::string text = to_text(header);
    text.append((8 - text.size() % 8) % 8, ' ');
    const uint64_t size = text.size();
    std::string all(reinterpret_cast<const char*>(&size), sizeof(size));
    write_text(file, all + text + data);
  }
  // Takes a tensor out, its bytes too.
  void drop(const std::string& name) {
    const auto begin = header[name]["data_offsets"][0].get<uint64_t>();
    const auto end = header[name]["data_offsets"][1].get<uint64_t>();
    data.erase(begin, end - begin);
    header.erase(name);
    for (auto& [key, entry] : header.items()) {
      if (key != "__metadata__" && entry["data_offsets"][0].get<uint64_t>() >= end) {
        for (Json& offset : entry["data_offsets"]) {
          offset = offset.get<uint64_t>() - (end - begin);
        }
      }
    }
  }
  void add(const std::string& name, const Json& shape, const std::string& bytes) {
    header[name] = {{"dtype", "F32"},
                    {"shape", shape},
                    {"data_offsets", {data.size(), data.size() + bytes.size()}}};
    data += bytes;
  }
  Json header;
  std::string data;
};

void change_weights(const fs::path& folder, void (*change)(Weights&)) {
  Weights weights(folder / kWeights);
  change(weights);
  weights.write(folder / kWeights);
}

// The weights as one shard with an index.
Json shard(const fs::path& folder) {
  const Weights weights(folder / kWeights);
  fs::rename(folder / kWeights, folder / "model-00001-of-00001.safetensors");
  Json map = Json::object();
  for (const auto& [name, entry] : weights.header.items()) {
    if (name != "__metadata__") {
      map[name] = "model-00001-of-00001.safetensors";
    }
  }
  return {{"metadata", {{"total_size", weights.data.size()}}}, {"weight_map", map}};
}

void write_index(const fs::path& folder, const Json& index) {
  write_text(folder / "model.safetensors.index.json", to_text(index, 2));
}

void both_templates(const fs::path& folder, const std::string& text) {
  write_text(folder / "chat_template.jinja", text);
  edit(folder / "tokenizer_config.json", "chat_template", text);
}

}  // namespace

const std::vector<Fault>& faults() {
  static const std::vector<Fault> table{
      {"config-missing", [](const fs::path& f) { fs::remove(f / "config.json"); }},
      {"config-unreadable", [](const fs::path& f) { write_text(f / "config.json", "{\"a\":"); }},
      {"model-type-missing",
       [](const fs::path& f) { edit(f / "config.json", "model_type", Json()); }},
      {"model-type-unknown",
       [](const fs::path& f) { edit(f / "config.json", "model_type", "lama"); }},
      {"architectures-missing",
       [](const fs::path& f) { edit(f / "config.json", "architectures", Json()); }},
      {"architecture-unknown",
       [](const fs::path& f) {
         edit(f / "config.json", "architectures", Json::array({"LlamaForCausalLm"}));
       }},
      {"rope-old-form",
       [](const fs::path& f) {
         edit(f / "config.json", "rope_parameters",
              {{"rope_theta", 500000.0}, {"rope_type", "default"}});
         edit(f / "config.json", "rope_theta", Json());
       }},
      {"rope-forms-differ",
       [](const fs::path& f) {
         edit(f / "config.json", "rope_parameters",
              {{"rope_theta", 500000.0}, {"rope_type", "default"}});
       }},
      {"dtype-old-form", [](const fs::path& f) { edit(f / "config.json", "torch_dtype", Json()); }},
      {"vocab-size", [](const fs::path& f) { edit(f / "config.json", "vocab_size", 496); }},
      {"shapes", [](const fs::path& f) { edit(f / "config.json", "intermediate_size", 64); }},
      {"tensors-missing",
       [](const fs::path& f) { edit(f / "config.json", "num_hidden_layers", 3); }},
      {"layers-dropped",
       [](const fs::path& f) { edit(f / "config.json", "num_hidden_layers", 1); }},
      {"head-missing",
       [](const fs::path& f) { edit(f / "config.json", "tie_word_embeddings", false); }},
      {"head-differs",
       [](const fs::path& f) {
         change_weights(f, [](Weights& w) {
           w.add("lm_head.weight", {512, 48}, std::string(size_t{512} * 48 * 4, '\0'));
         });
       }},
      {"tensors-foreign",
       [](const fs::path& f) {
         change_weights(f,
                        [](Weights& w) { w.add("model.extra.weight", {2}, std::string(8, '\0')); });
       }},
      {"weights-missing", [](const fs::path& f) { fs::remove(f / kWeights); }},
      {"weights-damaged",
       [](const fs::path& f) {
         const std::string all = read_text(f / kWeights);
         write_text(f / kWeights, all.substr(0, all.size() / 2));
       }},
      {"weights-pointer",
       [](const fs::path& f) {
         write_text(f / kWeights, "version https://git-lfs.github.com/spec/v1\noid sha256:" +
                                      std::string(64, '0') + "\nsize 12345\n");
       }},
      {"weights-not-finite",
       [](const fs::path& f) {
         change_weights(f, [](Weights& w) {
           const float nan = std::numeric_limits<float>::quiet_NaN();
           const auto at = w.header["model.norm.weight"]["data_offsets"][0].get<size_t>();
           std::memcpy(w.data.data() + at, &nan, sizeof(nan));
         });
       }},
      {"shard-missing",
       [](const fs::path& f) {
         Json index = shard(f);
         for (auto& [name, file] : index["weight_map"].items()) {
           file = "model-00002-of-00002.safetensors";
         }
         write_index(f, index);
       }},
      {"index-incomplete",
       [](const fs::path& f) {
         Json index = shard(f);
         index["weight_map"].erase("model.norm.weight");
         write_index(f, index);
       }},
      {"index-misplaced",
       [](const fs::path& f) {
         Json index = shard(f);
         Weights whole(f / "model-00001-of-00001.safetensors");
         Weights rest = whole;
         std::vector<std::string> names;
         for (const auto& [name, entry] : whole.header.items()) {
           if (name != "__metadata__" && name != "model.norm.weight") {
             names.push_back(name);
           }
         }
         for (const std::string& name : names) {
           rest.drop(name);
         }
         whole.drop("model.norm.weight");
         whole.write(f / "model-00001-of-00001.safetensors");
         rest.write(f / "model-00002-of-00002.safetensors");
         index["weight_map"]["model.embed_tokens.weight"] = "model-00002-of-00002.safetensors";
         write_index(f, index);
       }},
      {"tokenizer-missing", [](const fs::path& f) { fs::remove(f / "tokenizer.json"); }},
      {"tokenizer-unreadable", [](const fs::path& f) { write_text(f / "tokenizer.json", "{"); }},
      {"tokenizer-settings-missing",
       [](const fs::path& f) { fs::remove(f / "tokenizer_config.json"); }},
      {"class-missing",
       [](const fs::path& f) { edit(f / "tokenizer_config.json", "tokenizer_class", Json()); }},
      {"class-of-transformers-5",
       [](const fs::path& f) {
         edit(f / "tokenizer_config.json", "tokenizer_class", "TokenizersBackend");
       }},
      {"class-unknown",
       [](const fs::path& f) {
         edit(f / "tokenizer_config.json", "tokenizer_class", "MyTokenizer");
       }},
      {"extra-tokens-list",
       [](const fs::path& f) {
         edit(f / "tokenizer_config.json", "extra_special_tokens", Json::array({"<|im_start|>"}));
       }},
      {"eos-missing",
       [](const fs::path& f) {
         fs::remove(f / "special_tokens_map.json");
         edit(f / "tokenizer_config.json", "eos_token", Json());
       }},
      {"eos-unknown",
       [](const fs::path& f) {
         fs::remove(f / "special_tokens_map.json");
         edit(f / "tokenizer_config.json", "eos_token", "<|nope|>");
       }},
      {"tokens-beyond",
       [](const fs::path& f) {
         Json tokenizer = read_json(f / "tokenizer.json");
         Json token = tokenizer["added_tokens"][0];
         token["id"] = 512;
         token["content"] = "<|beyond|>";
         tokenizer["added_tokens"].push_back(token);
         write_text(f / "tokenizer.json", to_text(tokenizer));
       }},
      {"template-missing",
       [](const fs::path& f) {
         fs::remove(f / "chat_template.jinja");
         edit(f / "tokenizer_config.json", "chat_template", Json());
       }},
      {"template-not-inside",
       [](const fs::path& f) { edit(f / "tokenizer_config.json", "chat_template", Json()); }},
      {"templates-differ",
       [](const fs::path& f) {
         edit(f / "tokenizer_config.json", "chat_template",
              get(f / "tokenizer_config.json", "chat_template").get<std::string>() + " ");
       }},
      {"template-syntax",
       [](const fs::path& f) { both_templates(f, "{% for m in messages %}{{ m.content }"); }},
      {"generation-unreadable",
       [](const fs::path& f) { write_text(f / "generation_config.json", "{"); }},
      {"eos-id-beyond",
       [](const fs::path& f) { edit(f / "generation_config.json", "eos_token_id", 99999); }},
      {"turn-never-ends",
       [](const fs::path& f) {
         edit(f / "generation_config.json", "eos_token_id", 0);
         edit(f / "config.json", "eos_token_id", 0);
       }},
      {"sampling-unused",
       [](const fs::path& f) {
         edit(f / "generation_config.json", "do_sample", false);
         edit(f / "generation_config.json", "temperature", 0.6);
       }},
      {"quantised",
       [](const fs::path& f) {
         edit(f / "config.json", "quantization_config", {{"quant_method", "mymethod"}});
       }},
  };
  return table;
}

void make_broken_folders(const fs::path& sound, const fs::path& folder) {
  fs::create_directories(folder);
  for (const Fault& fault : faults()) {
    const fs::path to = folder / fault.name;
    fs::remove_all(to);
    fs::copy(sound, to, fs::copy_options::recursive);
    fault.make(to);
  }
}

}  // namespace sft::testing
