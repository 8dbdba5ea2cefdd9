#include "hub/retry.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <thread>

#include "core/numbers.h"
#include "core/strings.h"
#include "hub/curl_library.h"
#include "hub/errors.h"

namespace sft {

namespace {

// The number after `key` in a structured header such as `"api";r=0;t=55`, or -1.
int64_t field_of(const std::string& text, const std::string& key) {
  for (const std::string& part : split(text, ';')) {
    const std::string_view item = trim(part);
    if (item.starts_with(key + "=")) {
      return whole_number(item.substr(key.size() + 1), 0, kMostCount).value_or(-1);
    }
  }
  return -1;
}

}  // namespace

void hub_sleep(const HubEnvironment& environment, double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    if (environment.report.stopped && environment.report.stopped()) {
      throw Error(kStoppedAtHub, "stopped while waiting for the hub");
    }
    const std::chrono::duration<double> left = end - std::chrono::steady_clock::now();
    std::this_thread::sleep_for(std::clamp(left, decltype(left)(0), decltype(left)(0.1)));
  }
}

bool Retries::again(double wait_seconds) {
  if (++failures_ >= attempts_ || wait_seconds > environment_.longest_wait) {
    return false;
  }
  if (wait_seconds < 0) {
    wait_seconds = std::min(environment_.backoff_seconds * std::pow(2, failures_ - 1), 8.0);
  } else if (wait_seconds >= 3 && environment_.report.note) {
    environment_.report.note(fmt::format("the hub asks to wait {:.0f} s", wait_seconds));
  }
  hub_sleep(environment_, wait_seconds);
  return true;
}

bool is_transient(int status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
         status == 504;
}

double wanted_wait(const HttpResponse& response) {
  const std::string after = response.header("retry-after");
  if (const auto seconds = whole_number(trim(after), 0)) {
    return static_cast<double>(*seconds);
  }
  if (const time_t date = after.empty() ? -1 : curl().getdate(after.c_str(), nullptr); date > 0) {
    return std::max(0.0, std::difftime(date, std::time(nullptr)));
  }
  const std::string limit = response.header("ratelimit");
  return response.status == 429 && field_of(limit, "r") == 0
             ? static_cast<double>(field_of(limit, "t"))
             : -1;
}

HttpResponse send_patiently(const HttpClient& client, const HttpRequest& request, int attempts) {
  Retries retries(client.environment(), attempts);
  while (true) {
    try {
      HttpResponse response = client.send(request);
      if (!is_transient(response.status) || !retries.again(wanted_wait(response))) {
        return response;
      }
    } catch (const Error& e) {
      if (!is_transient(e) || !retries.again()) {
        throw;
      }
    }
  }
}

}  // namespace sft
