// Waiting and trying again: what is worth it, how long, and when to give up. Used by every request.
#pragma once

#include <functional>

#include "hub/errors.h"
#include "hub/http.h"

namespace sft {

// Sleeps; X011 when `report.stopped` says so meanwhile.
void hub_sleep(const HubEnvironment& environment, double seconds);

// Counts failures in a row and waits between them.
class Retries {
 public:
  Retries(const HubEnvironment& environment, int attempts)
      : environment_(environment), attempts_(attempts) {}

  void success() { failures_ = 0; }
  // Waits before the next attempt; false when there is none left. `wait_seconds` < 0: the
  // backoff's. A server that asks for more than `longest_wait` gets no further attempt.
  bool again(double wait_seconds = -1);

 private:
  const HubEnvironment& environment_;
  int attempts_, failures_ = 0;
};

// Whether the same request may work a little later.
bool is_transient(int status);
// Seconds that the answer asks to wait (Retry-After, RateLimit), or -1.
double wanted_wait(const HttpResponse& response);

// Sends until an answer comes that is not transient, `attempts` times at most. Returns the last
// answer, throws the last failure.
HttpResponse send_patiently(const HttpClient& client, const HttpRequest& request, int attempts);

}  // namespace sft
