// What this machine calls itself, for messages and logs.
#pragma once

#include <string>

namespace sft {

std::string host_name();

}  // namespace sft
