#include "graph/block_marks.h"

#include <algorithm>
#include <map>

namespace sft {

std::vector<BlockMark> block_marks(const Program& program) {
  using Kind = BlockMark::Kind;
  const auto& code = program.instructions();
  std::vector<BlockMark> reads, writes;
  std::map<int, size_t> last_write;  // by block
  for (size_t i = 0; i < code.size(); ++i) {
    for (const Value v : code[i].in) {
      if (!v || program.info(v).kind != ValueInfo::Kind::parameter) {
        continue;
      }
      const int block = program.info(v).bucket;
      if (reads.empty() || reads.back().block != block) {
        if (!reads.empty()) {
          reads.back().next = block;
        }
        reads.push_back({i, Kind::read, block});
      }
    }
    for (const Output& o : code[i].out) {
      if (!o.value || program.info(o.value).kind != ValueInfo::Kind::parameter_grad) {
        continue;
      }
      const int block = program.info(o.value).bucket;
      if (!last_write.contains(block)) {
        writes.push_back({i, Kind::write_gradients, block});
      }
      last_write[block] = i;
    }
  }
  std::vector<BlockMark> marks = reads;
  marks.insert(marks.end(), writes.begin(), writes.end());
  for (const auto& [block, last] : last_write) {
    marks.push_back({last + 1, Kind::gradients_written, block});
  }
  std::ranges::stable_sort(marks, [](const BlockMark& a, const BlockMark& b) {
    return std::pair(a.before, a.kind) < std::pair(b.before, b.kind);
  });
  return marks;
}

}  // namespace sft
