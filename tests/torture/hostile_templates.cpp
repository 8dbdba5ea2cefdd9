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

namespace sft {
namespace {

constexpr double kSeconds = 2.0;
constexpr long kMebibytes = 512;

// What each snippet works on: `v`, and `w`, another one like it.
struct Seed {
  const char* name;
  const char* source;
};

constexpr Seed kSeeds[] = {
    {"shared lists",
     "{% set n=namespace(v=[1],w=[1]) %}{% for i in range(60) %}{% set n.v=[n.v,n.v] %}"
     "{% set n.w=[n.w,n.w] %}{% endfor %}{% set v=n.v %}{% set w=n.w %}"},
    {"shared tuples",
     "{% set n=namespace(v=('a',),w=('a',)) %}{% for i in range(60) %}{% set n.v=(n.v,n.v) %}"
     "{% set n.w=(n.w,n.w) %}{% endfor %}{% set v=n.v %}{% set w=n.w %}"},
    {"shared dicts",
     "{% set n=namespace(v={},w={}) %}{% for i in range(60) %}{% set n.v={'a':n.v,'b':n.v} %}"
     "{% set n.w={'a':n.w,'b':n.w} %}{% endfor %}{% set v=n.v %}{% set w=n.w %}"},
    {"a list of shared lists",
     "{% set n=namespace(v=[1]) %}{% for i in range(60) %}{% set n.v=[n.v,n.v] %}{% endfor %}"
     "{% set v=[n.v]*1000 %}{% set w=[n.v]*999 %}"},
    {"long text", "{% set v='a '*25000000 %}{% set w='a'*25000000+'b' %}"},
    {"text that repeats", "{% set v='a'*40000000 %}{% set w='a'*20000000+'b' %}"},
    {"text of wide characters", "{% set v='\xCE\x90'*10000000 %}{% set w='\xCE\x90' %}"},
    {"a long list", "{% set v=['a']*3000000 %}{% set w=['b']*3000000 %}"},
    {"a list of long texts", "{% set t='a'*10000000 %}{% set v=[t]*100000 %}{% set w=[t,t] %}"},
    {"a format", "{% set v='%(a)1048576d%s%*d{0:1048576}{a}'*100000 %}{% set w={'a':1} %}"},
    {"lines", "{% set v='\\n'*20000000 %}{% set w='\\t'*20000000 %}"},
    {"numbers", "{% set v='9'*30000000 %}{% set w=9223372036854775807 %}"},
    {"a huge number", "{% set v=9223372036854775807 %}{% set w=-9223372036854775807 %}"},
};

constexpr const char* kFilters[] = {
    "abs",
    "attr(w)",
    "attr('a')",
    "batch(1)",
    "batch(99999999999,1)",
    "batch(w,1)",
    "capitalize",
    "center",
    "center(99999999999)",
    "center(w)",
    "count",
    "default(w)",
    "dictsort",
    "dictsort(by='value')",
    "e",
    "first",
    "float",
    "forceescape",
    "format(w)",
    "format(w,w,w)",
    "format(a=w)",
    "groupby('a')",
    "groupby(0)",
    "groupby('')",
    "indent",
    "indent(99999999999)",
    "indent(w)",
    "indent(1000000,true,true)",
    "indent(v)",
    "int",
    "int(0,36)",
    "items",
    "join",
    "join(v)",
    "join(w)",
    "last",
    "length",
    "list",
    "lower",
    "map('upper')",
    "map('string')",
    "map('length')",
    "map('tojson')",
    "map('list')",
    "map(attribute=0)",
    "map(attribute='0.0.0')",
    "map('replace','a',v)",
    "max",
    "min",
    "max(case_sensitive=true)",
    "min(attribute=0)",
    "reject('==',w)",
    "rejectattr(0,'==',w)",
    "replace('','aaaaaaaaaa')",
    "replace('a',v)",
    "replace('a','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')",
    "replace(w,v)",
    "replace(v,v)",
    "reverse",
    "reverse|list",
    "round",
    "round(w,'ceil')",
    "safe",
    "select('==',w)",
    "select",
    "selectattr(0)",
    "slice(99999999999)",
    "slice(1000000,v)",
    "slice(3)|list",
    "sort",
    "sort(attribute='0,1,0.1')",
    "sort(case_sensitive=true)",
    "string",
    "sum",
    "sum(start=[])",
    "sum(attribute=0)",
    "title",
    "tojson",
    "tojson(indent=v)",
    "tojson(indent='aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')",
    "tojson(indent=99999999)",
    "tojson(separators=(v,v))",
    "tojson(sort_keys=true)",
    "tojson(ensure_ascii=true)",
    "trim",
    "trim(v)",
    "trim('ab')",
    "truncate",
    "truncate(99999999999)",
    "truncate(255,true,v)",
    "unique",
    "unique(attribute=0)",
    "upper",
    "wordcount",
    "string|string|upper|lower|title|length",
    "map('list')|map('list')|map('list')|map('list')|map('list')|list",
    "list|list|reverse|list"};

constexpr const char* kTests[] = {
    "boolean",  "callable", "defined", "divisibleby(w)", "divisibleby(2)", "eq(w)", "eq(v)",
    "escaped",  "even",     "false",   "filter",         "float",          "ge(w)", "gt(w)",
    "in(w)",    "in(v)",    "in([v])", "integer",        "iterable",       "le(w)", "lower",
    "lt(w)",    "mapping",  "ne(w)",   "none",           "number",         "odd",   "sameas(w)",
    "sequence", "string",   "test",    "true",           "undefined",      "upper"};

constexpr const char* kMethods[] = {"capitalize()",
                                    "casefold()",
                                    "center(99999999999)",
                                    "center(50000000,'\xCE\x90')",
                                    "count('a')",
                                    "count(w)",
                                    "count('')",
                                    "endswith(w)",
                                    "endswith((v,v,v))",
                                    "expandtabs()",
                                    "expandtabs(99999999999)",
                                    "expandtabs(100000)",
                                    "find(w)",
                                    "find('b')",
                                    "find('b',1,99)",
                                    "format(w)",
                                    "format(v,v,v,a=v)",
                                    "format_map(w)",
                                    "index('a')",
                                    "index(w)",
                                    "isalnum()",
                                    "isalpha()",
                                    "isascii()",
                                    "isdecimal()",
                                    "isdigit()",
                                    "isidentifier()",
                                    "islower()",
                                    "isnumeric()",
                                    "isprintable()",
                                    "isspace()",
                                    "istitle()",
                                    "isupper()",
                                    "join(v)",
                                    "join(w)",
                                    "join('ab')",
                                    "ljust(99999999999)",
                                    "lower()",
                                    "lstrip()",
                                    "lstrip(v)",
                                    "lstrip('ab')",
                                    "partition(w)",
                                    "partition('a')",
                                    "removeprefix(w)",
                                    "removesuffix(w)",
                                    "replace('','ab')",
                                    "replace('a',v)",
                                    "replace(v,'')",
                                    "rfind(w)",
                                    "rfind('b')",
                                    "rindex('a')",
                                    "rindex(w)",
                                    "rjust(60000000)",
                                    "rpartition(w)",
                                    "rsplit()",
                                    "rsplit('a')",
                                    "rsplit(w)",
                                    "rsplit(v,5)",
                                    "rstrip(v)",
                                    "split()",
                                    "split('a')",
                                    "split(w)",
                                    "split('\\n')",
                                    "splitlines()",
                                    "splitlines(true)",
                                    "startswith(w)",
                                    "strip()",
                                    "strip(w)",
                                    "swapcase()",
                                    "title()",
                                    "upper()",
                                    "zfill(99999999999)",
                                    "zfill(60000000)",
                                    "get(w)",
                                    "get('a')",
                                    "items()",
                                    "keys()",
                                    "values()",
                                    "items()|list",
                                    "copy()",
                                    "index(v)",
                                    "count(v)"};

constexpr const char* kExpressions[] = {"v",
                                        "v==w",
                                        "v!=w",
                                        "v<w",
                                        "v<=w",
                                        "v>w",
                                        "v>=w",
                                        "v in w",
                                        "w in v",
                                        "v in [v,w]",
                                        "w not in v",
                                        "v+w",
                                        "v+v+v+v+v+v+v+v",
                                        "v*99999999999",
                                        "v*100",
                                        "99999*v",
                                        "v-w",
                                        "v/w",
                                        "v//w",
                                        "v%w",
                                        "w%v",
                                        "v%(1,2,3)",
                                        "v**w",
                                        "v**v",
                                        "-v",
                                        "+v",
                                        "not v",
                                        "v and w",
                                        "v or w",
                                        "v~w",
                                        "v~v~v~v~v~v~v~v~v",
                                        "v[0]",
                                        "v[-1]",
                                        "v['a']",
                                        "v[v]",
                                        "v[w]",
                                        "v[1:]",
                                        "v[::-1]",
                                        "v[::2]",
                                        "v[:99999999999]",
                                        "v[w:v]",
                                        "{v:1}",
                                        "{v:1,w:2}",
                                        "{1:v}[v]",
                                        "{v:1}==w",
                                        "[v,v,v]|string",
                                        "(v,v)==(v,w)",
                                        "(v,v)<(v,w)",
                                        "{1:v}=={1:w}",
                                        "'%s'%v",
                                        "'%r'%[v]",
                                        "'%s%s%s%s'%(v,v,v,v)",
                                        "'%*d'%(99999999999,1)",
                                        "'%-*d'%(1048576,1)",
                                        "'%.*f'%(99999999,1)",
                                        "('%*d'*50000)%((1048576,1)*50000)",
                                        "'{:>1048576}'.format(v)",
                                        "'{0}{0}{0}{0}'.format(v)",
                                        "'{0!r}{0!s}'.format(v)",
                                        "'{0.a[0].b}'.format(v)",
                                        "range(v)",
                                        "range(99999999999)",
                                        "range(0,99999999999,3)",
                                        "range(100000)|list|string|length",
                                        "range(100000)|list*1000",
                                        "dict(v)",
                                        "dict(a=v)|string",
                                        "namespace(a=v)|string",
                                        "cycler(v,w).next()|string",
                                        "joiner(v)()",
                                        "strftime_now('%A'*5000)",
                                        "raise_exception(v)",
                                        "v.nothing",
                                        "v.a.b",
                                        "w.a",
                                        "v(1)",
                                        "v|length==w|length",
                                        "(v|list)==(w|list)",
                                        "[v]*1000000",
                                        "[[v]*1000]*1000|string",
                                        "dict(*[v])",
                                        "range(*v)",
                                        "dict(**w)",
                                        "raise_exception(*v)",
                                        "'a'.join(v)",
                                        "v if w else v",
                                        "v is eq w",
                                        "(v,w)|sort|string",
                                        "[v,w]|unique|list",
                                        "{v,w}"};

// `{}` stands for an expression that the loop repeats.
constexpr const char* kLoops[] = {"v|length",
                                  "v in v",
                                  "v==w",
                                  "v~w",
                                  "v[1:]",
                                  "v[-1]",
                                  "v|string|length",
                                  "v|list|length",
                                  "v|upper",
                                  "v|sort",
                                  "v.find(w)",
                                  "v|tojson",
                                  "v|wordcount",
                                  "v is eq(w)",
                                  "v*2",
                                  "[v]*1000",
                                  "range(100000)|list",
                                  "w|join(v)",
                                  "v|trim(w)",
                                  "v.split('a')",
                                  "v|replace('a','b')",
                                  "dict(a=v)"};

constexpr const char* kStatements[] = {
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
    "{% for i in range(100000) %}{% for j in v %}{{ j }}{% endfor %}{% endfor %}",
    "{% for i in v recursive %}{{ loop(v) }}{% endfor %}",
    "{% for i in v if i==w %}{{ loop.length }}{% endfor %}",
    "{% for i in v %}{{ loop.nextitem }}{{ loop.previtem }}{{ loop.changed(i) }}{% endfor %}",
    "{% for a,b in v %}{% endfor %}",
    "{% set a=namespace(t='') %}{% for i in range(100000) %}{% set a.t=a.t~i~v %}{% endfor %}",
    "{% set a=namespace(t='a') %}{% for i in range(60) %}{% set a.t=a.t~a.t %}{% endfor %}",
    "{% set a=namespace(t=[]) %}{% for i in range(100000) %}{% set a.t=a.t+[v] %}{% endfor %}",
    "{% set a=namespace(t=[1]) %}{% for i in range(100000) %}{% set a.t=a.t+a.t %}{% endfor %}",
    "{% set a=namespace(t=[1]) %}{% for i in range(100000) %}{% set a.t=[a.t] %}{% endfor %}",
    "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(v) }}",
    "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{{ m(m(m(m(m(m(m(m(m(m(v)))))))))) }}",
    "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(100) }}",
    "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}{% call m() %}{% call m() %}{% call "
    "m() %}{{ v }}{% endcall %}{% endcall %}{% endcall %}",
    "{% for i in range(100000) %}{% set n=namespace(a=v) %}{% set n.b=namespace(a=n) %}{% endfor "
    "%}",
    "{% for i in range(100000) %}{% macro m(x) %}{{ x }}{% endmacro %}{{ m(v)|length }}{% endfor "
    "%}",
    "{% set x %}{{ v }}{{ v }}{{ v }}{{ v }}{% endset %}{{ x }}{{ x }}",
    "{% filter upper %}{{ v }}{% filter lower %}{{ v }}{% endfilter %}{% endfilter %}",
    "{% generation %}{{ v }}{% set x %}{% generation %}{{ v }}{% endgeneration %}{% endset %}{{ x "
    "}}{% endgeneration %}",
    "{% with a=v|string, b=w|string %}{{ a ~ b }}{% endwith %}",
    "{% for i in range(300) %}{% set v=v|map('string') %}{{ v|list|length }}{% endfor %}",
};

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
