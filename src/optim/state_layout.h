// Where an optimizer's state of each stretch of the flat layout lies. The optimizer, checkpoints,
// ZeRO and the memory plan read it from here.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "graph/parameter.h"
#include "optim/rules.h"
#include "optim/whole.h"

namespace sft {

// Neighbouring elements of one rule, format and weight decay. Copied to devices as it is.
struct StateSegment {
  int64_t begin, end;           // in the layout; the begin is a whole tile
  int64_t at[kMaxSlots];        // byte of a slot's buffer where its states begin
  int64_t scale_at[kMaxSlots];  // float of a slot's scale buffer where its scales begin
  RuleName rule;
  StateFormat format;
  bool decay;
  bool whole;    // its tensors are taken whole, after `rule`
  bool rounded;  // float32 weights stay numbers of bfloat16
};

// A published tensor that a step takes whole, of which some elements are in the layout's range.
struct StateTensor {
  ElementRange range;  // all of it, in the layout
  Shape shape;
  int64_t at[kMaxWholeSlots];  // float of the buffer of such states, -1: none
};

// Part of a published tensor's state in one buffer: values [begin, end) of the tensor, or the
// scales of its tiles (value i is the scale of elements 256 i and on).
struct StatePart {
  std::string name;  // "exp_avg.lm_head.weight", "exp_avg_sq_scale.lm_head.weight"
  Shape shape;       // of the whole tensor, or (tiles)
  int64_t begin = 0, end = 0;
  DType dtype = DType::f32;
  int slot = 0;        // which buffer it lies in: of a slot's values (kMaxSlots: of whole tensors),
  bool scale = false;  // or of its scales
  int64_t at = 0;      // its byte there
};

// The parts of the published weights in a stretch of the layout, by Hugging Face's names; `at`
// counts from the stretch's first element.
std::vector<StatePart> weight_parts(const std::vector<ParamSpec>& specs, const ParamLayout& layout,
                                    ElementRange range, DType type);

class StateLayout {
 public:
  // For elements `range` of the layout, from and to whole tiles. With block8, tensors that
  // bitsandbytes keeps in 32 bits are in float32 here: those below 4,096 elements and, as
  // transformers asks for, embeddings; and, only here, a tensor that does not begin at a whole tile
  // of its fused parameter.
  StateLayout(const std::vector<ParamSpec>& specs, const ParamLayout& layout,
              const OptimizerSettings& settings, ElementRange range);

  ElementRange range() const { return range_; }
  const std::vector<StateSegment>& segments() const { return segments_; }
  const std::vector<StateTensor>& tensors() const { return tensors_; }
  std::vector<RuleName> rules() const;  // of the segments, each once
  int64_t slot_bytes(int slot) const { return bytes_[static_cast<size_t>(slot)]; }
  int64_t scales(int slot) const { return scales_[static_cast<size_t>(slot)]; }
  bool has_scales() const;
  int64_t whole_elements() const { return whole_elements_; }  // floats, of whole tensors
  int64_t bytes() const;                                      // of everything
  // Everything a checkpoint holds of this range.
  std::vector<StatePart> parts(const std::vector<ParamSpec>& specs,
                               const ParamLayout& layout) const;

 private:
  void append(ElementRange range, const StateSegment& like);
  void append_tensors(const ParamSpec& spec, int64_t begin);

  OptimizerSettings settings_;
  ElementRange range_;
  std::vector<StateSegment> segments_;
  std::vector<StateTensor> tensors_;
  std::array<int64_t, kMaxSlots> bytes_{}, scales_{};
  int64_t whole_elements_ = 0;
};

}  // namespace sft
