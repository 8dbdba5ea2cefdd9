// libcurl, loaded when the hub is first asked for something: it brings two dozen libraries with it,
// and a program that asks for nothing shall start in milliseconds. Packages have it inside
// (SFT_CURL_INSIDE). Used by http.cpp.
#pragma once

#include <curl/curl.h>

#include <string>

namespace sft {

struct CurlLibrary {
  decltype(&::curl_global_init) global_init;
  decltype(&::curl_easy_init) easy_init;
  decltype(&::curl_easy_cleanup) easy_cleanup;
  decltype(&::curl_easy_strerror) easy_strerror;
  CURLcode (*easy_setopt)(CURL*, CURLoption, ...);
  decltype(&::curl_multi_init) multi_init;
  decltype(&::curl_multi_add_handle) multi_add_handle;
  decltype(&::curl_multi_remove_handle) multi_remove_handle;
  decltype(&::curl_multi_perform) multi_perform;
  decltype(&::curl_multi_poll) multi_poll;
  decltype(&::curl_multi_info_read) multi_info_read;
  decltype(&::curl_multi_cleanup) multi_cleanup;
  decltype(&::curl_slist_append) slist_append;
  decltype(&::curl_slist_free_all) slist_free_all;
  decltype(&::curl_getdate) getdate;
};

// The first call loads it, before any other thread uses it. S309 when it is not there.
const CurlLibrary& curl();

// The file of the authorities that this system trusts, where libcurl does not know it itself: the
// one inside the program is of no distribution. "" when libcurl knows, or there is none.
std::string system_authorities();

}  // namespace sft
