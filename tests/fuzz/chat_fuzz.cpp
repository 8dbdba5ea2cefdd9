// A chat template and the conversation it is given, with a NUL byte between: what both make of each
// other is bounded, whatever they are.
#include "chat/chat_template.h"
#include "core/json_text.h"
#include "fuzz/support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), input.size());
  const std::string_view rest = end < size ? input.substr(end + 1) : "";
  Json messages = json_of(rest);
  if (!messages.is_array()) {
    messages = Json::array({{{"role", "user"}, {"content", std::string(rest)}}});
  }
  return fuzz::accepts([&] {
    ChatTemplate(std::string(input.substr(0, end)), Json::object(), "fuzz.jinja")
        .render(messages, {.most_steps = 2'000'000});  // a hundredth, or few inputs would be tried
  });
}
