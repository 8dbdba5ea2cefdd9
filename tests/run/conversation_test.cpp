#include "run/conversation.h"

#include <gtest/gtest.h>

#include "support/errors.h"

namespace sft {
namespace {

std::string roles(const Json& messages) {
  std::string text;
  for (const Json& m : messages) {
    text += m["role"].get<std::string>().substr(0, 1) + ":" + m["content"].get<std::string>() + " ";
  }
  return text;
}

TEST(Conversation, UndoAndRetryTakeBackWhatTheySay) {
  Conversation talk(2, "be brief");
  EXPECT_FALSE(talk.undo());
  EXPECT_FALSE(talk.retry());
  talk.ask("one");
  talk.answered(0, "1");
  talk.answered(1, "i");
  talk.ask("two");
  EXPECT_EQ(roles(talk.messages(0)), "s:be brief u:one a:1 u:two ");
  EXPECT_EQ(roles(talk.messages(1)), "s:be brief u:one a:i u:two ");
  talk.answered(0, "2");
  EXPECT_TRUE(talk.retry());
  EXPECT_EQ(roles(talk.messages(0)), "s:be brief u:one a:1 u:two ");
  EXPECT_TRUE(talk.undo());
  EXPECT_EQ(roles(talk.messages(0)), "s:be brief u:one a:1 ");
  talk.set_system("");
  EXPECT_EQ(roles(talk.messages(0)), "u:one a:1 ");
  talk.reset();
  EXPECT_TRUE(talk.messages(0).empty());
}

TEST(Conversation, LinesWithASlashAreCommands) {
  EXPECT_FALSE(chat_command("what is 1/2?"));
  EXPECT_EQ(chat_command("/set  top_k 5 ")->name, "set");
  EXPECT_EQ(chat_command("/set  top_k 5 ")->rest, "top_k 5");
  EXPECT_EQ(chat_command("/undo")->rest, "");
}

TEST(ChatSettings, ANameOrAValueThatCannotBeChangesNothing) {
  ChatSettings settings;
  settings.set("temperature", "0.5");
  EXPECT_EQ(settings.sampling.temperature, 0.5);
  EXPECT_TRUE(settings.sampling.sample) << "a temperature alone would do nothing";
  const std::string before = settings.text();
  for (const auto& [name, value] : {std::pair{"temperature", "0"},
                                    {"temperature", "warm"},
                                    {"top_p", "1.5"},
                                    {"top_k", "-1"},
                                    {"max_new_tokens", "0"},
                                    {"colour", "red"}}) {
    EXPECT_NE(code_of([&] { settings.set(name, value); }), "") << name << " " << value;
    EXPECT_EQ(settings.text(), before);
  }
}

}  // namespace
}  // namespace sft
