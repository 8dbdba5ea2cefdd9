#include "comm/communicator.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>

#include "core/error.h"

namespace sft {
namespace {

void on_ranks(int world, const std::function<void(Communicator&)>& work) {
  auto all = thread_communicators(world);
  std::vector<std::thread> threads;
  for (auto& c : all) {
    threads.emplace_back([&work, comm = std::move(c)]() mutable { work(*comm); });
  }
  for (std::thread& t : threads) {
    t.join();
  }
}

TEST(ThreadCommunicators, every_rank_gets_the_same_sum) {
  for (const int world : {1, 2, 3, 5}) {
    for (const size_t n : {size_t{1}, size_t{2}, size_t{1001}}) {
      on_ranks(world, [&](Communicator& comm) {
        std::vector<float> x(n);
        std::iota(x.begin(), x.end(), static_cast<float>(comm.rank()));
        comm.all_reduce(x);
        for (size_t i = 0; i < n; ++i) {
          const auto expected =
              static_cast<float>(world * static_cast<int>(i) + world * (world - 1) / 2);
          ASSERT_EQ(x[i], expected);
        }
        EXPECT_EQ(comm.sum(comm.rank() + 1.0), world * (world + 1) / 2.0);
      });
    }
  }
}

TEST(ThreadCommunicators, broadcast_gives_rank_0s_bytes) {
  on_ranks(3, [](Communicator& comm) {
    std::vector<std::byte> x(17, static_cast<std::byte>(comm.rank() + 7));
    comm.broadcast(x);
    EXPECT_EQ(x, std::vector<std::byte>(17, std::byte{7}));
  });
}

TEST(ThreadCommunicators, a_rank_that_ends_breaks_the_others_wait) {
  on_ranks(2, [](Communicator& comm) {
    if (comm.rank() == 1) {
      return;  // destroys its communicator
    }
    try {
      comm.barrier();
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), "N001");
      EXPECT_EQ(e.exit_code(), ExitCode::restart);
    }
  });
}

// A rank that goes on after the error, to save or to clean up, must not take its own earlier calls
// for those of the rank that is gone.
TEST(ThreadCommunicators, a_broken_meeting_stays_broken) {
  on_ranks(3, [](Communicator& comm) {
    if (comm.rank() == 2) {
      return;
    }
    std::vector<float> x(100, 1.0F);
    for (int i = 0; i < 5; ++i) {
      EXPECT_THROW(comm.all_reduce(x), Error);
    }
  });
}

}  // namespace
}  // namespace sft
