#include "hub/errors.h"

namespace sft {

bool is_transient(const Error& error) {
  const Code code = error.code();
  return code == kHostUnknown || code == kHostAway || code == kHostSilent || code == kBrokenOff;
}

bool may_pass(const Error& error) {
  return is_transient(error) || error.code() == kHubBusy || error.code() == kHubFails;
}

bool is_out_of_reach(const Error& error) {
  const Code code = error.code();
  return may_pass(error) || code == kNoTrustedConnection || code == kProxyFails || code == kNoCurl;
}

}  // namespace sft
