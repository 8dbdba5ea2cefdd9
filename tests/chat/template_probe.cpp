// Renders chat templates for tests/peers/templates.py: one case a line on stdin, as JSON, one
// answer a line on stdout.
#include <iostream>

#include "chat/chat_template.h"
#include "core/error.h"

namespace sft {
namespace {

Json render(const Json& test) {
  try {
    const ChatTemplate chat(test["template"], test.value("special", Json::object()), "t");
    RenderOptions options;
    options.add_generation_prompt = test.value("agp", false);
    options.continue_final_message = test.value("cont", false);
    options.tools = test.value("tools", Json());
    options.documents = test.value("documents", Json());
    options.kwargs = test.value("kwargs", Json());
    const bool assistant = test.value("assistant", false);  // what assistant_only_loss trains
    const ChatTemplate used = assistant ? chat.for_assistant_mask() : chat;
    RenderedChat rendered = used.render(test["messages"], options);
    if (assistant && !rendered.has_generation_markers) {
      rendered.generation = assistant_spans(used, test["messages"], options, rendered.text).spans;
    }
    Json spans = Json::array();
    for (const Span& span : rendered.generation) {
      spans.push_back({span.begin, span.end});
    }
    return {{"text", rendered.text}, {"gen", spans}};
  } catch (const Error& e) {
    return {{"error", e.message()}, {"code", e.code().text()}};
  }
}

}  // namespace
}  // namespace sft

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << sft::render(sft::Json::parse(line))
                     .dump(-1, ' ', false, sft::Json::error_handler_t::replace)
              << "\n";
  }
}
