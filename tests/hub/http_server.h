// A small HTTP server on loopback that can also break the protocol: end early, be slow, lie. For
// tests of the hub.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/fd.h"

namespace sft::testing {

struct Request {
  std::string method, target, body;
  std::map<std::string, std::string> headers;  // names in lower case

  std::string header(const std::string& name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? "" : it->second;
  }
  std::string path() const { return target.substr(0, target.find('?')); }
  std::string query() const {
    const size_t mark = target.find('?');
    return mark == std::string::npos ? "" : target.substr(mark + 1);
  }
};

struct Reply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers{};
  std::string body{};
  // How to misbehave.
  int64_t cut_after = -1;  // closes the connection after so many bytes of the body
  int wait_ms = 0;         // before the first byte
  int pause_ms = 0;        // between pieces of `piece` bytes
  int64_t piece = 64 << 10;
  bool say_length = true;  // else the body ends with the connection
  std::string raw{};       // sent instead of everything else
};

class HttpServer {
 public:
  using Handler = std::function<Reply(const Request&)>;

  explicit HttpServer(Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return port_; }
  std::string url(const std::string& host = "127.0.0.1") const {
    return "http://" + host + ":" + std::to_string(port_);
  }
  std::vector<Request> requests() const;  // all so far
  // Requests whose target contains `part`, of the method where one is given.
  int count(const std::string& part, const std::string& method = "") const;
  void forget();

 private:
  void accept_all();
  void serve(int connection);
  bool answer(int connection, const Request& request);

  Handler handler_;
  Fd socket_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::vector<Request> requests_;
  std::list<int> open_;
  std::list<std::thread> workers_;
  std::vector<std::thread::id> ended_;  // of those that have nothing to do any more
  std::thread acceptor_;
};

}  // namespace sft::testing
