// Preloaded into a program, gives it FEW_THREADS threads and refuses every further one, as a limit
// of processes would.
#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*work)(void*), void* argument) {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_create"));
  static const char* const limit = std::getenv("FEW_THREADS");
  static std::atomic<int> left = limit == nullptr ? 1 << 30 : std::atoi(limit);
  return left-- > 0 ? create(thread, attributes, work, argument) : EAGAIN;
}
