// What the page's server says: which requests are answered, and what a page that stays open is
// sent. It knows no socket: requests and times go in, answers come out. Nothing is shown but what
// the runs' histories say; no path of a request ever becomes a path of a file.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "report/history/run_follower.h"
#include "report/page/page.h"
#include "watch/http.h"

namespace sft {

struct SiteSettings {
  std::string token;               // the first part of every path
  std::vector<std::string> hosts;  // names that a request may call this server by, without port
  bool any_address = false;        // and numeric addresses: it listens to other machines
  std::optional<double> price{};   // of an hour
  std::function<double()> now;     // unix seconds
  // Asks the run to save and stop; says what it did, or throws. Empty: there is no button.
  std::function<std::string()> stop{};
};

// Of one open page: what it shows, and what it was sent last.
struct OpenPage {
  PageView view;
  std::vector<std::pair<std::string, size_t>> sent;  // parts, by a hash of their text
  int64_t version = -1;                              // of the data that all of it shows
  int64_t glanced = -1;                              // of those that its state and loss show
  int64_t second = 0;                                // when its clock was drawn
};

class Site {
 public:
  Site(std::vector<std::filesystem::path> folders, SiteSettings settings);

  // Reads what is new; true where anything was. Call it often.
  bool poll();
  // There is more to be read at once.
  bool behind() const;

  // An answer, or a page that stays open.
  struct Reply {
    std::optional<PageAnswer> answer;
    std::optional<OpenPage> page;
  };
  Reply reply(const PageRequest& request);

  // Whether an open page is not as it should be now.
  bool is_due(const OpenPage& page) const;
  // Whether it has seen nothing yet of what is new: of that it is shown the loss first.
  bool is_glance_due(const OpenPage& page) const;
  // The event that makes it so; "" where nothing changes after all. `glance`: the state and the
  // loss alone.
  std::string event(OpenPage& page, bool glance = false);

 private:
  std::vector<ShownRun> shown_runs() const;
  PageView view_of(const PageRequest& request) const;
  bool is_host(std::string_view host) const;
  PageAnswer stop(const PageRequest& request);

  std::vector<std::unique_ptr<RunFollower>> runs_;
  SiteSettings settings_;
  int64_t version_ = 0;
  std::string failure_;  // why a run's file cannot be read
};

}  // namespace sft
