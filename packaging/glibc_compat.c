// What glibc 2.31 lacks of what the static libraries of GCC 12 (libstdc++, libgcc) and our own objects ask for. Linked into
// the files of packages alone (cmake/Portable.cmake).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

// glibc 2.32: "there is one thread". Always false: shared counts are counted with atomic instructions.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

// glibc 2.36, for std::random_device.
__attribute__((visibility("hidden"))) uint32_t arc4random(void) {
  uint32_t value;
  while (getrandom(&value, sizeof value, 0) != sizeof value) {
  }
  return value;
}

// glibc 2.35: which object holds an address and where its table for unwinding is, as the unwinder of GCC 12 asks it.
#if !__GLIBC_PREREQ(2, 35)
struct dl_find_object {
  unsigned long long int dlfo_flags;
  void *dlfo_map_start, *dlfo_map_end;
  struct link_map* dlfo_link_map;
  void* dlfo_eh_frame;
  unsigned long long int dlfo_reserved[7];
};
#endif

struct search {
  uintptr_t address;
  struct dl_find_object* found;
};

static int look_in(struct dl_phdr_info* object, size_t size, void* data) {
  (void)size;
  struct search* search = data;
  const ElfW(Phdr)* eh_frame = NULL;
  int inside = 0;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)* part = &object->dlpi_phdr[i];
    const uintptr_t begin = object->dlpi_addr + part->p_vaddr;
    if (part->p_type == PT_LOAD && search->address - begin < part->p_memsz) {
      inside = 1;
      search->found->dlfo_map_start = (void*)begin;
      search->found->dlfo_map_end = (void*)(begin + part->p_memsz);
    } else if (part->p_type == PT_GNU_EH_FRAME) {
      eh_frame = part;
    }
  }
  if (!inside) {
    return 0;
  }
  search->found->dlfo_flags = 0;
  search->found->dlfo_link_map = NULL;
  search->found->dlfo_eh_frame = eh_frame != NULL ? (void*)(object->dlpi_addr + eh_frame->p_vaddr) : NULL;
  return eh_frame != NULL ? 1 : -1;
}

__attribute__((visibility("hidden"))) int _dl_find_object(void* address, struct dl_find_object* result) {
  struct search search = {(uintptr_t)address, result};
  return dl_iterate_phdr(look_in, &search) == 1 ? 0 : -1;
}

// glibc 2.32: a signal's name without "SIG".
__attribute__((visibility("hidden"))) const char* sigabbrev_np(int signal) {
  static const struct {
    int signal;
    const char* name;
  } kNames[] = {{SIGHUP, "HUP"},   {SIGINT, "INT"},   {SIGQUIT, "QUIT"},     {SIGILL, "ILL"},   {SIGTRAP, "TRAP"},
                {SIGABRT, "ABRT"}, {SIGBUS, "BUS"},   {SIGFPE, "FPE"},       {SIGKILL, "KILL"}, {SIGUSR1, "USR1"},
                {SIGSEGV, "SEGV"}, {SIGUSR2, "USR2"}, {SIGPIPE, "PIPE"},     {SIGALRM, "ALRM"}, {SIGTERM, "TERM"},
                {SIGCHLD, "CHLD"}, {SIGCONT, "CONT"}, {SIGSTOP, "STOP"},     {SIGTSTP, "TSTP"}, {SIGTTIN, "TTIN"},
                {SIGTTOU, "TTOU"}, {SIGURG, "URG"},   {SIGXCPU, "XCPU"},     {SIGXFSZ, "XFSZ"}, {SIGVTALRM, "VTALRM"},
                {SIGPROF, "PROF"}, {SIGWINCH, "WINCH"}, {SIGIO, "POLL"},     {SIGPWR, "PWR"},   {SIGSYS, "SYS"},
                {SIGSTKFLT, "STKFLT"}};
  for (size_t i = 0; i < sizeof kNames / sizeof *kNames; ++i) {
    if (kNames[i].signal == signal) {
      return kNames[i].name;
    }
  }
  return NULL;
}
