// Text from files, models and servers as a terminal may be given it. Used where words reach people.
#pragma once

#include <string>
#include <string_view>

namespace sft {

// Spells out, as "\x1b", control characters other than line ends and tabs, and bytes that are not
// UTF-8: nothing is left that moves the cursor, renames the window or hides text.
std::string printable(std::string_view text);

}  // namespace sft
