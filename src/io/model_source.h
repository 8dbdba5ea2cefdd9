// The one way the program gets a model: a Hugging Face folder, a .gguf file, or a hub id (from the
// cache or downloaded; "owner/name/file.gguf" is one file of it). Used by the trainer, the
// generator and the saver. A GGUF file is shown as the folder transformers would have written for
// it: names, shapes, config.json, tokenizer files.
//
// The dtype of saved weights follows `stored_dtype()`. A quantised GGUF counts as float32: the
// decoded values are exact in float32 only, so only then does transformers give the same logits for
// the saved folder as this program gave for the source.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/file.h"
#include "core/json.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "graph/parameter.h"
#include "hub/cache.h"
#include "io/safetensors_writer.h"
#include "model/quantisation.h"

namespace sft {

class ModelSource {
 public:
  // A path to a folder or file that exists wins over a hub id. `revision` is a branch, tag or
  // commit of the hub id ("" means main). M305 names every place looked at when it is not there
  // and there is no network; M300-M310, S301-S308, S030 and S031 when fetching it fails (hub);
  // M200-M247 when what is there cannot be used.
  static std::unique_ptr<ModelSource> open(const std::string& name_or_path,
                                           const std::string& revision,
                                           const HubEnvironment& environment);

  virtual ~ModelSource() = default;
  ModelSource(const ModelSource&) = delete;
  ModelSource& operator=(const ModelSource&) = delete;

  // What the user called it, and the folder or file it was found in.
  const std::string& name() const { return name_; }
  const fs::path& path() const { return path_; }
  // "safetensors" or "GGUF Q4_1", for people.
  virtual std::string format() const = 0;

  // config.json as the source has it, or the text part of it; both generations of keys occur
  // (rope_theta or rope_parameters, torch_dtype or dtype).
  const Json& config() const { return config_; }
  // Other values for keys of config.json, which a saved model keeps. C075 for a key that it has
  // not.
  void override_config(const Json& values);
  // The same for one key, which config.json need not have.
  void set_config(const std::string& key, const Json& value);
  const Json& overrides() const { return overrides_; }
  // M228 or M010 when the file is not an object; nothing when there is no such file.
  std::optional<Json> generation_config() const;

  // The ids that another model's template has brought, in the order in which they came
  // (io/token_donor.h).
  virtual std::vector<int64_t> added_tokens() const { return {}; }
  // How many numbers transformers draws where it makes the tables larger for them.
  virtual uint64_t numbers_drawn() const { return 0; }

  // Whether the weights are on this machine. Those of the hub are fetched when they are first asked
  // for, by any of the functions below: what config.json and the tokenizer's files can tell is told
  // before.
  virtual bool weights_are_here() const { return true; }

  // Tensors under their Hugging Face names.
  virtual const std::vector<std::string>& names() const = 0;
  virtual bool has(const std::string& name) const = 0;
  virtual Shape shape(const std::string& name) const = 0;  // M244 when it is missing
  // Writes the values of `part` of a tensor as floats; M244 when it is missing, M246 for a dtype
  // that is not a plain float. The pool, when given, must be idle.
  virtual void read_f32(const std::string& name, ElementRange part, float* destination,
                        ThreadPool* pool = nullptr) const = 0;
  void read_f32(const std::string& name, float* destination, ThreadPool* pool = nullptr) const {
    read_f32(name, {0, shape(name).elements()}, destination, pool);
  }
  // M244 or M245 (naming tensor, expected and found) unless `name` is there with this shape.
  void require(const std::string& name, const Shape& expected) const;
  // That of most of the weight matrices' elements; see above for quantised files.
  virtual DType stored_dtype() const = 0;

  // --- a text model that is a part of a larger one (io/text_part.h)
  // Whether it is.
  virtual bool is_part() const { return false; }
  // The name that a tensor has in the files.
  virtual std::string stored_name(const std::string& name) const { return name; }
  // The tensors beside the text model, byte for byte, for the folder that a saved one goes to.
  virtual std::vector<StreamedTensor> carried() const { return {}; }

  // --- weights that are quantised already, and are kept so while they are frozen
  // The type that a linear layer's weight is kept in; none: that which is computed in. Before the
  // weights are here it is what config.json says.
  virtual std::optional<DType> stored_type(const std::string& /*name*/) const {
    return std::nullopt;
  }
  // Fills `packed` with the tensor as it is; false where it is not in that format. M274 where it
  // can be in no other.
  virtual bool read_packed(const std::string& /*name*/, Tensor& /*packed*/) const { return false; }
  // "bitsandbytes nf4", "float8 by blocks", "GGUF Q4_K": how they are; "" for plain weights.
  virtual std::string quantisation() const { return ""; }
  // The settings by which bitsandbytes quantised them.
  virtual const BnbConfig* bnb() const { return nullptr; }

  // A text file of the model's folder byte for byte ("tokenizer.json", ...), or nothing.
  virtual std::optional<std::string> file_text(const std::string& file) const = 0;
  // The chat templates by name, "default" the usual one: chat_template.jinja and
  // additional_chat_templates/ win over those inside tokenizer_config.json. M249 when one is
  // neither a text nor a list of {name, template}.
  std::map<std::string, std::string> chat_templates() const;
  std::optional<std::string> chat_template() const;  // the default one

 protected:
  ModelSource(std::string name, fs::path path) : name_(std::move(name)), path_(std::move(path)) {}
  void set_config(Json config) { config_ = std::move(config); }
  // The M244 error for a tensor that is not there, with the nearest name there is.
  [[noreturn]] void fail_missing(const std::string& name) const;
  // Names of the files additional_chat_templates/NAME.jinja -> their text.
  virtual std::map<std::string, std::string> additional_templates() const { return {}; }

 private:
  std::string name_;
  fs::path path_;
  Json config_, overrides_ = Json::object();
};

}  // namespace sft
