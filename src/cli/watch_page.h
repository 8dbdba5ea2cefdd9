// The page beside a run that trains here (--watch), and what both it and `sft watch` say of where
// it is.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "settings/report_options.h"
#include "watch/server.h"

namespace sft {

class Terminal;

// A server of these folders' runs, at a place that is free, with a new token. C186.
struct WatchPage {
  std::unique_ptr<WatchServer> server;
  std::string address;  // with the token
};
WatchPage open_page(const std::vector<std::filesystem::path>& folders, const ReportOptions& options,
                    std::function<std::string()> stop);

// Where the page is, and how it is reached from another machine.
std::vector<std::string> where_it_is(const WatchPage& page, const ReportOptions& options);

// Serves on a thread of its own while it lives.
class PageBeside {
 public:
  explicit PageBeside(WatchPage page);
  ~PageBeside();
  PageBeside(const PageBeside&) = delete;
  PageBeside& operator=(const PageBeside&) = delete;

 private:
  WatchPage page_;
  std::thread thread_;
};

}  // namespace sft
