// The page's style and script, as the build has put them into the program (cmake/Embed.cmake).
#pragma once

#include <string_view>

namespace sft::embedded {

extern const std::string_view page_css, page_js;

}  // namespace sft::embedded
