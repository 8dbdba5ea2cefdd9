// What a hub's refusal means, as one sentence with a way out; and checks of what it says before any
// of it is used. Used by the questions, the downloads and the uploads.
#pragma once

#include <string>
#include <string_view>

#include "hub/http.h"

namespace sft {

// What a request was about.
struct HubPlace {
  HubKind kind = HubKind::model;
  std::string id, revision{}, file{};

  std::string text() const;  // "the model org/name" or "the data set org/name"
};

// M300 no such repository (or hidden from this token), M301 gated, M302 token not valid, M303 no
// such revision, M304 no such file, M306 forbidden or disabled, M308 anything else below 500, S307
// too many requests, S308 the server's own failure.
[[noreturn]] void fail_answer(const HttpResponse& response, const HubPlace& place, bool has_token);

// Whether a name from a server may become a path below a folder: relative, no "..", no empty part,
// no backslash, no control character, no part that is too long.
bool is_safe_name(std::string_view name);
// Whether a revision may become part of a path and an address.
bool is_safe_revision(const std::string& revision);
bool is_commit(std::string_view text);  // 40 hexadecimal digits, lower case
bool is_hex(std::string_view text, size_t digits);

// "models" or "datasets", as folders and addresses have it.
std::string_view kind_folder(HubKind kind);

}  // namespace sft
