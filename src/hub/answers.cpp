#include "hub/answers.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/json.h"
#include "core/json_text.h"
#include "core/strings.h"
#include "hub/errors.h"
#include "hub/url.h"

namespace sft {

namespace {

constexpr size_t kMostShown = 200;

// What the server itself says, as one short printable line: from its header, its JSON or its text.
std::string said(const HttpResponse& response) {
  std::string text = response.header("x-error-message");
  if (text.empty() && response.body.starts_with('{')) {
    const Json json = json_of(response.body);
    if (json.is_object() && json.contains("error") && json["error"].is_string()) {
      text = json["error"].get<std::string>();
    }
  }
  for (char& c : text) {
    c = static_cast<unsigned char>(c) < ' ' || c == 0x7f ? ' ' : c;
  }
  if (text.size() > kMostShown) {
    text.resize(kMostShown);
    text += "...";
  }
  return text.empty() ? "" : fmt::format(": {}", trim(text));
}

std::string login_hint(bool has_token) {
  return has_token ? "the token in use may not see it: check its rights, or use another in HF_TOKEN"
                   : "if it is private, set HF_TOKEN or log in with  hf auth login";
}

}  // namespace

std::string HubPlace::text() const {
  return fmt::format("the {} {}", kind == HubKind::model ? "model" : "data set", id);
}

void fail_answer(const HttpResponse& response, const HubPlace& place, bool has_token) {
  const std::string host = url_origin(response.url).value_or("the hub");
  const std::string reason = response.header("x-error-code");
  const std::string note = said(response);
  const int status = response.status;
  const std::string page =
      fmt::format("{}/{}{}", host, place.kind == HubKind::dataset ? "datasets/" : "", place.id);
  if (status == 401 && note.find("nvalid") != std::string::npos &&
      (note.find("redential") != std::string::npos || note.find("token") != std::string::npos)) {
    throw Error("M302", fmt::format("{} does not accept the token{}", host, note))
        .hint("set HF_TOKEN to a token that is valid, or log in again with  hf auth login");
  }
  if (reason == "GatedRepo" || (status == 403 && note.find("gated") != std::string::npos)) {
    throw Error("M301",
                fmt::format("{} is gated, and {}", place.text(),
                            has_token ? "this token has not been given access" : "no token is set"))
        .hint(has_token ? fmt::format("ask for access at {}", page)
                        : fmt::format("ask for access at {} and set HF_TOKEN", page));
  }
  if (reason == "RevisionNotFound") {
    throw Error(kNoRevision, fmt::format("{} has no revision \"{}\"", place.text(), place.revision))
        .hint(fmt::format("its branches and tags are listed at {}/tree/main", page));
  }
  if (reason == "EntryNotFound") {
    throw Error("M304", fmt::format("{} has no file {}", place.text(), place.file))
        .hint(fmt::format("its files are listed at {}/tree/main", page));
  }
  if (reason == "RepoNotFound" || status == 404 || status == 401 || status == 410) {
    throw Error(kNoRepository, fmt::format("{} does not exist at {}, or may not be seen{}",
                                           place.text(), host, note))
        .hint(fmt::format("check the spelling; {}", login_hint(has_token)));
  }
  if (status == 403) {
    throw Error("M306", fmt::format("{} refuses access to {}{}", host, place.text(), note))
        .hint(login_hint(has_token));
  }
  if (status == 429) {
    throw Error(kHubBusy, fmt::format("{} asks for fewer requests (429){}", host, note))
        .hint(has_token ? "wait some minutes and run it again; what was fetched is kept"
                        : "set HF_TOKEN (more requests are allowed then), or wait some minutes");
  }
  if (status >= 500) {
    throw Error(kHubFails, fmt::format("{} failed to answer ({}){}", host, status, note))
        .hint("run it again later; HF_HUB_OFFLINE=1 uses only what is cached");
  }
  throw Error("M308", fmt::format("{} answered {} to a request for {}{}",
                                  url_for_people(response.url), status, place.text(), note))
      .hint("check HF_ENDPOINT: it must be a hub");
}

bool is_safe_name(std::string_view name) {
  if (name.empty() || name.size() > 2048 || name.front() == '/') {
    return false;
  }
  const bool plain = std::ranges::none_of(
      name, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f || c == '\\'; });
  const auto parts = split(name, '/');
  return plain && std::ranges::none_of(parts, [](const std::string& part) {
           return part.empty() || part == "." || part == ".." || part.size() > 250;
         });
}

bool is_safe_revision(const std::string& revision) {
  return revision.size() <= 256 && is_safe_name(revision) &&
         revision.find_first_of("?*[~^: ") == std::string::npos;
}

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_commit(std::string_view text) { return is_hex(text, 40); }

std::string_view kind_folder(HubKind kind) {
  return kind == HubKind::model ? "models" : "datasets";
}

}  // namespace sft
