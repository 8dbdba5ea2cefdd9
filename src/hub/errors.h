// The failures of the hub that the program acts on, beside showing them.
#pragma once

#include "core/error.h"

namespace sft {

inline constexpr Code kNoRepository = "M300";  // or the token may not see it
inline constexpr Code kNoRevision = "M303";
inline constexpr Code kNoParts = "M313";  // the server serves no parts of files
inline constexpr Code kStoppedAtHub = "X011";

inline constexpr Code kHostUnknown = "S301";
inline constexpr Code kHostAway = "S302";
inline constexpr Code kHostSilent = "S303";
inline constexpr Code kNoTrustedConnection = "S304";
inline constexpr Code kBrokenOff = "S305";
inline constexpr Code kProxyFails = "S306";
inline constexpr Code kHubBusy = "S307";
inline constexpr Code kHubFails = "S308";
inline constexpr Code kNoCurl = "S309";

// Whether the connection failed in a way that may not fail again.
bool is_transient(const Error& error);
// That, or the server said that it cannot answer now.
bool may_pass(const Error& error);
// Whether no answer came from the hub, whatever stands in the way.
bool is_out_of_reach(const Error& error);

}  // namespace sft
