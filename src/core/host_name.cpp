#include "core/host_name.h"

#include <unistd.h>

#include <array>

namespace sft {

std::string host_name() {
  std::array<char, 256> name{};  // one more than is asked for: it may come without an end
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace sft
