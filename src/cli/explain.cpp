// `sft explain CODE …`: what an error's code means and what to do; without a code, all of them.
// `--markdown` prints docs/errors.md.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "core/error_codes.h"
#include "core/json.h"
#include "core/strings.h"

namespace sft {
namespace {

constexpr const char* kBefore = R"(# Exit codes and error codes
Every failure prints one error on stderr and ends the program with a code that a scheduler can act on:

```
error[M265]: the checkpoint out/checkpoint-7 does not exist
hint: --resume_from_checkpoint latest  takes the newest of output_dir, if there is one
```

`sft explain M265` prints what stands here on a code. This page is printed by `sft explain --markdown`.

)";

constexpr const char* kSignals = R"(
A user's mistake is always below 128, because Kubernetes' training operators retry what is 128 or above.

SIGTERM and SIGINT finish the step, or break an evaluation off (it is made first when the run goes on), save and exit with 143 or 130; a
second one exits at once; before training has begun the first one exits within two seconds. SIGUSR1 saves and goes on. SIGHUP is ignored.
Nothing half-written stands under its final name after a failure: files are written aside, synced and renamed.

The letter of an error code says where the cause lies, and decides the exit code; the number is stable and has one meaning.

)";

std::string markdown() {
  std::string out = kBefore;
  out += "| exit code | meaning | a scheduler should |\n|---|---|---|\n";
  for (const ExitRow& row : exit_rows()) {
    out += fmt::format("| {} | {} | {} |\n", static_cast<int>(row.code), row.meaning, row.advice);
  }
  out += kSignals;
  out += "| letter | the cause | exit code |\n|---|---|---|\n";
  for (const CodeFamily& family : code_families()) {
    out += fmt::format("| {} | {} | {} |\n", family.letter, family.cause,
                       static_cast<int>(family.exit_code));
  }
  for (const CodeFamily& family : code_families()) {
    for (const CodeGroup& group : family.groups) {
      out += fmt::format("\n## {}: {}\n| code | meaning | what to do |\n|---|---|---|\n",
                         family.letter, group.title);
      for (const CodeRow& row : group.rows) {
        out += fmt::format("| {} | {} | {} |\n", row.code.text(), row.meaning, row.action);
      }
    }
  }
  return out;
}

std::string all_codes() {
  std::string out;
  for (const CodeFamily& family : code_families()) {
    for (const CodeGroup& group : family.groups) {
      out += fmt::format("{}{}\n", out.empty() ? "" : "\n", group.title);
      for (const CodeRow& row : group.rows) {
        out += fmt::format("  {}  {}\n", row.code.text(), row.meaning);
      }
    }
  }
  return out;
}

// "m1" and "error[M001]:" are M001.
std::string written_code(const std::string& word) {
  std::string code;
  for (const char c : word.substr(word.starts_with(kErrorBegins) ? kErrorBegins.size() : 0)) {
    if (c == ']') {
      break;
    }
    code += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  if (code.size() == 2 || code.size() == 3) {
    code.insert(1, 4 - code.size(), '0');
  }
  return code;
}

const CodeRow& row_of(const std::string& word) {
  const CodeRow* row = find_row(written_code(word));
  if (row == nullptr) {
    throw Error("C011", fmt::format("there is no error code \"{}\"", word))
        .hint("sft explain  lists them; they are a letter and three digits, such as M265");
  }
  return *row;
}

Json to_json(const CodeRow& row) {
  return {{"code", row.code.text()},
          {"meaning", row.meaning},
          {"action", row.action},
          {"exit_code", static_cast<int>(family_of(row.code).exit_code)}};
}

std::string explained(const std::string& word) {
  const CodeRow* row = &row_of(word);
  const CodeFamily& family = family_of(row->code);
  return fmt::format("{}: {}\nwhat to do: {}\nexit code {}: {}\n", row->code.text(), row->meaning,
                     row->action, static_cast<int>(family.exit_code), family.cause);
}

}  // namespace

std::string exit_codes_page() {
  std::string out;
  for (const ExitRow& row : exit_rows()) {
    out += fmt::format("  {:<5}{}{}\n", static_cast<int>(row.code), row.meaning,
                       row.advice.empty() ? "" : fmt::format(": {}", row.advice));
  }
  return out + "\n`sft explain CODE` says what an error code means.\n";
}

int run_explain(Args args, Terminal& terminal) {
  std::string out;
  bool json = false;
  Json list = Json::array();
  for (const std::string& arg : args) {
    if (arg == "--json") {
      json = true;
      continue;
    }
    if (arg == "--help" || arg == "-h") {
      terminal.print(
          "sft explain [CODE …]\n\n"
          "What an error code such as M265 means and what to do about it; without a code, all of\n"
          "them. --markdown prints docs/errors.md, --json one JSON object.");
      return 0;
    }
    if (arg == "--markdown") {
      terminal.write(markdown());
      return 0;
    }
    if (arg.starts_with('-')) {
      throw Error("C001", fmt::format("sft explain has no option {}", arg))
          .hint("sft explain M265");
    }
    out += fmt::format("{}{}", out.empty() ? "" : "\n", explained(arg));
    list.push_back(to_json(row_of(arg)));
  }
  if (json) {
    if (list.empty()) {
      for (const CodeFamily& family : code_families()) {
        for (const CodeGroup& group : family.groups) {
          for (const CodeRow& row : group.rows) {
            list.push_back(to_json(row));
          }
        }
      }
    }
    terminal.print(to_text(Json{{"v", 1}, {"codes", list}}));
    return 0;
  }
  terminal.write(out.empty() ? all_codes() : out);
  return 0;
}

}  // namespace sft
