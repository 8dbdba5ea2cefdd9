// What templates and tokenizers of strangers may take. tests/torture/hostile_templates tries many
// more.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <string>

#include "chat/chat_template.h"
#include "core/budget.h"
#include "core/error.h"
#include "support/errors.h"
#include "text/tokenizer.h"

namespace sft {
namespace {

template <class Work>
std::string code_with_hint(const Work& work) {
  const Error error = error_of(work);
  EXPECT_FALSE(error.hint().empty()) << error.message();
  return std::string(error.code().text());
}

std::string render(const std::string& source, const std::string& content = "hello") {
  const Json messages = Json::array({{{"role", "user"}, {"content", content}}});
  return ChatTemplate(source, Json::object(), "hostile").render(messages).text;
}

// Under sanitizers everything takes many times as much; there only the outcome counts.
#ifdef SFT_SANITIZED
constexpr long kMebibytes = 1L << 20;
constexpr std::chrono::seconds kPatience(60);
#else
constexpr long kMebibytes = 512;
constexpr std::chrono::seconds kPatience(2);
#endif

long peak_mebibytes() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return used.ru_maxrss / 1024;
}

TEST(TemplateBudget, SharedValuesAreChargedForEachWalkThroughThem) {
  const std::string shared =
      "{% set n=namespace(x=(1,),y=(1,)) %}{% for i in range(60) %}{% set n.x=(n.x,n.x) %}"
      "{% set n.y=(n.y,n.y) %}{% endfor %}";
  for (const char* walk : {"n.x", "n.x==n.y", "n.x<n.y", "[n.x]|tojson", "{n.x:1}", "[n.x]|join",
                           "[n.x,n.y]|unique|list"}) {
    EXPECT_EQ(code_with_hint([&] { render(shared + "{{ " + walk + " }}"); }), "M154") << walk;
  }
  EXPECT_LT(peak_mebibytes(), kMebibytes);
}

TEST(TemplateBudget, LengthsAreKnownBeforeTextIsBuilt) {
  for (const char* source :
       {"{{ '%*d' % (99999999999, 1) }}", "{{ (('%(a)1048576d')*100000) % {'a':1} }}",
        "{{ 'a'*99999999999 }}", "{{ 'a'.center(99999999999) }}", "{{ 'a'.zfill(99999999999) }}",
        "{{ 'a'|indent(99999999999) }}", "{{ '\t'.expandtabs(99999999999) }}",
        "{{ [1]*99999999999 }}", "{{ [1]|batch(99999999999, 1)|list }}",
        "{{ [1]|slice(99999999999)|list }}", "{{ ('a'*1000000)|replace('a', 'b'*1000000) }}",
        "{{ ('a'*1000000).join('b'*1000000) }}", "{{ [[[1]]*1000]|tojson(indent='a'*10000000) }}",
        "{{ 'a'|format(*([1]*99999999)) }}"}) {
    const auto begun = std::chrono::steady_clock::now();
    EXPECT_EQ(code_with_hint([&] { render(source); }), "M154") << source;
    EXPECT_LT(std::chrono::steady_clock::now() - begun, kPatience) << source;
  }
  EXPECT_LT(peak_mebibytes(), kMebibytes);
}

TEST(TemplateBudget, SumsOfTextsAreChargedAsTheyGrow) {
  std::string sum = "{{ (v";
  for (int i = 0; i < 40; ++i) {
    sum += " + v";
  }
  EXPECT_EQ(code_of([&] { render("{% set v='a'*10000000 %}" + sum + ")|length }}"); }), "M154");
  EXPECT_EQ(code_of([&] {
              render(
                  "{% set v='a'*1000 %}{% for i in range(100000) %}{% for j in range(100000) %}"
                  "{% set x='b'+v+v+v+v %}{% endfor %}{% endfor %}");
            }),
            "M154");
  EXPECT_LT(peak_mebibytes(), kMebibytes);
}

TEST(TemplateBudget, SumsOfTextsLeaveTheirPartsAsTheyWere) {
  EXPECT_EQ(render("{% set a='x'*3 %}{% set b=a+'y' %}{% set c=b+a+b %}{{ a }} {{ b }} {{ c }}"),
            "xxx xxxy xxxyxxxxxxy");
  EXPECT_EQ(render("{% for m in messages %}{% set t=m.content+'!' %}{{ t+t+m.content }} {{ t }} "
                   "{{ m.content }}{% endfor %}"),
            "hello!hello!hello hello! hello");
  EXPECT_EQ(render("{% macro f(x) %}{{ x+'b'+x }}{% endmacro %}{% set a=f('q')+f('q') %}{{ a }} "
                   "{{ (a+'1')+(a+'2')+('c'*4+a[1:3]) }}"),
            "qbqqbq qbqqbq1qbqqbq2ccccbq");
  EXPECT_EQ(render("{% set n=namespace(t='a'+'b') %}{% for i in range(3) %}{% set s=n.t+'c' %}"
                   "{% set n.t=s %}{{ s }},{{ n.t }} {% endfor %}{{ '<'|e+'>'+'&' }}"),
            "abc,abc abcc,abcc abccc,abccc &lt;&gt;&amp;");
}

TEST(TemplateBudget, LinearWorkIsChargedByItsLength) {
  for (const char* work : {"a|length", "'b' in a", "a==b", "a.find('b')", "a|wordcount"}) {
    const std::string source =
        std::string(
            "{% set a='a'*20000000 %}{% set b='a'*20000000 %}{% for i in range(100000) %}"
            "{% set z=") +
        work + " %}{% endfor %}x";
    EXPECT_EQ(code_with_hint([&] { render(source); }), "M154") << work;
  }
}

// What is freed may be used again: only what is held at one time counts.
TEST(TemplateBudget, TextThatIsBuiltPieceByPieceFits) {
  const std::string text = render(
      "{% set n=namespace(t='') %}{% for i in range(3000) %}{% set n.t = n.t + messages[0].content "
      "%}{% endfor %}{{ n.t|length }}",
      std::string(200, 'a'));
  EXPECT_EQ(text, "600000");  // 900 MB were made in all
}

TEST(TemplateBudget, TenThousandMessagesWithSlicesFit) {
  Json messages = Json::array();
  for (int i = 0; i < 10000; ++i) {
    messages.push_back(
        {{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", std::string(400, 'a')}});
  }
  const ChatTemplate chat(
      "{% for m in messages %}{% set rest = messages[loop.index0:] %}{{ rest[0].role ~ m.content "
      "}}{% endfor %}",
      Json::object(), "honest");
  EXPECT_EQ(chat.render(messages).text.size(), 10000u * 400 + 5000 * 4 + 5000 * 9);
}

// A byte-level tokenizer with what a test puts in.
Json tokenizer_with(const char* key, const Json& component) {
  Json vocab = Json::object();
  vocab["a"] = 0;
  Json json = {{"version", "1.0"},
               {"added_tokens", Json::array()},
               {"normalizer", nullptr},
               {"pre_tokenizer", nullptr},
               {"post_processor", nullptr},
               {"decoder", nullptr},
               {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}};
  json[key] = component;
  return json;
}

Json ten_for_one() {
  return {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aaaaaaaaaa"}};
}

TEST(TokenizerBudget, RulesThatGrowATextAreRefused) {
  const Json grow = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  Json normalizers = grow;
  for (int i = 0; i < 9; ++i) {
    normalizers["normalizers"].push_back(ten_for_one());
  }
  const auto tokenizer =
      Tokenizer::from_json(tokenizer_with("normalizer", normalizers), Json(), "tokenizer.json");
  EXPECT_EQ(code_with_hint([&] { tokenizer.encode("banana", false); }), "M119");
  EXPECT_TRUE(tokenizer.encode("", false).empty());

  Json decoders = {{"type", "Sequence"}, {"decoders", Json::array()}};
  for (int i = 0; i < 9; ++i) {
    decoders["decoders"].push_back(ten_for_one());
  }
  const auto decoding =
      Tokenizer::from_json(tokenizer_with("decoder", decoders), Json(), "tokenizer.json");
  EXPECT_EQ(code_with_hint([&] { decoding.decode(std::vector<int32_t>{0}, false); }), "M119");

  Json stages = {{"type", "Sequence"}, {"pretokenizers", Json::array()}};
  for (int i = 0; i < 100000; ++i) {
    stages["pretokenizers"].push_back({{"type", "WhitespaceSplit"}});
  }
  const auto many =
      Tokenizer::from_json(tokenizer_with("pre_tokenizer", stages), Json(), "tokenizer.json");
  EXPECT_EQ(code_with_hint([&] { many.encode(std::string(10000, 'a'), false); }), "M119");
  EXPECT_LT(peak_mebibytes(), kMebibytes);
}

TEST(TokenizerBudget, AnEmptyReplacementIsRefusedWhenTheFileIsRead) {
  for (const char* key : {"pre_tokenizer", "decoder"}) {
    EXPECT_EQ(code_with_hint([&] {
                Tokenizer::from_json(
                    tokenizer_with(key, {{"type", "Metaspace"}, {"replacement", ""}}), Json(),
                    "tokenizer.json");
              }),
              "M100")
        << key;
  }
}

TEST(TokenizerBudget, ManyNormalizedAddedTokensTakeLinearTime) {
  Json json = tokenizer_with("normalizer", {{"type", "Lowercase"}});
  json["added_tokens"].push_back(
      {{"id", 1}, {"content", "<X>"}, {"special", false}, {"normalized", true}});
  const auto tokenizer = Tokenizer::from_json(json, Json(), "tokenizer.json");
  std::string text;
  for (int i = 0; i < 100000; ++i) {
    text += "a<x>";
  }
  const auto begun = std::chrono::steady_clock::now();
  const Encoding encoding = tokenizer.encode_with_spans(text, false);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 2 * kPatience);
  ASSERT_EQ(encoding.ids.size(), 200000u);
  EXPECT_EQ(encoding.ids[199999], 1);
  EXPECT_EQ(encoding.spans[199998].begin, 4u * 99999);
}

}  // namespace
}  // namespace sft
