// Encodes texts from stdin, each ended by a NUL byte, with the tokenizer.json given, and writes one
// line of JSON for each: [ids, spans, decoded text]. With --speed it encodes them three times and
// says how fast. Used by tools/check_tokenizer.py; not part of the tests.
#include <fmt/format.h>
#include <time.h>

#include <iostream>
#include <iterator>

#include "core/error.h"
#include "core/file.h"
#include "text/tokenizer.h"

namespace sft {
namespace {

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::vector<std::string_view> split_at_nul(std::string_view input) {
  std::vector<std::string_view> texts;
  for (size_t end; (end = input.find('\0')) != std::string_view::npos;) {
    texts.push_back(input.substr(0, end));
    input.remove_prefix(end + 1);
  }
  return texts;
}

void print_encodings(const Tokenizer& tokenizer, const std::vector<std::string_view>& texts) {
  Tokenizer::Scratch scratch(tokenizer);
  for (const std::string_view text : texts) {
    Encoding encoding;
    tokenizer.encode_with_spans(text, true, scratch, encoding);
    SFT_ASSERT(encoding.ids == tokenizer.encode(text, true));
    Json spans = Json::array();
    for (const Span span : encoding.spans) {
      spans.push_back(Json::array({span.begin, span.end}));
    }
    std::cout << Json::array({encoding.ids, spans, tokenizer.decode(encoding.ids, false)}).dump()
              << "\n";
  }
}

void print_speed(const Tokenizer& tokenizer, const std::vector<std::string_view>& texts) {
  Tokenizer::Scratch scratch(tokenizer);
  std::vector<int32_t> ids;
  for (int round = 0; round < 3; ++round) {
    const double start = cpu_seconds();
    size_t bytes = 0, tokens = 0;
    for (const std::string_view text : texts) {
      ids.clear();
      tokenizer.encode(text, false, scratch, ids);
      bytes += text.size();
      tokens += ids.size();
    }
    fmt::print("{:.1f} MB/s, {} tokens\n",
               static_cast<double>(bytes) / (cpu_seconds() - start) / 1e6, tokens);
  }
}

}  // namespace
}  // namespace sft

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: tokenizer_probe tokenizer.json [--speed] < texts\n";
    return 2;
  }
  try {
    const double start = sft::cpu_seconds();
    const sft::Tokenizer tokenizer =
        sft::Tokenizer::from_text(sft::read_text(argv[1]), sft::Json(), argv[1]);
    std::cerr << fmt::format("loaded in {:.0f} ms\n", (sft::cpu_seconds() - start) * 1e3);
    const std::string input{std::istreambuf_iterator<char>(std::cin), {}};
    const auto texts = sft::split_at_nul(input);
    if (argc > 2 && std::string_view(argv[2]) == "--speed") {
      sft::print_speed(tokenizer, texts);
    } else {
      sft::print_encodings(tokenizer, texts);
    }
  } catch (const sft::Error& e) {
    std::cerr << e.text() << "\n";
    return static_cast<int>(e.exit_code());
  }
}
