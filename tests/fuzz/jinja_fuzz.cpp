// Any text as a chat template, rendered over one conversation.
#include "chat/chat_template.h"
#include "fuzz/support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  static const Json messages = Json::parse(R"([
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hällo 世界"}]},
    {"role": "assistant", "content": "", "reasoning_content": "r",
     "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, 2.5, null, true]}}}]},
    {"role": "tool", "content": "{\"y\": 1}"},
    {"role": "assistant", "content": " ok "}])");
  static const RenderOptions options{
      .add_generation_prompt = true,
      .tools = Json::parse(R"([{"type": "function", "function": {"name": "f"}}])"),
      .most_steps = 2'000'000};  // a hundredth, or few inputs would be tried
  return fuzz::accepts([&] {
    const ChatTemplate chat(std::string(reinterpret_cast<const char*>(data), size),
                            {{"bos_token", "<s>"}, {"eos_token", "</s>"}}, "fuzz.jinja");
    chat.render(messages, options);
  });
}
