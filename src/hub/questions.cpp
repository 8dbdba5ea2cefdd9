#include "hub/questions.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/budget.h"
#include "core/error.h"
#include "core/json.h"
#include "core/json_text.h"
#include "core/strings.h"
#include "hub/retry.h"
#include "hub/url.h"

namespace sft {

namespace {

// Of files and folders; a page that has few counts as one that has many.
constexpr BudgetLimits kListing{.steps = 2'000'000, .time = std::chrono::minutes(60)};
constexpr int64_t kFewEntries = 1000;

std::string api_url(const HubEnvironment& environment, const HubPlace& place) {
  return fmt::format("{}/api/{}/{}", environment.endpoint, kind_folder(place.kind), place.id);
}

Error unusable(const std::string& url, const std::string& what) {
  return Error("M308", fmt::format("the answer of {} {}", url_for_people(url), what))
      .hint("check HF_ENDPOINT: it must be a hub");
}

// The address of the next page, from `Link: <…>; rel="next"`. A mirror may pass on the address of
// the hub it mirrors; the question goes to the endpoint all the same.
std::string next_page(const HttpResponse& response, const HubEnvironment& environment) {
  for (const std::string& link : split(response.header("link"), ',')) {
    const size_t begin = link.find('<'), end = link.find('>');
    if (begin == std::string::npos || end == std::string::npos || end < begin ||
        link.find("rel=\"next\"", end) == std::string::npos) {
      continue;
    }
    const auto url = resolve_url(response.url, link.substr(begin + 1, end - begin - 1));
    if (!url) {
      throw unusable(response.url, "names a next page that is no address");
    }
    const size_t api = url->find("/api/");
    return url_origin(*url) == url_origin(environment.endpoint) || api == std::string::npos
               ? *url
               : environment.endpoint + url->substr(api);
  }
  return "";
}

HubFile file_of(const Json& entry, const std::string& url) {
  HubFile file{entry.at("path"), entry.at("size"), entry.at("oid")};
  if (entry.contains("lfs") && entry["lfs"].is_object()) {
    file.sha256 = entry["lfs"].at("oid");
    file.size = entry["lfs"].at("size");
  }
  if (!is_safe_name(file.path)) {
    throw Error("M309",
                fmt::format("the hub lists a file whose name cannot be used: {}",
                            Json(file.path).dump(-1, ' ', true, Json::error_handler_t::replace)))
        .at(url_for_people(url))
        .hint("do not use this repository: such names are made to write outside of the cache");
  }
  const bool named = file.sha256.empty() ? is_commit(file.blob_id) : is_hex(file.sha256, 64);
  if (!named || file.size < 0) {
    throw unusable(url, fmt::format("has no usable hash or size for {}", file.path));
  }
  return file;
}

}  // namespace

std::string file_url(const HubEnvironment& environment, const HubPlace& place,
                     const std::string& commit, const std::string& file) {
  return fmt::format("{}/{}{}/resolve/{}/{}", environment.endpoint,
                     place.kind == HubKind::dataset ? "datasets/" : "", place.id,
                     url_encode(commit), url_encode(file, true));
}

Json ask_json(const HttpClient& client, HttpRequest request, const HubPlace& place, int attempts) {
  request.silence_seconds = client.environment().etag_timeout;
  request.total_seconds = std::max(120, 6 * request.silence_seconds);
  const HttpResponse response = send_patiently(client, request, attempts);
  if (!response.ok()) {
    fail_answer(response, place, client.has_token());
  }
  Json json = json_of(response.body);
  if (json.is_discarded()) {
    throw unusable(request.url, "is not JSON");
  }
  return json;
}

std::string ask_commit(const HttpClient& client, const HubPlace& place, int attempts) {
  HttpRequest request;
  request.url = fmt::format("{}/revision/{}", api_url(client.environment(), place),
                            url_encode(place.revision));
  request.largest_answer = int64_t{128} << 20;  // a data set's can name very many files
  const Json json = ask_json(client, request, place, attempts);
  const auto sha = json.is_object() ? json.find("sha") : json.end();
  if (!json.is_object() || sha == json.end() || !sha->is_string() ||
      !is_commit(sha->get<std::string>())) {
    throw unusable(request.url, "names no commit");
  }
  return sha->get<std::string>();
}

std::vector<HubFile> ask_files(const HttpClient& client, const HubPlace& place,
                               const std::string& commit) {
  HttpRequest request;
  request.url = fmt::format("{}/tree/{}?recursive=true&expand=false",
                            api_url(client.environment(), place), commit);
  std::vector<HubFile> files;
  const std::string subject = fmt::format("the list of files of {}", place.text());
  Budget budget("M308", subject, kListing, "check HF_ENDPOINT: it must be a hub");
  while (!request.url.empty()) {
    budget.check_time();
    request.silence_seconds = client.environment().etag_timeout;
    request.total_seconds = std::max(120, 6 * request.silence_seconds);
    const HttpResponse page = send_patiently(client, request, client.environment().attempts);
    if (!page.ok()) {
      fail_answer(page, place, client.has_token());
    }
    const Json list = json_of(page.body);
    if (!list.is_array()) {
      throw unusable(request.url, "is no list of files");
    }
    budget.step(std::max(kFewEntries, static_cast<int64_t>(list.size())));
    try {
      for (const Json& entry : list) {
        if (entry.at("type") == "file") {
          files.push_back(file_of(entry, request.url));
        }
      }
    } catch (const Json::exception&) {
      throw unusable(request.url, "is no list of files");
    }
    std::string next = next_page(page, client.environment());
    if (next == request.url || (list.empty() && !next.empty())) {
      throw unusable(request.url, "has no end");
    }
    request.url = std::move(next);
  }
  return files;
}

}  // namespace sft
