#include "hub/remote_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "hub/errors.h"
#include "hub/fetch_range.h"
#include "hub/questions.h"
#include "hub/retry.h"
#include "hub/url.h"

namespace sft {

RemoteFile::RemoteFile(const HubEnvironment& environment, HubPlace place, const std::string& commit,
                       HubFile file)
    : client_(environment),
      place_(std::move(place)),
      file_(std::move(file)),
      url_(file_url(environment, place_, commit, file_.path)) {
  place_.file = file_.path;
}

size_t RemoteFile::read(int64_t offset, std::span<char> bytes) const {
  const int64_t left = std::clamp<int64_t>(file_.size - offset, 0, INT64_MAX);
  const auto wanted = static_cast<size_t>(std::min<int64_t>(left, std::ssize(bytes)));
  size_t have = 0;
  HttpRequest request;
  request.url = url_;
  request.silence_seconds = client_.environment().download_timeout;
  request.on_answer = [&](const HttpResponse& answer) {
    ByteRange range;
    int64_t total = 0;
    const bool whole = offset == 0 && have == 0 && std::cmp_equal(wanted, file_.size);
    const bool part =
        answer.status == 206 && parse_content_range(answer.header("content-range"), range, total) &&
        range.begin == offset + static_cast<int64_t>(have) && (total < 0 || total == file_.size);
    if (!part && !(whole && answer.status == 200)) {
      throw Error(kNoParts, fmt::format("{} cannot be read in parts, as streaming needs it",
                                        url_for_people(url_)))
          .hint("train without --streaming: the file is then downloaded");
    }
  };
  request.sink = [&](std::span<const char> piece) {
    const size_t count = std::min(piece.size(), wanted - have);
    std::copy_n(piece.begin(), count, bytes.begin() + static_cast<std::ptrdiff_t>(have));
    have += count;
  };
  Retries retries(client_.environment(), client_.environment().attempts);
  while (have < wanted) {
    const size_t before = have;
    request.headers = {"Accept-Encoding: identity",
                       fmt::format("Range: bytes={}-{}", offset + static_cast<int64_t>(have),
                                   offset + static_cast<int64_t>(wanted) - 1)};
    double wait = -1;
    Error failure(kBrokenOff, fmt::format("reading {} broke off", url_for_people(url_)));
    try {
      const HttpResponse answer = client_.send(request);
      if (!answer.ok()) {
        wait = wanted_wait(answer);
        fail_answer(answer, place_, client_.has_token());
      }
    } catch (const Error& e) {
      if (!may_pass(e)) {
        throw;
      }
      failure = e;
    }
    if (have > before) {
      retries.success();
    }
    if (have < wanted && !retries.again(wait)) {
      throw failure;
    }
  }
  return have;
}

}  // namespace sft
