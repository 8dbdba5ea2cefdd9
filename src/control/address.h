// This host's address as others see it.
#pragma once

#include <string>

namespace sft {

// This host's address as the machine `towards` sees it: what a ProcessGroup needs. Loopback when
// there is no way there.
std::string address_towards(const std::string& towards);

}  // namespace sft
