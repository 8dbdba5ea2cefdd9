#include "cli/watch_page.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "cli/environment.h"
#include "core/cache_folder.h"
#include "core/error.h"
#include "core/fd.h"
#include "core/file.h"
#include "core/host_name.h"
#include "core/numbers.h"
#include "core/strings.h"
#include "core/threads.h"

namespace sft {

namespace {

constexpr size_t kTokenLength = 32;

std::string new_token() {
  unsigned char bytes[16];
  if (::getentropy(bytes, sizeof bytes) != 0) {
    throw Error("C186", "the system gives no random numbers for the page's token");
  }
  std::string out;
  for (const unsigned char byte : bytes) {
    out += fmt::format("{:02x}", byte);
  }
  return out;
}

// A page that is open finds its server again when that is started anew: token and port of a
// folder's last server are kept where only this user may read them. What cannot be kept is made
// anew.
class KeptAddress {
 public:
  explicit KeptAddress(const fs::path& folder) {
    const fs::path kept = cache_folder("watch", read_environment());
    std::error_code ignored;
    if (!kept.empty()) {
      fs::create_directories(kept, ignored);
      path_ = kept / fmt::format("{:016x}", std::hash<std::string>()(
                                                fs::absolute(folder).lexically_normal().string()));
    }
  }
  // Token and port; a new token and 0 where there are none.
  std::pair<std::string, int64_t> read() const {
    const Fd file = path_.empty() ? Fd() : open_file(path_, O_RDONLY | O_NOFOLLOW);
    struct stat about{};
    char text[64];
    const bool own = file && ::fstat(file.get(), &about) == 0 && S_ISREG(about.st_mode) &&
                     about.st_uid == ::geteuid() && (about.st_mode & 077) == 0;
    const ssize_t got = own ? ::read(file.get(), text, sizeof text) : 0;
    const auto words =
        split(std::string_view(text, static_cast<size_t>(std::max<ssize_t>(got, 0))), ' ');
    if (words.size() == 2 && words[0].size() == kTokenLength &&
        words[0].find_first_not_of("0123456789abcdef") == std::string::npos) {
      return {words[0], whole_number(words[1], 1, 65535).value_or(0)};
    }
    return {new_token(), 0};
  }
  void write(const std::string& token, int port) const {
    if (path_.empty()) {
      return;
    }
    std::error_code ignored;
    fs::remove(path_, ignored);
    const Fd file = open_file(path_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (file) {
      write_all(file.get(), fmt::format("{} {}", token, port));
    }
  }

 private:
  fs::path path_;
};

bool is_wide(const std::string& host) { return host == "0.0.0.0" || host == "::"; }

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

WatchPage open_page(const std::vector<std::filesystem::path>& folders, const ReportOptions& options,
                    std::function<std::string()> stop) {
  SiteSettings settings;
  const KeptAddress kept(folders.at(0));
  const auto [token, last_port] = kept.read();
  settings.token = token;
  settings.hosts = {"127.0.0.1", "localhost", "[::1]", options.watch_host, host_name()};
  settings.any_address = is_wide(options.watch_host);
  settings.price = options.price_per_hour;
  settings.now = unix_now;
  settings.stop = std::move(stop);
  WatchPage page;
  const auto serve = [&](int64_t port) {
    page.server = std::make_unique<WatchServer>(options.watch_host, static_cast<int>(port),
                                                settings, folders);
  };
  try {
    serve(options.watch_port == 0 ? last_port : options.watch_port);
  } catch (const Error&) {
    if (options.watch_port != 0) {
      throw;
    }
    serve(0);  // another one has the last port
  }
  kept.write(token, page.server->port());
  const std::string host = is_wide(options.watch_host) ? host_name() : options.watch_host;
  page.address =
      fmt::format("http://{}:{}/{}/", host.find(':') == std::string::npos ? host : "[" + host + "]",
                  page.server->port(), token);
  return page;
}

std::vector<std::string> where_it_is(const WatchPage& page, const ReportOptions& options) {
  std::vector<std::string> lines{fmt::format("watch: {}", page.address)};
  if (is_wide(options.watch_host)) {
    lines.push_back("whoever has this address sees the run, and may stop it");
  } else if (!read_environment().value("SSH_CONNECTION").empty()) {
    const int port = page.server->port();
    lines.push_back(fmt::format("from your own machine first:  ssh -L {0}:{1}:{0} {2}", port,
                                options.watch_host, host_name()));
  }
  return lines;
}

PageBeside::PageBeside(WatchPage page)
    : page_(std::move(page)),
      thread_(start_thread("the run's page", [this] { page_.server->work(); })) {}

PageBeside::~PageBeside() {
  page_.server->end();
  thread_.join();
}

}  // namespace sft
