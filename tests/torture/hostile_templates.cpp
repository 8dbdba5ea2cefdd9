// A chat template comes from a stranger. Whatever it asks for, a rendering ends soon, in little
// memory, with a text or an error of ours: every filter, test, method, operator and statement on
// values that are small to write and huge to walk. `make torture` tries all, `make test` some.
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_template.h"
#include "core/error.h"
#include "torture/hostile_snippets.h"

namespace sft {
namespace {

using namespace hostile;

constexpr double kSeconds = 2.0;
constexpr long kMebibytes = 512;

std::vector<std::string> snippets() {
  std::vector<std::string> all;
  const auto add = [&](const auto& list, std::string_view before, std::string_view after) {
    for (const char* text : list) {
      all.push_back(std::string(before) + text + std::string(after));
    }
  };
  add(kFilters, "{{ v|", " }}");
  add(kFilters, "{{ (v|", ")|string|length }}");
  add(kTests, "{{ v is ", " }}");
  add(kMethods, "{{ v.", " }}");
  add(kExpressions, "{{ ", " }}");
  add(kLoops, "{% for i in range(100000) %}{% set z=", " %}{% endfor %}");
  add(kLoops, "{% set n=namespace(k=[]) %}{% for i in range(100000) %}{% set n.k=[n.k|length,",
      "] %}{% endfor %}");
  add(kStatements, "", "");
  return all;
}

// Renders in this process; whatever comes is a text or an Error with a code.
void render(const std::string& source) {
  const Json messages = Json::array({{{"role", "user"}, {"content", "hello"}}});
  ChatTemplate(source, Json::object(), "hostile").render(messages);
}

struct Outcome {
  std::string snippet = {};
  int status = 0;
  double seconds = 0;
  long mebibytes = 0;
};

// In a process of its own, whose memory and time are then known.
Outcome try_alone(const Seed& seed, const std::string& snippet) {
  Outcome outcome{.snippet = std::string(seed.name) + ": " + snippet};
  const pid_t child = fork();
  if (child == 0) {
    const itimerval patience{{}, {30, 0}};  // of its own time, however busy the machine is
    setitimer(ITIMER_PROF, &patience, nullptr);
    const rlimit limit{2UL << 30, 2UL << 30};
    setrlimit(RLIMIT_AS, &limit);
    try {
      render(seed.source + snippet);
      _exit(0);
    } catch (const Error& error) {
      _exit(error.code().letter() == 'M' ? 0 : 3);
    } catch (...) {
      _exit(4);
    }
  }
  rusage used{};
  wait4(child, &outcome.status, 0, &used);
  outcome.seconds = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                    1e-6 * static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
  outcome.mebibytes = used.ru_maxrss / 1024;
  return outcome;
}

int run(size_t every, size_t first) {
  size_t tried = 0, n = 0, wrong = 0;
  Outcome slowest, largest;
  for (const Seed& seed : kSeeds) {
    for (const std::string& snippet : snippets()) {
      if (n++ % every != first) {
        continue;
      }
      const Outcome outcome = try_alone(seed, snippet);
      ++tried;
      if (outcome.status != 0 || outcome.seconds > kSeconds || outcome.mebibytes > kMebibytes) {
        ++wrong;
        printf("status %d, %.2f s, %ld MiB: %s\n", outcome.status, outcome.seconds,
               outcome.mebibytes, outcome.snippet.c_str());
      }
      slowest = outcome.seconds > slowest.seconds ? outcome : slowest;
      largest = outcome.mebibytes > largest.mebibytes ? outcome : largest;
      fflush(stdout);
    }
  }
  printf("%zu templates, %zu beyond %.0f s or %ld MiB\n", tried, wrong, kSeconds, kMebibytes);
  printf("  slowest %.2f s: %s\n", slowest.seconds, slowest.snippet.c_str());
  printf("  largest %ld MiB: %s\n", largest.mebibytes, largest.snippet.c_str());
  return wrong == 0 && tried > 0 ? 0 : 1;
}

}  // namespace
}  // namespace sft

// usage: hostile_templates [N [FIRST]]      every N-th of them only, beginning with FIRST (0)
int main(int argc, char** argv) {
  const size_t every = argc > 1 ? std::max(1UL, std::strtoul(argv[1], nullptr, 10)) : 1;
  return sft::run(every, argc > 2 ? std::strtoul(argv[2], nullptr, 10) % every : 0);
}
