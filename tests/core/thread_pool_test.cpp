#include "core/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <string>

namespace sft {
namespace {

TEST(ThreadPool, run_calls_each_thread_once) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    std::vector<int> calls(static_cast<size_t>(threads), 0);
    pool.run([&](int thread) { ++calls[static_cast<size_t>(thread)]; });
    EXPECT_EQ(calls, std::vector<int>(static_cast<size_t>(threads), 1));
  }
}

TEST(ThreadPool, a_pool_of_none_is_the_caller) {
  ThreadPool pool(0);
  EXPECT_EQ(pool.size(), 1);
  int calls = 0;
  pool.run([&](int) { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(ThreadPool, parallel_for_covers_the_range_in_thread_order) {
  ThreadPool pool(3);
  for (const int64_t n : {0, 1, 2, 3, 7, 100}) {
    for (const int64_t grain : {0, 1, 10, 1000}) {
      std::mutex mutex;
      std::vector<std::pair<int64_t, int64_t>> ranges;
      pool.parallel_for(
          n,
          [&](int64_t begin, int64_t end) {
            const std::lock_guard lock(mutex);
            ranges.emplace_back(begin, end);
          },
          grain);
      std::ranges::sort(ranges);
      int64_t at = 0;
      for (const auto& [begin, end] : ranges) {
        EXPECT_EQ(begin, at);
        EXPECT_GT(end, begin);
        if (ranges.size() > 1) {
          EXPECT_GE(end - begin, grain);
        }
        at = end;
      }
      EXPECT_EQ(at, n);
    }
  }
}

TEST(ThreadPool, for_each_hands_out_every_item_once) {
  ThreadPool pool(4);
  for (const int64_t n : {0, 1, 3, 1000}) {
    std::vector<int> seen(static_cast<size_t>(n), 0);
    pool.for_each(n, [&](int64_t item, int thread) {
      EXPECT_LT(thread, 4);
      ++seen[static_cast<size_t>(item)];
    });
    EXPECT_EQ(seen, std::vector<int>(static_cast<size_t>(n), 1));
  }
}

TEST(ThreadPool, many_tiny_runs_lose_none) {
  ThreadPool pool(3);
  std::array<int64_t, 3> counts{};
  constexpr int kRuns = 3000;
  for (int i = 0; i < kRuns; ++i) {
    pool.run([&](int thread) { ++counts[static_cast<size_t>(thread)]; });
  }
  EXPECT_EQ(counts, (std::array<int64_t, 3>{kRuns, kRuns, kRuns}));
}

TEST(ThreadPool, wakes_threads_that_have_gone_to_sleep) {
  ThreadPool pool(2);
  std::atomic<int> calls{0};
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    pool.run([&](int) { ++calls; });
  }
  EXPECT_EQ(calls, 10);
}

TEST(ThreadPool, an_exception_of_any_thread_reaches_the_caller) {
  ThreadPool pool(3);
  for (int thrower = 0; thrower < 3; ++thrower) {
    std::atomic<int> finished{0};
    try {
      pool.run([&](int thread) {
        if (thread == thrower) {
          throw std::runtime_error("thread " + std::to_string(thread));
        }
        ++finished;
      });
      FAIL();
    } catch (const std::runtime_error& e) {
      EXPECT_EQ(e.what(), "thread " + std::to_string(thrower));
    }
    EXPECT_EQ(finished, 2);  // the others ran to their end before it rose
    pool.run([&](int) { ++finished; });
    EXPECT_EQ(finished, 5);  // and the pool works on
  }
}

TEST(ThreadPool, all_threads_may_throw) {
  ThreadPool pool(4);
  for (int i = 0; i < 100; ++i) {
    EXPECT_THROW(pool.for_each(50, [](int64_t, int) { throw std::logic_error("x"); }),
                 std::logic_error);
  }
}

TEST(ThreadPool, two_pools_at_once_do_not_meet) {
  std::array<int64_t, 2> sums{};
  std::array<std::thread, 2> ranks;
  for (size_t rank = 0; rank < 2; ++rank) {
    ranks[rank] = std::thread([&sums, rank] {
      ThreadPool pool(2);
      std::vector<int64_t> x(1000);
      for (int i = 0; i < 500; ++i) {
        pool.parallel_for(1000, [&](int64_t begin, int64_t end) {
          for (int64_t j = begin; j < end; ++j) {
            x[static_cast<size_t>(j)] += static_cast<int64_t>(rank) + 1;
          }
        });
      }
      sums[rank] = std::accumulate(x.begin(), x.end(), int64_t{0});
    });
  }
  for (std::thread& t : ranks) {
    t.join();
  }
  EXPECT_EQ(sums[0], 500000);
  EXPECT_EQ(sums[1], 1000000);
}

TEST(ThreadPool, pools_come_and_go) {
  for (int i = 0; i < 200; ++i) {
    ThreadPool pool(1 + i % 4);
    if (i % 2 == 0) {
      pool.run([](int) {});
    }
  }
}

TEST(DefaultThreads, at_least_one) { EXPECT_GE(default_threads(), 1); }

}  // namespace
}  // namespace sft
