// Where in a program the parameters of a block are about to be read, and where their gradients are
// begun and complete, so that whoever shares them out between ranks (state/sharder.h) can bring
// and take them in time. The program itself knows nothing of ranks.
#pragma once

#include <cstddef>
#include <vector>

#include "graph/program.h"

namespace sft {

struct BlockMark {
  enum class Kind {
    gradients_written,  // nothing writes the block's gradients any more
    read,               // the block's parameters are read next
    write_gradients,    // the block's gradients are written next, for the first time
  };
  size_t before;  // the instruction that it comes before; their number: after the last
  Kind kind;
  int block;      // of the parameters' layout
  int next = -1;  // of `read`: the block whose parameters are read after this one's; -1: none
};

// In the order in which they are reached.
std::vector<BlockMark> block_marks(const Program& program);

// Is told of each mark once all work before it has been given to the device.
class BlockWatcher {
 public:
  virtual ~BlockWatcher() = default;
  virtual void reached(const BlockMark& mark) = 0;
};

}  // namespace sft
