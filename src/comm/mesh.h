// Connections between each rank and each other, and the messages that go over them. What ranks on
// CPUs do with them is mesh_communicator.cpp's; Gloo's TCP transport is behind this in a library of
// its own (gloo/gloo_mesh.cpp).
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "comm/communicator.h"
#include "core/error.h"

namespace sft {

// A stretch of memory that goes to, or comes from, another rank.
struct Piece {
  void* data = nullptr;
  size_t bytes = 0;
};

class Mesh {
 public:
  virtual ~Mesh() = default;  // closes the connections
  // Sends out[r] to rank r and receives in[r] from it, for all others; empty pieces are left out on
  // both sides. All ranks call it in the same order. N040 when another is lost; from then on each
  // call throws the same.
  virtual void exchange(std::span<const Piece> out, std::span<const Piece> in) = 0;
  // Makes the call that waits, and each later one, throw `why`. From any thread.
  virtual void abort(const Error& why) = 0;
};

// The one entry of libsft_gloo.so: connects all ranks of the group. N041 when they do not find each
// other.
using OpenGloo = Mesh* (*)(const ProcessGroup& group);
constexpr const char* kOpenGloo = "sft_open_gloo";

// Collective operations over the connections that `open` makes, for the group and for what is split
// from it.
std::unique_ptr<Communicator> mesh_communicator(const ProcessGroup& group, OpenGloo open);

}  // namespace sft
