// Rotary position embedding: of all of a head or of its first part, in pairs half of that apart as
// Hugging Face's models mostly have it, or of neighbours (interleaved).
// Su et al., "RoFormer" (2021).
#pragma once

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/attributes.h"

namespace sft {

// positions (tokens) i32 -> (tokens, rotated): cosines, then sines; where queries are scaled
// (tokens, 2 rotated), first those for keys. Made once for all layers. `documents`: the
// document_table, or where documents start, and the end; null: all tokens are the end of one.
Value rope_table(Program& p, Value positions, Value documents, const RopeFrequencies& frequencies);

// Rotates the query and key heads of qkv (tokens, heads.row()); over qkv's memory where it can.
// `rotated` as in the table's frequencies.
Value rope(Program& p, Value qkv, Value table, const Rotation& rotation, int64_t rotated);

SFT_KERNEL(void, rope_table_forward, const Tensor& positions, const Tensor& documents,
           const RopeFrequencies& frequencies, Tensor& table);
// The backward pass is the rotation by the negative angle. y may be x.
SFT_KERNEL(void, rope_rotate, const Tensor& x, const Tensor& table, const Rotation& rotation,
           int64_t rotated, bool inverse, Tensor& y);

}  // namespace sft
