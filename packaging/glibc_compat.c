// What glibc 2.31 lacks of what the static libraries of GCC 12 (libstdc++) and our own objects ask
// for. Linked into the files of packages alone (cmake/Portable.cmake).
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

// glibc 2.32: "there is one thread". Always false: shared counts are counted with atomic
// instructions.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

// glibc 2.36, for std::random_device.
__attribute__((visibility("hidden"))) uint32_t arc4random(void) {
  uint32_t value;
  while (getrandom(&value, sizeof value, 0) != sizeof value) {
  }
  return value;
}

// glibc 2.32: a signal's name without "SIG".
__attribute__((visibility("hidden"))) const char* sigabbrev_np(int signal) {
  static const struct {
    int signal;
    const char* name;
  } kNames[] = {{SIGHUP, "HUP"},       {SIGINT, "INT"},   {SIGQUIT, "QUIT"},    {SIGILL, "ILL"},
                {SIGTRAP, "TRAP"},     {SIGABRT, "ABRT"}, {SIGBUS, "BUS"},      {SIGFPE, "FPE"},
                {SIGKILL, "KILL"},     {SIGUSR1, "USR1"}, {SIGSEGV, "SEGV"},    {SIGUSR2, "USR2"},
                {SIGPIPE, "PIPE"},     {SIGALRM, "ALRM"}, {SIGTERM, "TERM"},    {SIGCHLD, "CHLD"},
                {SIGCONT, "CONT"},     {SIGSTOP, "STOP"}, {SIGTSTP, "TSTP"},    {SIGTTIN, "TTIN"},
                {SIGTTOU, "TTOU"},     {SIGURG, "URG"},   {SIGXCPU, "XCPU"},    {SIGXFSZ, "XFSZ"},
                {SIGVTALRM, "VTALRM"}, {SIGPROF, "PROF"}, {SIGWINCH, "WINCH"},  {SIGIO, "POLL"},
                {SIGPWR, "PWR"},       {SIGSYS, "SYS"},   {SIGSTKFLT, "STKFLT"}};
  for (size_t i = 0; i < sizeof kNames / sizeof *kNames; ++i) {
    if (kNames[i].signal == signal) {
      return kNames[i].name;
    }
  }
  return NULL;
}
