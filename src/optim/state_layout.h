// Where an optimizer's state of each stretch of the flat layout lies. The optimizer, checkpoints,
// ZeRO and the memory plan read it from here.
#pragma once

#include <string>
#include <vector>

#include "graph/parameter.h"
#include "optim/rules.h"

namespace sft {

// Neighbouring elements of one format and one weight decay. Copied to devices as it is.
struct StateSegment {
  int64_t begin, end;  // in the layout; the begin is a whole tile
  int64_t at;          // byte of each slot's buffer where its states begin
  int64_t scale_at;    // float of each scale buffer where its scales begin
  StateFormat format;
  bool decay;
};

// Part of a published tensor's state in one buffer: values [begin, end) of the tensor, or the
// scales of its tiles (value i is the scale of elements 256 i and on).
struct StatePart {
  std::string name;  // "exp_avg.lm_head.weight", "exp_avg_sq_scale.lm_head.weight"
  Shape shape;       // of the whole tensor, or (tiles)
  int64_t begin = 0, end = 0;
  DType dtype = DType::f32;
  int slot = 0;        // which buffer it lies in: of a slot's values,
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
  bool uses(int slot) const { return uses_slot(settings_, slot); }
  int64_t slot_bytes() const { return bytes_; }  // of each slot's values
  int64_t scales() const { return scales_; }     // of each slot
  int64_t bytes() const;                         // of all slots
  // Everything a checkpoint holds of this range.
  std::vector<StatePart> parts(const std::vector<ParamSpec>& specs,
                               const ParamLayout& layout) const;

 private:
  void append(ElementRange range, StateFormat format, bool decay);

  OptimizerSettings settings_;
  ElementRange range_;
  std::vector<StateSegment> segments_;
  int64_t bytes_ = 0, scales_ = 0;
};

}  // namespace sft
