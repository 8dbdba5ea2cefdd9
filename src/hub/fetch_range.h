// A piece of a remote file into a partial file, tried again as long as bytes keep coming. Used by
// download.cpp, from several threads at once.
#pragma once

#include <functional>
#include <string>

#include "hub/answers.h"
#include "hub/http.h"
#include "hub/partial_file.h"

namespace sft {

struct RangeSource {
  const HttpClient& client;
  HubPlace place;
  std::string url, name;
  int64_t size = 0;
  std::function<void(int64_t bytes)> count;  // bytes that arrived; negative when they are dropped
  std::function<void()> check_stop;          // throws when it is time to stop
};

// Thrown by fetch_range when the server gives the whole file instead of the range asked for.
struct NoRanges {};

// Fetches [range.begin, range.end). `proven`: the server has served ranges of this file before, so
// that another answer is a failure like a broken connection.
void fetch_range(const RangeSource& source, PartialFile& partial, ByteRange range, bool proven);

// Fetches all from the beginning, for servers without ranges.
void fetch_whole(const RangeSource& source, PartialFile& partial);

// The three numbers of "bytes 0-99/1000"; `total` is -1 for "*". False when it is no such header.
bool parse_content_range(const std::string& text, ByteRange& range, int64_t& total);

}  // namespace sft
