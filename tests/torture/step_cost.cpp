// What a step of a template's budget takes, for every filter, test, method and operator that walks
// something large, again and again: a rendering may do 200 million of them, and a person is to wait
// for it. Prints what takes more than 10 ns a step, all of it with --all. `make torture` runs it.
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "jinja/errors.h"
#include "jinja/interpreter.h"
#include "jinja/parser.h"
#include "torture/hostile_snippets.h"

namespace sft {
namespace {

using namespace hostile;

constexpr double kMostNanoseconds = 10;
constexpr double kOnce = 0.1;  // seconds that one piece of work may take before it is charged again
constexpr int64_t kSample = 30'000'000;  // steps

constexpr Seed kSmall[] = {
    {"a short text", "{% set v='a b' %}{% set w='b' %}"},
    {"a line", "{% set v='The quick brown fox jumps over it.' %}{% set w='over' %}"},
    {"a short list", "{% set v=['a','b'] %}{% set w=['b'] %}"},
    {"a small dict", "{% set v={'a':1,'b':2} %}{% set w={'b':2} %}"},
    {"small numbers", "{% set v=7 %}{% set w=3 %}"},
    {"texts of a line",
     "{% set v=['The quick brown fox jumps']*1000 %}{% set w='The quick brown fox jumpt' %}"},
};

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Cost {
  double seconds = 0;
  int64_t steps = 0;
};

Cost cost_of(const std::string& source, int64_t most_steps) {
  const BudgetLimits limits{
      .steps = most_steps, .bytes = jinja::kMaxBytes, .depth = jinja::kMaxStack};
  Budget budget(jinja::kLimit, "the template", limits, "");
  const double begun = cpu_seconds();
  try {
    const auto parsed = jinja::parse(source, "hostile");
    jinja::Interpreter(*parsed, budget)
        .run([](void*, std::string_view) { return jinja::Value(); }, nullptr);
  } catch (const Error&) {
  }
  return {cpu_seconds() - begun, most_steps - budget.steps_left()};
}

// Of the repeated work alone, without what makes the values.
Cost measure(const Seed& seed, const std::string& work) {
  const Cost made = cost_of(seed.source, jinja::kMaxSteps);
  const std::string all = std::string(seed.source) +
                          "{% for i in range(3000) %}{% for j in range(3000) %}" + work +
                          "{% endfor %}{% endfor %}";
  Cost both = cost_of(all, made.steps + kSample);
  if (both.steps - made.steps < kSample / 2) {  // one piece of it is more than that
    both = cost_of(all, jinja::kMaxSteps);
  }
  return {both.seconds - made.seconds, both.steps - made.steps};
}

std::vector<std::string> works() {
  std::vector<std::string> all;
  const auto add = [&](const auto& list, std::string_view before, std::string_view after) {
    for (const char* text : list) {
      all.push_back("{% set z=" + std::string(before) + text + std::string(after) + " %}");
    }
  };
  add(kFilters, "v|", "");
  add(kFilters, "(v|", ")|list");
  add(kTests, "v is ", "");
  add(kMethods, "v.", "");
  add(kExpressions, "", "");
  return all;
}

// In a process of its own, so that nothing is left over; false where it takes too long.
bool try_one(const Seed& seed, const std::string& work, bool all) {
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    const itimerval patience{{}, {60, 0}};
    setitimer(ITIMER_PROF, &patience, nullptr);
    const rlimit limit{2UL << 30, 2UL << 30};
    setrlimit(RLIMIT_AS, &limit);
    try {
      const Cost cost = measure(seed, work);
      const double steps = static_cast<double>(std::max<int64_t>(1, cost.steps));
      const bool slow = cost.seconds > kOnce + 1e-9 * kMostNanoseconds * steps;
      if (slow || all) {
        printf("%s%.3f s, %.1f M steps, %.1f ns a step: %s: %s\n", slow ? "SLOW " : "",
               cost.seconds, 1e-6 * steps, 1e9 * cost.seconds / steps, seed.name, work.c_str());
        fflush(stdout);
      }
      _exit(slow ? 1 : 0);
    } catch (const std::exception& error) {
      printf("FAILED %s: %s: %s\n", error.what(), seed.name, work.c_str());
      fflush(stdout);
      _exit(1);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) {
    printf("KILLED by signal %d: %s: %s\n", WTERMSIG(status), seed.name, work.c_str());
  }
  return status == 0;
}

int run(size_t every, size_t first, bool all) {
  std::vector<Seed> seeds(std::begin(kSeeds), std::end(kSeeds));
  seeds.insert(seeds.end(), std::begin(kSmall), std::end(kSmall));
  size_t n = 0, tried = 0, slow = 0;
  for (const Seed& seed : seeds) {
    for (const std::string& work : works()) {
      if (n++ % every != first) {
        continue;
      }
      ++tried;
      slow += try_one(seed, work, all) ? 0 : 1;
    }
  }
  printf("%zu pieces of work, %zu take more than %.0f ns a step\n", tried, slow, kMostNanoseconds);
  return slow == 0 && tried > 0 ? 0 : 1;
}

}  // namespace
}  // namespace sft

// usage: step_cost [N [FIRST]] [--all]      every N-th of them only, beginning with FIRST (0)
int main(int argc, char** argv) {
  bool all = false;
  size_t numbers[2] = {1, 0};
  int given = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--all") == 0) {
      all = true;
    } else if (given < 2) {
      numbers[given++] = std::strtoul(argv[i], nullptr, 10);
    }
  }
  const size_t every = std::max<size_t>(1, numbers[0]);
  return sft::run(every, numbers[1] % every, all);
}
