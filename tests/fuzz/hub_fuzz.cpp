// Any bytes as what a hub answers over HTTP: which commit, which files. After the first byte, which
// chooses the question, zero bytes stand between one answer and the next.
#include <mutex>

#include "fuzz/support.h"
#include "hub/http_server.h"
#include "hub/questions.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  if (size == 0) {
    return 0;
  }
  static std::mutex mutex;
  static std::string answers;
  static testing::HttpServer server([](const testing::Request&) {
    const std::scoped_lock lock(mutex);
    const size_t end = std::min(answers.find('\0'), answers.size());
    testing::Reply reply{.raw = answers.substr(0, end)};
    answers.erase(0, end + 1);
    if (reply.raw.empty()) {
      reply.raw = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    }
    return reply;
  });
  server.forget();
  {
    const std::scoped_lock lock(mutex);
    answers.assign(reinterpret_cast<const char*>(data) + 1, size - 1);
  }
  HubEnvironment environment;
  environment.endpoint = server.url();
  environment.attempts = 1;
  environment.etag_timeout = 2;
  environment.longest_wait = 0;
  const HttpClient client(environment);
  const HubPlace place{.kind = HubKind::model, .id = "a/b", .revision = "main"};
  return fuzz::accepts([&] {
    if (data[0] % 2 == 0) {
      ask_commit(client, place, 1);
    } else {
      ask_files(client, place, std::string(40, 'a'));
    }
  });
}
