#include "run/modelfile.h"

#include <gtest/gtest.h>

#include "core/file.h"
#include "support/paths.h"

namespace sft {
namespace {

ChatTemplate of_model(const std::string& name) {
  return ChatTemplate(
      read_text(fs::path(SFT_TEST_DIR) / "golden" / "models" / name / "chat_template.jinja"),
      {{"bos_token", "<|begin_of_text|>"}, {"eos_token", "<|im_end|>"}});
}

TEST(Modelfile, TheTurnsOfPublishedTemplatesAreFound) {
  const auto qwen = turn_shape(of_model("q2gqa"), "<|im_end|>");
  ASSERT_TRUE(qwen);
  EXPECT_EQ(qwen->system_open, "<|im_start|>system\n");
  EXPECT_EQ(qwen->system_close, "<|im_end|>\n");
  EXPECT_EQ(qwen->user_open, "<|im_start|>user\n");
  EXPECT_EQ(qwen->user_close, "<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(qwen->answer_close, "<|im_end|>\n");
  EXPECT_EQ(qwen->default_system,
            "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");
  const auto llama = turn_shape(of_model("l32"), "<|eot_id|>");
  ASSERT_TRUE(llama);
  EXPECT_EQ(llama->user_open, "<|start_header_id|>user<|end_header_id|>\n\n");
  EXPECT_TRUE(llama->begin.starts_with("<|begin_of_text|>"));
}

TEST(Modelfile, TheRuntimesOwnFirstTokenIsLeftOut) {
  const auto llama = turn_shape(of_model("l32"), "<|eot_id|>");
  ASSERT_TRUE(llama);
  EXPECT_EQ(go_template(*llama, "<|begin_of_text|>").find("<|begin_of_text|>"), std::string::npos);
  EXPECT_NE(go_template(*llama, "").find("<|begin_of_text|>"), std::string::npos);
}

TEST(Modelfile, TurnsAndSystemMessageInGo) {
  const ChatTemplate chat(
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
  const auto shape = turn_shape(chat, "<|im_end|>");
  ASSERT_TRUE(shape);
  EXPECT_EQ(go_template(*shape, ""),
            "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
            "{{ range $i, $m := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
            "{{ if eq $m.Role \"user\" }}<|im_start|>user\n{{ $m.Content }}<|im_end|>\n"
            "<|im_start|>assistant\n{{ else if eq $m.Role \"assistant\" }}{{ $m.Content }}"
            "{{ if not $last }}<|im_end|>\n{{ end }}{{ end }}{{ end }}");
}

TEST(Modelfile, ATemplateThatWritesMoreIsNotTranslated) {
  for (const char* source :
       {// numbers its turns
        "{% for m in messages %}[{{ loop.index }}]{{ m.content }}\n{% endfor %}",
        // changes what is said
        "{% for m in messages %}<{{ m.role }}>{{ m.content | upper }}\n{% endfor %}",
        "{% for m in messages %}<{{ m.role }}>{{ m.content | trim | replace('\\n', ' ') }}\n"
        "{% endfor %}",
        // says a thing twice
        "{% for m in messages %}{{ m.content }}{{ m.content }}\n{% endfor %}"}) {
    EXPECT_FALSE(turn_shape(ChatTemplate(source), "")) << source;
  }
}

}  // namespace
}  // namespace sft
