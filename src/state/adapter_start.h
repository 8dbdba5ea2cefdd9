// What the tensors of an adapter hold when a run begins, and what the base holds beneath it: the
// values that were drawn or read, and those that follow from the base's weights. Used by load_model
// and by `sft merge`.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/model_source.h"
#include "model/adapters.h"
#include "state/low_rank.h"

namespace sft {

class AdapterStart {
 public:
  // A new adapter: A and B as drawn, after `before` numbers for others. They are drawn when the
  // first value is read: a plan, or a model with random weights, needs none.
  static AdapterStart drawn(const LoraConfig& config, const AdapterPlan& plan, uint64_t seed,
                            uint64_t before = 0);
  // An adapter that is there, by the names in its file.
  static AdapterStart given(const LoraConfig& config, const AdapterPlan& plan,
                            std::map<std::string, std::vector<float>> values);

  // Values `part` of a tensor, of the adapter or of the base beneath it, as float32.
  void read(const ModelSource& source, const std::string& name, ElementRange part, float* to,
            ThreadPool& pool);
  // Of values `part` of a target's weight: adds the adapter's update, as a merged model has it.
  void add_update(const ModelSource& source, const AdapterTarget& target, ElementRange part,
                  float* values, ThreadPool& pool);
  // Puts the trained rows of a table in their places.
  void put_tokens(const std::string& module, ElementRange part, float* values) const;
  // How the base is kept: rounded to `from`, and packed. Magnitudes are measured on what it then
  // is.
  void keep_as(StoredType stored, DType from) {
    stored_ = std::move(stored);
    packed_from_ = from;
  }
  // Whether a tensor of the base is not read as its source has it.
  bool changes(const std::string& name) const;
  // Published tensors of the base that read as zeros.
  void zero(std::set<std::string> names) { zeroed_ = std::move(names); }
  // The type that PEFT makes an adapter in, or TRL casts it to. Its values are rounded to it.
  void round_to(DType type, bool magnitudes = true) {
    rounding_ = type;
    rounds_magnitudes_ = magnitudes;
  }

 private:
  AdapterStart(const LoraConfig& config, const AdapterPlan& plan);
  void draw();
  const LowRank& factors(const ModelSource& source, const AdapterTarget& target, ThreadPool& pool);
  const std::vector<float>& values(const ModelSource& source, const AdapterTarget& target, bool b,
                                   ThreadPool& pool);
  void read_base(const ModelSource& source, const std::string& name, ElementRange part, float* to,
                 ThreadPool& pool);
  bool is_kept_packed(const ModelSource& source, const std::string& weight) const;
  // Rows [first, last) of the weight beneath an adapter, as it is kept.
  std::vector<float> kept_rows(const ModelSource& source, const AdapterTarget& target,
                               ElementRange rows, ThreadPool& pool);
  void read_magnitudes(const ModelSource& source, const AdapterTarget& target, ElementRange part,
                       float* to, ThreadPool& pool);
  // The lengths of the columns of a table with its adapter, of all its words.
  const std::vector<float>& column_lengths(const ModelSource& source, const AdapterTarget& target,
                                           ThreadPool& pool);
  void read_tokens(const ModelSource& source, const std::string& module, ElementRange part,
                   float* to, ThreadPool& pool);

  std::function<AdapterDraws()> draws_;  // what is still to be drawn
  LoraConfig config_;
  std::map<std::string, AdapterTarget> targets_;        // by module
  std::map<std::string, std::vector<int64_t>> tokens_;  // by module
  std::map<std::string, std::vector<float>> values_;    // by name
  std::map<std::string, std::vector<float>> starts_;    // of pissa_niter, by module
  std::map<std::string, LowRank> factors_;              // of PiSSA and OLoRA, by module
  std::map<std::string, std::vector<float>> lengths_;   // of a table's columns, by module
  std::set<std::string> zeroed_;
  std::optional<DType> rounding_;
  bool rounds_magnitudes_ = true;
  StoredType stored_;
  DType packed_from_ = DType::f32;
};

}  // namespace sft
