#include "hub/curl_library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include "hub/errors.h"

namespace sft {

namespace {

#ifdef SFT_CURL_INSIDE

CurlLibrary load() {
  ::curl_global_init(CURL_GLOBAL_ALL);  // libcurl wants this before the first thread
  return {::curl_global_init,      ::curl_easy_init,           ::curl_easy_cleanup,
          ::curl_easy_strerror,    ::curl_easy_setopt,         ::curl_multi_init,
          ::curl_multi_add_handle, ::curl_multi_remove_handle, ::curl_multi_perform,
          ::curl_multi_poll,       ::curl_multi_info_read,     ::curl_multi_cleanup,
          ::curl_slist_append,     ::curl_slist_free_all,      ::curl_getdate};
}

#else

constexpr const char* kLibrary = "libcurl.so.4";

template <class F>
void find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(::dlsym(library, name));
  if (function == nullptr) {
    throw Error(kNoCurl, fmt::format("{} has no {}", kLibrary, name))
        .hint("install libcurl 7.85 or newer");
  }
}

CurlLibrary load() {
  void* const library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw Error(kNoCurl, fmt::format("talking to the hub needs {}: {}", kLibrary, ::dlerror()))
        .hint("install it (Debian: apt install libcurl4), or set HF_HUB_OFFLINE=1");
  }
  CurlLibrary c{};
  find(library, "curl_global_init", c.global_init);
  find(library, "curl_easy_init", c.easy_init);
  find(library, "curl_easy_cleanup", c.easy_cleanup);
  find(library, "curl_easy_strerror", c.easy_strerror);
  find(library, "curl_easy_setopt", c.easy_setopt);
  find(library, "curl_multi_init", c.multi_init);
  find(library, "curl_multi_add_handle", c.multi_add_handle);
  find(library, "curl_multi_remove_handle", c.multi_remove_handle);
  find(library, "curl_multi_perform", c.multi_perform);
  find(library, "curl_multi_poll", c.multi_poll);
  find(library, "curl_multi_info_read", c.multi_info_read);
  find(library, "curl_multi_cleanup", c.multi_cleanup);
  find(library, "curl_slist_append", c.slist_append);
  find(library, "curl_slist_free_all", c.slist_free_all);
  find(library, "curl_getdate", c.getdate);
  c.global_init(CURL_GLOBAL_ALL);  // libcurl wants this before the first thread
  return c;
}

#endif

}  // namespace

const CurlLibrary& curl() {
  static const CurlLibrary library = load();
  return library;
}

std::string system_authorities() {
#ifdef SFT_CURL_INSIDE
  // Debian and Ubuntu; Red Hat and its kin; SUSE; Alpine and BSD.
  for (const char* file : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                           "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}) {
    if (::access(file, R_OK) == 0) {
      return file;
    }
  }
#endif
  return "";
}

}  // namespace sft
