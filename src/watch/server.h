// The page's server: one thread, sockets that never block, and a limit on everything that a
// stranger or a slow reader could make grow. `sft watch` runs it, and `--watch` beside training.
//
// cpp-httplib was weighed and left out: 0.11 keeps a thread for each open page, queues connections
// without a limit, and would be one more library that has to be there for the program to start.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "core/fd.h"
#include "watch/site.h"

namespace sft {

class WatchServer {
 public:
  static constexpr size_t kMostConnections = 64;
  static constexpr size_t kMostPages = 32;  // that stay open

  // Listens at once. C186 when it cannot.
  WatchServer(const std::string& host, int port, SiteSettings settings,
              std::vector<std::filesystem::path> folders);
  ~WatchServer();

  int port() const { return port_; }
  // Until `end` is called, from any thread or a signal's handler.
  void work();
  void end();

 private:
  struct Connection;
  void accept_some();
  void hear(Connection& c);
  void answer(Connection& c, const PageRequest& request);
  void draw_some(double now);
  void flush(Connection& c);

  Site site_;
  Fd listener_, wake_read_, wake_write_;
  int port_ = 0;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::atomic<bool> ending_{false};
  double next_draw_ = 0, next_glance_ = 0;  // what is drawn takes a share of the time only
};

}  // namespace sft
