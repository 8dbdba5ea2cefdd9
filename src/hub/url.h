// The few things done with addresses: encode names, tell hosts apart, follow a relative redirect.
// Used by the http client and the hub's questions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sft {

// Percent-encodes all but letters, digits and "-._~"; '/' too unless `keep_slashes`.
std::string url_encode(std::string_view text, bool keep_slashes = false);

// "https://host:port" in lower case with the scheme's usual port left out; nothing unless it is
// an http or https address with a host and without a user name, control characters or blanks.
std::optional<std::string> url_origin(std::string_view url);

// The address that `location` names, seen from `base`; nothing when it is neither http nor https.
std::optional<std::string> resolve_url(std::string_view base, std::string_view location);

// The address for people and logs: without its query, which may carry a signature.
std::string url_for_people(std::string_view url);

}  // namespace sft
