#include "hub/remote_file.h"

#include "hub/repository.h"
#include "hub/support.h"

namespace sft {
namespace {

using namespace sft::testing;

TEST(HubRemoteFile, ReadsPiecesAndGoesOn) {
  without_proxies();
  FakeHub hub;
  TemporaryFolder cache;
  const std::string big = noise(1'000'000);
  const std::string commit = hub.add("datasets/org/data", {{"train.jsonl", {big, true}}});
  const HubEnvironment e = hub.environment(cache.path());
  HubRepository repository(HubKind::dataset, "org/data", "", e);
  const RemoteFile file(e, {HubKind::dataset, "org/data"}, commit, repository.files().at(0));
  EXPECT_EQ(file.size(), 1'000'000);
  std::string buffer(300'000, '\0');
  const auto read = [&](int64_t offset) {
    const size_t count = file.read(offset, buffer);
    return buffer.substr(0, count);
  };
  EXPECT_EQ(read(0), big.substr(0, 300'000));
  EXPECT_EQ(read(999'000), big.substr(999'000));
  EXPECT_EQ(read(1'000'000), "");
  EXPECT_EQ(read(5'000'000), "");
  std::atomic<int> number{0};
  hub.intercept = [&](const Request& request) -> std::optional<Reply> {
    if (request.target.find("/lfs/") == std::string::npos || ++number % 2 == 0) {
      return std::nullopt;
    }
    const size_t begin = std::stoull(request.header("range").substr(6));
    return Reply{.status = 206,
                 .headers = {{"Content-Range", "bytes " + std::to_string(begin) + "-" +
                                                   std::to_string(begin + 99'999) + "/1000000"}},
                 .body = big.substr(begin, 100'000),
                 .cut_after = 50'000};
  };
  EXPECT_EQ(read(123), big.substr(123, 300'000));
  EXPECT_EQ(number, 2);
  hub.intercept = nullptr;
  hub.ranges = false;
  EXPECT_EQ(error_of([&] { read(5); }).code().text(), "M313");
  EXPECT_EQ(error_of([&] { read(0); }).code().text(), "M313");
}

}  // namespace
}  // namespace sft
