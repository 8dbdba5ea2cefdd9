#include "hub/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <utility>

namespace sft::testing {

namespace {

bool send_all(int connection, const char* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t put = ::send(connection, data, bytes, MSG_NOSIGNAL);
    if (put <= 0) {
      return false;
    }
    data += put;
    bytes -= static_cast<size_t>(put);
  }
  return true;
}

// One request from the connection; `kept` holds what was read beyond it.
std::optional<Request> read_request(int connection, std::string& kept) {
  char buffer[65536];
  const auto more = [&] {
    const ssize_t got = ::recv(connection, buffer, sizeof buffer, 0);
    if (got > 0) {
      kept.append(buffer, static_cast<size_t>(got));
    }
    return got > 0;
  };
  size_t end = 0;
  while ((end = kept.find("\r\n\r\n")) == std::string::npos) {
    if (!more() || kept[0] < 'A' || kept[0] > 'Z') {  // the latter: TLS
      return std::nullopt;
    }
  }
  Request request;
  size_t at = kept.find("\r\n");
  const std::string first = kept.substr(0, at);
  request.method = first.substr(0, first.find(' '));
  request.target = first.substr(request.method.size() + 1);
  request.target.resize(request.target.rfind(' '));
  while (at < end) {
    const size_t next = kept.find("\r\n", at + 2);
    const std::string line = kept.substr(at + 2, next - at - 2);
    const size_t colon = line.find(':');
    std::string name = line.substr(0, colon);
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    request.headers[name] =
        line.substr(std::min(line.size(), line.find_first_not_of(' ', colon + 1)));
    at = next;
  }
  kept.erase(0, end + 4);
  if (request.header("expect") == "100-continue") {
    send_all(connection, "HTTP/1.1 100 Continue\r\n\r\n", 25);
  }
  const std::string length = request.header("content-length");
  const size_t wanted = length.empty() ? 0 : std::stoull(length);
  while (kept.size() < wanted) {
    if (!more()) {
      return std::nullopt;
    }
  }
  request.body = kept.substr(0, wanted);
  kept.erase(0, wanted);
  return request;
}

}  // namespace

HttpServer::HttpServer(Handler handler) : handler_(std::move(handler)) {
  socket_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(socket_.get(), 64) != 0 ||
      ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("no socket on loopback");
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

HttpServer::~HttpServer() {
  stopping_ = true;
  ::shutdown(socket_.get(), SHUT_RDWR);
  acceptor_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const int connection : open_) {
      ::shutdown(connection, SHUT_RDWR);
    }
  }
  for (std::thread& worker : workers_) {
    worker.join();
  }
}

void HttpServer::accept_all() {
  while (!stopping_) {
    Fd connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) {
      continue;
    }
    const int on = 1;
    ::setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const std::lock_guard lock(mutex_);
    for (const std::thread::id id : std::exchange(ended_, {})) {
      const auto ended = std::ranges::find(workers_, id, &std::thread::get_id);
      ended->join();
      workers_.erase(ended);
    }
    open_.push_back(connection.get());
    workers_.emplace_back([this, connection = std::move(connection)] {
      serve(connection.get());
      const std::lock_guard inner(mutex_);
      std::erase(open_, connection.get());
      ended_.push_back(std::this_thread::get_id());
    });
  }
}

void HttpServer::serve(int connection) {
  std::string kept;
  while (!stopping_) {
    const auto request = read_request(connection, kept);
    if (!request) {
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(*request);
    }
    if (!answer(connection, *request)) {
      return;
    }
  }
}

// False when the connection is to be closed.
bool HttpServer::answer(int connection, const Request& request) {
  const Reply reply = handler_(request);
  const auto sleep = [&](int ms) {
    for (int left = ms; left > 0 && !stopping_; left -= 20) {
      std::this_thread::sleep_for(std::chrono::milliseconds(std::min(left, 20)));
    }
  };
  sleep(reply.wait_ms);
  if (!reply.raw.empty()) {
    send_all(connection, reply.raw.data(), reply.raw.size());
    return false;
  }
  std::string head = "HTTP/1.1 " + std::to_string(reply.status) + " X\r\n";
  const bool has_length =
      std::ranges::any_of(reply.headers, [](const auto& h) { return h.first == "Content-Length"; });
  if (reply.say_length && !has_length) {
    head += "Content-Length: " + std::to_string(reply.body.size()) + "\r\n";
  }
  for (const auto& [name, value] : reply.headers) {
    head += name + ": " + value + "\r\n";
  }
  head += "\r\n";
  if (!send_all(connection, head.data(), head.size()) || request.method == "HEAD") {
    return request.method == "HEAD";
  }
  const auto all = static_cast<int64_t>(reply.body.size());
  const int64_t end = reply.cut_after >= 0 ? std::min(reply.cut_after, all) : all;
  for (int64_t at = 0; at < end; at += reply.piece) {
    if (at > 0) {
      sleep(reply.pause_ms);
    }
    const int64_t bytes = std::min(reply.piece, end - at);
    if (!send_all(connection, reply.body.data() + at, static_cast<size_t>(bytes))) {
      return false;
    }
  }
  return reply.say_length && reply.cut_after < 0;
}

std::vector<Request> HttpServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

int HttpServer::count(const std::string& part, const std::string& method) const {
  const auto all = requests();
  return static_cast<int>(std::ranges::count_if(all, [&](const Request& r) {
    return r.target.find(part) != std::string::npos && (method.empty() || r.method == method);
  }));
}

void HttpServer::forget() {
  const std::lock_guard lock(mutex_);
  requests_.clear();
}

}  // namespace sft::testing
