#include "hub/download.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "core/file.h"
#include "core/file_lock.h"
#include "core/strings.h"
#include "core/threads.h"
#include "hub/digest.h"
#include "hub/errors.h"
#include "hub/fetch_range.h"
#include "hub/questions.h"
#include "hub/url.h"

namespace sft {

namespace {

// One blob and the names it has in the snapshot.
struct Job {
  HubFile file;
  std::vector<std::string> names;
};

// Parts of a file that idle threads may take over from the thread that owns the file.
struct Shared {
  RangeSource source;
  PartialFile& partial;
  std::deque<ByteRange> todo;
  int in_flight = 0;
};

class Downloads {
 public:
  Downloads(const HttpClient& client, const CacheRepository& cache, const HubPlace& place,
            const std::string& commit, std::vector<Job> jobs)
      : client_(client),
        env_(client.environment()),
        cache_(cache),
        place_(place),
        commit_(commit),
        jobs_(std::move(jobs)) {
    for (const Job& job : jobs_) {
      total_ += job.file.size;
    }
  }

  void run() {
    check_room();
    const int threads = std::clamp(env_.connections, 1, 64);
    Helpers helpers;
    for (int i = 1;
         i < threads && (total_ > env_.part_bytes || i < static_cast<int>(jobs_.size())) &&
         helpers.add([this] { work(); });
         ++i) {
    }
    work();
    helpers.join();
    if (failure_) {
      std::rethrow_exception(failure_);
    }
    if (env_.report.progress) {
      env_.report.progress(total_, total_);
    }
  }

 private:
  void check_room() const {
    std::error_code failure;
    const fs::path folder = cache_.blob("x").parent_path();
    const fs::space_info space = fs::space(folder, failure);
    int64_t needed = total_;
    for (const Job& job : jobs_) {
      const fs::path begun = cache_.blob(job.file.hash()).string() + ".sft.incomplete";
      const auto there = fs::file_size(begun, failure);
      needed -= failure ? 0 : std::min<int64_t>(job.file.size, static_cast<int64_t>(there));
    }
    if (space.available != static_cast<uintmax_t>(-1) &&
        static_cast<uintmax_t>(std::max<int64_t>(needed, 0)) > space.available) {
      throw Error("S031", fmt::format("{} needs {} more, and the disk of the hub cache has {} left",
                                      place_.text(), human_bytes(static_cast<double>(needed)),
                                      human_bytes(static_cast<double>(space.available))))
          .at(folder.string())
          .hint("make room, or move the cache with HF_HOME=/a/larger/disk");
    }
  }

  // Each thread takes parts of files that others have begun, else begins a file of its own.
  void work() {
    std::unique_lock lock(mutex_);
    while (!failure_) {
      const auto open = std::ranges::find_if(active_, [](Shared* s) { return !s->todo.empty(); });
      if (open != active_.end()) {
        run_part(**open, lock);
      } else if (next_ < jobs_.size()) {
        const Job& job = jobs_[next_++];
        lock.unlock();
        guarded([&] { fetch(job); });
        lock.lock();
        ++done_jobs_;
        changed_.notify_all();
      } else if (done_jobs_ < jobs_.size()) {
        changed_.wait(lock);
      } else {
        return;
      }
    }
  }

  template <class Work>
  void guarded(Work&& what) {
    try {
      what();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) {
        failure_ = std::current_exception();
      }
      changed_.notify_all();
    }
  }

  void run_part(Shared& shared, std::unique_lock<std::mutex>& lock) {
    const ByteRange part = shared.todo.front();
    shared.todo.pop_front();
    ++shared.in_flight;
    lock.unlock();
    guarded([&] { fetch_range(shared.source, shared.partial, part, true); });
    lock.lock();
    --shared.in_flight;
    changed_.notify_all();
  }

  // Fetches one blob and gives it its names in the snapshot.
  void fetch(const Job& job) {
    const fs::path blob = cache_.blob(job.file.hash());
    {
      bool said = false;
      // Where there can be none it goes on without: what is downloaded is checked by its hash.
      FileLock lock;
      lock.wait_at(cache_.lock(job.file.hash()), [&](double waited) {
        check_stop();
        if (waited >= 1 && !said && env_.report.note) {
          said = true;
          const std::lock_guard guard(report_mutex_);
          env_.report.note(
              fmt::format("another process fetches {}; waiting for it", job.file.path));
        }
      });
      if (fs::exists(blob)) {
        count(job.file.size);
      } else {
        fetch_blob(job.file, blob);
      }
    }
    for (const std::string& name : job.names) {
      cache_.link(job.file.hash(), commit_, name);
    }
  }

  void fetch_blob(const HubFile& file, const fs::path& blob) {
    PartialFile partial(blob, file.size);
    RangeSource source{client_,
                       place_,
                       file_url(env_, place_, commit_, file.path),
                       file.path,
                       file.size,
                       [this](int64_t bytes) { count(bytes); },
                       [this] { check_stop(); }};
    source.place.file = file.path;
    for (int attempt = 0; attempt < 2; ++attempt) {
      const int64_t before = partial.present();
      count(before);
      fetch_contents(source, partial);
      if (is_whole(file, partial)) {
        partial.finish();
        return;
      }
      count(-partial.present());
      partial.clear();
    }
    throw Error("M307",
                fmt::format("{} of {} arrives with other contents than its hash says, twice",
                            file.path, place_.text()))
        .at(url_for_people(source.url))
        .hint("a proxy or mirror in between may be at fault: try without it, or try again later");
  }

  // The first part shows whether the server serves ranges; then the others are shared out.
  void fetch_contents(const RangeSource& source, PartialFile& partial) {
    std::vector<ByteRange> parts = partial.missing(env_.part_bytes);
    try {
      if (!parts.empty()) {
        fetch_range(source, partial, parts.front(), false);
        parts.erase(parts.begin());
      }
      share_out(source, partial, parts);
    } catch (const NoRanges&) {
      count(-partial.present());
      partial.clear();
      fetch_whole(source, partial);
    }
  }

  void share_out(const RangeSource& source, PartialFile& partial,
                 const std::vector<ByteRange>& parts) {
    if (parts.empty()) {
      return;
    }
    Shared shared{source, partial, {parts.begin(), parts.end()}, 0};
    std::unique_lock lock(mutex_);
    active_.push_back(&shared);
    changed_.notify_all();
    while (!failure_ && !shared.todo.empty()) {
      run_part(shared, lock);
    }
    changed_.wait(lock, [&] { return shared.in_flight == 0; });
    std::erase(active_, &shared);
    if (failure_) {
      std::rethrow_exception(failure_);
    }
  }

  bool is_whole(const HubFile& file, const PartialFile& partial) const {
    std::error_code failure;
    if (file.size > 0 &&
        fs::file_size(partial.path(), failure) != static_cast<uintmax_t>(file.size)) {
      return false;
    }
    return file.sha256.empty() ? git_blob_of_file(partial.path()) == file.blob_id
                               : sha256_of_file(partial.path()) == file.sha256;
  }

  void count(int64_t bytes) {
    const std::lock_guard lock(report_mutex_);
    done_ += bytes;
    const auto now = std::chrono::steady_clock::now();
    if (env_.report.progress && now - reported_ > std::chrono::milliseconds(50)) {
      reported_ = now;
      env_.report.progress(std::min(done_, total_ - 1), total_);
    }
  }

  void check_stop() {
    const std::lock_guard lock(mutex_);
    if (failure_) {
      throw Error(kStoppedAtHub, "another file failed");
    }
    if (env_.report.stopped && env_.report.stopped()) {
      throw Error(kStoppedAtHub, fmt::format("stopped while fetching {}", place_.text()));
    }
  }

  const HttpClient& client_;
  const HubEnvironment& env_;
  const CacheRepository& cache_;
  const HubPlace& place_;
  const std::string& commit_;
  const std::vector<Job> jobs_;

  std::mutex mutex_;  // of all below
  std::condition_variable changed_;
  size_t next_ = 0, done_jobs_ = 0;
  std::vector<Shared*> active_;
  std::exception_ptr failure_;

  std::mutex report_mutex_;
  int64_t done_ = 0, total_ = 0;
  std::chrono::steady_clock::time_point reported_{};
};

}  // namespace

void download_files(const HttpClient& client, const CacheRepository& cache, const HubPlace& place,
                    const std::string& commit, const std::vector<HubFile>& files) {
  std::map<std::string, size_t> by_hash;
  std::vector<Job> jobs;
  for (const HubFile& file : files) {
    const auto [it, fresh] = by_hash.emplace(file.hash(), jobs.size());
    if (fresh) {
      jobs.push_back({file, {}});
    }
    jobs[it->second].names.push_back(file.path);
  }
  std::ranges::stable_sort(jobs, std::greater(), [](const Job& job) { return job.file.size; });
  cache.prepare(commit);
  Downloads(client, cache, place, commit, std::move(jobs)).run();
}

}  // namespace sft
