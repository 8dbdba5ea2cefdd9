#include "hub/environment.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "core/file.h"
#include "core/numbers.h"
#include "core/strings.h"

namespace sft {

namespace {

using Getenv = std::function<const char*(const char*)>;

// The first of the variables that is set and not empty.
std::string value_of(const Getenv& getenv, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = getenv(name);
    if (value != nullptr && *value != '\0') {
      return value;
    }
  }
  return "";
}

bool is_true(const Getenv& getenv, const char* name) {
  const std::string value = to_lower(value_of(getenv, {name}));
  return value == "1" || value == "on" || value == "yes" || value == "true";
}

int seconds_of(const Getenv& getenv, const char* name, int otherwise) {
  const std::string text = value_of(getenv, {name});
  const auto seconds = whole_number(text, 0, 86400);
  if (!text.empty() && !seconds) {
    throw Error("C110", std::string(name) + " must be a number of seconds, not \"" + text + "\"")
        .hint(std::string("unset ") + name);
  }
  return seconds.value_or(0) > 0 ? static_cast<int>(*seconds) : otherwise;
}

std::filesystem::path expand_home(const std::string& path, const std::string& home) {
  if (!home.empty() && (path == "~" || path.starts_with("~/"))) {
    return std::filesystem::path(home + path.substr(1));
  }
  return path;
}

std::filesystem::path home_folder(const HubEnvironment& e) {
  if (!e.hf_home.empty()) {
    return expand_home(e.hf_home, e.home);
  }
  if (!e.xdg_cache.empty()) {
    return expand_home(e.xdg_cache, e.home) / "huggingface";
  }
  return e.home.empty() ? std::filesystem::path()
                        : std::filesystem::path(e.home) / ".cache" / "huggingface";
}

// A token goes into a header line; whatever could end the line is no part of it.
std::string clean_token(const std::string& text) {
  const std::string token(trim(text));
  const bool printable = std::ranges::all_of(token, [](char c) { return c > ' ' && c < 0x7f; });
  if (!printable) {
    throw Error("C111", "the hub token holds a blank or a control character")
        .hint("set HF_TOKEN to the token alone (hf_…)");
  }
  return token;
}

}  // namespace

HubEnvironment HubEnvironment::read(const Getenv& getenv) {
  HubEnvironment e;
  e.hf_hub_cache = value_of(getenv, {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  e.hf_home = value_of(getenv, {"HF_HOME"});
  e.xdg_cache = value_of(getenv, {"XDG_CACHE_HOME"});
  e.home = value_of(getenv, {"HOME"});
  e.endpoint = value_of(getenv, {"HF_ENDPOINT"});
  while (e.endpoint.ends_with('/')) {
    e.endpoint.pop_back();
  }
  if (e.endpoint.empty()) {
    e.endpoint = "https://huggingface.co";
  }
  e.offline = is_true(getenv, "HF_HUB_OFFLINE") || is_true(getenv, "TRANSFORMERS_OFFLINE") ||
              is_true(getenv, "HF_DATASETS_OFFLINE");
  e.token_variable = value_of(getenv, {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"});
  e.token_path = value_of(getenv, {"HF_TOKEN_PATH"});
  e.implicit_token = !is_true(getenv, "HF_HUB_DISABLE_IMPLICIT_TOKEN");
  e.symlinks = !is_true(getenv, "HF_HUB_DISABLE_SYMLINKS");
  e.progress_bars = !is_true(getenv, "HF_HUB_DISABLE_PROGRESS_BARS");
  e.download_timeout = seconds_of(getenv, "HF_HUB_DOWNLOAD_TIMEOUT", e.download_timeout);
  e.etag_timeout = seconds_of(getenv, "HF_HUB_ETAG_TIMEOUT", e.etag_timeout);
  e.ca_file = value_of(getenv, {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"});
  return e;
}

std::filesystem::path HubEnvironment::hub_folder() const {
  if (!hf_hub_cache.empty()) {
    return expand_home(hf_hub_cache, home);
  }
  const std::filesystem::path folder = home_folder(*this);
  return folder.empty() ? folder : folder / "hub";
}

std::string HubEnvironment::token() const {
  if (!token_variable.empty()) {
    return clean_token(token_variable);
  }
  const std::filesystem::path folder = home_folder(*this);
  const std::filesystem::path file = !token_path.empty() ? expand_home(token_path, home)
                                     : folder.empty()    ? folder
                                                         : folder / "token";
  std::error_code ignored;
  if (file.empty() || !std::filesystem::is_regular_file(file, ignored)) {
    return "";
  }
  std::string text;
  try {
    text = read_text(file);
  } catch (const Error&) {
    return "";  // a token file of somebody else, unreadable: as if not logged in
  }
  try {
    return clean_token(text);
  } catch (Error& e) {
    throw e.at(file.string());
  }
}

bool is_hub_id(const std::string& id) {
  const auto parts = split(id, '/');
  if (parts.empty() || parts.size() > 2) {
    return false;
  }
  return std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
    return !part.empty() && part.size() <= 96 && part.front() != '.' && part.front() != '-' &&
           part.find("--") == std::string::npos && part.find("..") == std::string::npos &&
           std::all_of(part.begin(), part.end(), [](unsigned char c) {
             return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
           });
  });
}

}  // namespace sft
