#include "hub/fetch_range.h"

#include <fmt/format.h>

#include "core/numbers.h"
#include "core/strings.h"
#include "hub/errors.h"
#include "hub/retry.h"
#include "hub/url.h"

namespace sft {

namespace {

// After so many bytes the journal is told, so that a killed process loses no more than this.
constexpr int64_t kJournalEvery = 4 << 20;

Error broken(const RangeSource& source, const std::string& how) {
  return Error(kBrokenOff,
               fmt::format("fetching {} of {} failed: {}", source.name, source.place.text(), how))
      .at(url_for_people(source.url))
      .hint("run the command again; what was fetched is kept");
}

// One request, and what of its answer has been written.
class Attempt {
 public:
  Attempt(const RangeSource& source, PartialFile& partial, ByteRange range, bool proven)
      : source_(source), partial_(partial), range_(range), proven_(proven), noted_(range.begin) {
    whole_ = range.begin == 0 && range.end == source.size;
  }

  HttpResponse run() {
    HttpRequest request;
    request.url = source_.url;
    request.silence_seconds = source_.client.environment().download_timeout;
    request.headers = {"Accept-Encoding: identity"};
    if (!whole_) {
      request.headers.push_back(fmt::format("Range: bytes={}-{}", range_.begin, range_.end - 1));
    }
    request.on_answer = [this](const HttpResponse& answer) { check(answer); };
    request.sink = [this](std::span<const char> bytes) { take(bytes); };
    try {
      HttpResponse response = source_.client.send(request);
      note();
      return response;
    } catch (...) {
      note();
      throw;
    }
  }

  int64_t reached() const { return range_.begin; }

 private:
  void check(const HttpResponse& answer) const {
    if (answer.status == 206 && !whole_) {
      ByteRange got;
      int64_t total = 0;
      if (parse_content_range(answer.header("content-range"), got, total) &&
          got.begin == range_.begin && got.end <= range_.end &&
          (total == source_.size || total < 0)) {
        return;
      }
    } else if (answer.status == 200 && whole_) {
      return;
    }
    if (!proven_ && !whole_) {
      throw NoRanges();
    }
    throw broken(source_, "the server sent another part than was asked for");
  }

  void take(std::span<const char> bytes) {
    source_.check_stop();
    if (static_cast<int64_t>(bytes.size()) > range_.end - range_.begin) {
      throw broken(source_, "the server sent more than the file's size");
    }
    partial_.write(range_.begin, bytes);
    range_.begin += static_cast<int64_t>(bytes.size());
    source_.count(static_cast<int64_t>(bytes.size()));
    if (range_.begin - noted_ >= kJournalEvery) {
      note();
    }
  }

  void note() {
    partial_.arrived({noted_, range_.begin});
    noted_ = range_.begin;
  }

  const RangeSource& source_;
  PartialFile& partial_;
  ByteRange range_;
  bool whole_ = false, proven_;
  int64_t noted_;
};

}  // namespace

bool parse_content_range(const std::string& text, ByteRange& range, int64_t& total) {
  const std::string lower = to_lower(trim(text));
  const auto number = [](std::string_view digits, int64_t& value) {
    const auto read = whole_number(digits, 0);
    value = read.value_or(0);
    return read.has_value();
  };
  const size_t dash = lower.find('-'), slash = lower.find('/');
  if (!lower.starts_with("bytes ") || dash == std::string::npos || slash == std::string::npos ||
      slash < dash) {
    return false;
  }
  const std::string_view view = lower;
  total = -1;
  const bool fine = number(view.substr(6, dash - 6), range.begin) &&
                    number(view.substr(dash + 1, slash - dash - 1), range.end) &&
                    range.end < INT64_MAX &&
                    (view.substr(slash + 1) == "*" || number(view.substr(slash + 1), total));
  if (!fine) {
    return false;
  }
  ++range.end;
  return range.begin < range.end;
}

void fetch_range(const RangeSource& source, PartialFile& partial, ByteRange range, bool proven) {
  Retries retries(source.client.environment(), source.client.environment().attempts);
  while (range.begin < range.end || source.size == 0) {
    Attempt attempt(source, partial, range, proven);
    double wait = -1;
    Error failure = broken(source, "the server ended it early");
    try {
      const HttpResponse response = attempt.run();
      if (response.ok() && attempt.reached() == range.end) {
        return;
      }
      // A signed address may have run out (403 from another host): the next attempt gets a new one.
      const bool signed_out = !response.first_headers.empty() && response.status == 403;
      if (response.status == 416 && !proven) {
        throw NoRanges();
      }
      if (!response.ok() && !is_transient(response.status) && !signed_out) {
        fail_answer(response, source.place, source.client.has_token());
      }
      if (!response.ok()) {
        wait = wanted_wait(response);
        try {
          fail_answer(response, source.place, source.client.has_token());
        } catch (const Error& e) {
          failure = e;
        }
      }
    } catch (const Error& e) {
      if (!is_transient(e)) {
        throw;
      }
      failure = e;
    }
    if (attempt.reached() > range.begin) {
      retries.success();
      range.begin = attempt.reached();
    }
    if (!retries.again(wait)) {
      throw failure;
    }
  }
}

void fetch_whole(const RangeSource& source, PartialFile& partial) {
  Retries retries(source.client.environment(), source.client.environment().attempts);
  while (true) {
    Attempt attempt(source, partial, {0, source.size}, false);
    double wait = -1;
    Error failure = broken(source, "the server ended it early");
    try {
      const HttpResponse response = attempt.run();
      if (response.ok() && attempt.reached() == source.size) {
        return;
      }
      if (!response.ok()) {
        wait = wanted_wait(response);
        fail_answer(response, source.place, source.client.has_token());
      }
    } catch (const Error& e) {
      if (!may_pass(e)) {
        throw;
      }
      failure = e;
    }
    source.count(-attempt.reached());
    partial.clear();
    if (!retries.again(wait)) {
      throw failure;
    }
  }
}

}  // namespace sft
