// The same checks for every kind of communicator whose ranks compute on CPUs.
#include "comm/communicator.h"

#include <gtest/gtest.h>

#include <unistd.h>
#include <algorithm>
#include <cmath>

#include <filesystem>
#include <functional>
#include <numeric>
#include <thread>

#include "core/error.h"
#include "core/rng.h"
#include "support/file_store.h"
#include "support/staged_communicator.h"

namespace sft {
namespace {

namespace fs = std::filesystem;
using Work = std::function<void(Communicator&)>;
// Runs `work` on each of `world` ranks; a rank's communicator ends with its work.
using OnRanks = void (*)(int world, const Work& work);

void as_threads(int world, const Work& work) {
  auto all = thread_communicators(world);
  std::vector<std::thread> threads;
  for (auto& c : all) {
    threads.emplace_back([&work, comm = std::move(c)]() mutable { work(*comm); });
  }
  for (std::thread& t : threads) {
    t.join();
  }
}

// Gloo's ranks are threads here too, but speak through loopback.
void over_gloo(int world, const Work& work) {
  static int runs = 0;
  const fs::path folder = fs::path(::testing::TempDir()) /
                          ("sft_gloo_" + std::to_string(::getpid()) + "_" + std::to_string(runs++));
  testing::FileStore store(folder);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank] {
      const auto comm = gloo_communicator(
          {rank, world, &store, "world", "127.0.0.1", "", std::chrono::seconds(20)});
      work(*comm);
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  fs::remove_all(folder);
}

struct Kind {
  const char* name;
  OnRanks run;
};

class Communicators : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (GetParam().run == over_gloo && !gloo_built()) {
      GTEST_SKIP() << "built without Gloo";
    }
  }
  void on_ranks(int world, const Work& work) { GetParam().run(world, work); }
};

// Numbers whose sum depends on the order of addition.
float value(int rank, int64_t i) {
  const auto r = philox(7, static_cast<uint64_t>(rank), static_cast<uint64_t>(i));
  return std::ldexp(static_cast<float>(r[0]) / 4294967296.0F - 0.5F, static_cast<int>(r[1] % 20));
}

std::vector<float> values(int rank, int64_t n) {
  std::vector<float> x(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    x[static_cast<size_t>(i)] = value(rank, i);
  }
  return x;
}

float sum_in_rank_order(int world, int64_t i) {
  float total = value(0, i);
  for (int r = 1; r < world; ++r) {
    total += value(r, i);
  }
  return total;
}

TEST_P(Communicators, every_rank_gets_the_sum_in_rank_order) {
  for (const int world : {1, 2, 3}) {
    on_ranks(world, [&](Communicator& comm) {
      for (const int64_t n : {1, 2, 1001, 300'001}) {
        std::vector<float> x = values(comm.rank(), n);
        comm.all_reduce(x);
        for (int64_t i = 0; i < n; ++i) {
          ASSERT_EQ(x[static_cast<size_t>(i)], sum_in_rank_order(world, i)) << i;
        }
      }
      EXPECT_EQ(comm.sum(comm.rank() + 1.0), world * (world + 1) / 2.0);
    });
  }
}

TEST_P(Communicators, slices_are_summed_and_gathered) {
  for (const int world : {1, 2, 4}) {
    on_ranks(world, [&](Communicator& comm) {
      for (const int64_t n : {1, 5, 270'001}) {  // more than one piece
        const std::vector<float> full = values(comm.rank(), n * world);
        std::vector<float> in_place = full;
        std::vector<float> slice(static_cast<size_t>(n), 1.0F);
        float* const own = in_place.data() + comm.rank() * n;
        // Begun one behind the other, waited for once.
        comm.begin_reduce_scatter(full.data(), slice.data(), n, true);
        comm.begin_reduce_scatter(in_place.data(), own, n, false);
        comm.wait(
            comm.begin_all_gather(own, in_place.data(), static_cast<size_t>(n) * sizeof(float)));
        for (int64_t i = 0; i < n; ++i) {
          ASSERT_EQ(slice[static_cast<size_t>(i)],
                    1.0F + sum_in_rank_order(world, comm.rank() * n + i));
        }
        for (int64_t i = 0; i < n * world; ++i) {
          ASSERT_EQ(in_place[static_cast<size_t>(i)], sum_in_rank_order(world, i));
        }
      }
    });
  }
}

TEST_P(Communicators, what_was_begun_comes_before_what_is_asked_then) {
  on_ranks(3, [](Communicator& comm) {
    std::vector<float> x = values(comm.rank(), 100'000);
    comm.begin_all_reduce(x.data(), 100'000);
    comm.barrier();
    EXPECT_EQ(x[77], sum_in_rank_order(3, 77));
  });
}

TEST_P(Communicators, broadcast_gives_rank_0s_bytes) {
  on_ranks(3, [](Communicator& comm) {
    for (const size_t n : {size_t{0}, size_t{17}, size_t{3'000'000}}) {
      std::vector<std::byte> x(n, static_cast<std::byte>(comm.rank() + 7));
      comm.broadcast(x);
      EXPECT_EQ(x, std::vector<std::byte>(n, std::byte{7}));
    }
  });
}

TEST_P(Communicators, a_split_joins_ranks_of_one_colour) {
  on_ranks(5, [](Communicator& comm) {
    const auto part = comm.split(comm.rank() % 2);  // 0 2 4 and 1 3
    EXPECT_EQ(part->size(), comm.rank() % 2 == 0 ? 3 : 2);
    EXPECT_EQ(part->rank(), comm.rank() / 2);
    EXPECT_EQ(part->sum(comm.rank()), comm.rank() % 2 == 0 ? 6.0 : 4.0);
    const auto again = part->split(part->rank());
    EXPECT_EQ(again->size(), 1);
    EXPECT_EQ(again->sum(3.0), 3.0);
    EXPECT_EQ(comm.sum(1.0), 5.0);
  });
}

TEST_P(Communicators, a_rank_that_ends_breaks_the_others_wait) {
  on_ranks(3, [](Communicator& comm) {
    comm.barrier();
    if (comm.rank() == 1) {
      return;  // destroys its communicator
    }
    for (int i = 0; i < 3; ++i) {  // and stays broken, whichever way it is used
      try {
        std::vector<float> x(100);
        i == 1 ? comm.wait(comm.begin_all_reduce(x.data(), 100)) : comm.barrier();
        FAIL();
      } catch (const Error& e) {
        EXPECT_EQ(e.exit_code(), ExitCode::restart) << e.text();
      }
    }
  });
}

TEST_P(Communicators, abort_breaks_a_wait_from_outside) {
  on_ranks(2, [](Communicator& comm) {
    comm.barrier();
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      comm.abort(Error("N012", "rank 7 is gone"));
    });
    try {
      if (comm.rank() == 0) {
        comm.barrier();
        FAIL();
      }
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == "N012" || e.code() == "N040") << e.text();
    }
    other.join();
  });
}

INSTANTIATE_TEST_SUITE_P(Kinds, Communicators,
                         ::testing::Values(Kind{"threads", as_threads}, Kind{"gloo", over_gloo}),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST(Gloo, ranks_that_do_not_come_are_an_error) {
  if (!gloo_built()) {
    GTEST_SKIP() << "built without Gloo";
  }
  const fs::path folder = fs::path(::testing::TempDir()) / "sft_gloo_alone";
  fs::remove_all(folder);
  testing::FileStore store(folder);
  try {
    gloo_communicator({0, 2, &store, "world", "127.0.0.1", "", std::chrono::seconds(1)});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "N041") << e.text();
  }
}

int count_gpus() {
  int count = 0;
  while (fs::exists("/dev/nvidia" + std::to_string(count))) {
    ++count;
  }
  return count;
}

// Small whole numbers, whose sums are exact in any order.
float nccl_value(int rank, size_t i) { return static_cast<float>((i % 1000) + 7) * (rank + 1); }

// One rank's part of the tests below, slices of `kSlice` numbers.
void move_and_add(Communicator& comm, Device& device, size_t kSlice = 1000) {
  const int world = comm.size(), rank = comm.rank();
  const float ranks_sum = static_cast<float>(world * (world + 1)) / 2;  // of nccl_value's factors
  const size_t whole = kSlice * static_cast<size_t>(world);
  EXPECT_EQ(comm.sum(2.5), 2.5 * world);
  comm.barrier();
  std::vector<std::byte> word(8, std::byte(rank + 1));
  comm.broadcast(word);
  EXPECT_EQ(word, std::vector<std::byte>(8, std::byte{1}));

  std::vector<float> values(whole);
  for (size_t i = 0; i < whole; ++i) {
    values[i] = nccl_value(rank, i);
  }
  const Buffer full = device.allocate(whole * sizeof(float));
  const Buffer slice = device.allocate(kSlice * sizeof(float));
  const auto n = static_cast<int64_t>(kSlice);
  const size_t first = kSlice * static_cast<size_t>(rank);
  const auto expect_slice = [&](float factor) {
    std::vector<float> found(kSlice);
    device.download(found.data(), slice.data(), slice.size());
    size_t wrong = 0;
    for (size_t i = 0; i < kSlice; ++i) {
      wrong += found[i] != factor * ranks_sum * nccl_value(0, first + i) ? 1 : 0;
    }
    EXPECT_EQ(wrong, 0U);
  };
  const auto expect_full = [&](float factor) {
    std::vector<float> found(whole);
    device.download(found.data(), full.data(), full.size());
    size_t wrong = 0;
    for (size_t i = 0; i < whole; ++i) {
      wrong += found[i] != factor * nccl_value(0, i) ? 1 : 0;
    }
    EXPECT_EQ(wrong, 0U);
  };
  device.upload(full.data(), values.data(), full.size());
  comm.wait(comm.begin_reduce_scatter(full.f32(), slice.f32(), n, false));
  expect_slice(1);
  device.upload(full.data(), values.data(), full.size());
  comm.wait(comm.begin_reduce_scatter(full.f32(), slice.f32(), n, true));
  expect_slice(2);
  device.upload(full.data(), values.data(), full.size());
  float* const own = full.f32() + first;  // in place
  comm.wait(comm.begin_reduce_scatter(full.f32(), own, n, false));
  comm.wait(comm.begin_all_gather(own, full.data(), slice.size()));
  expect_full(ranks_sum);
  comm.wait(comm.begin_all_reduce(full.f32(), static_cast<int64_t>(whole)));
  expect_full(ranks_sum * static_cast<float>(world));

  const auto alone = comm.split(rank);
  EXPECT_EQ(alone->size(), 1);
  alone->wait(alone->begin_all_reduce(full.f32(), n));
  expect_full(ranks_sum * static_cast<float>(world));
  const auto all = comm.split(0);
  EXPECT_EQ(all->sum(1), world);
  comm.barrier();
  comm.abort(Error("N001", "told to"));
  EXPECT_THROW(comm.wait(comm.begin_all_reduce(slice.f32(), n)), Error);
}

// A rank for each GPU, all threads of this process.
TEST(Nccl, ranks_move_and_add_on_their_devices) {
  if (std::getenv("SFT_TEST_CUDA") == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  const int world = count_gpus();
  const fs::path folder =
      fs::path(::testing::TempDir()) / ("sft_nccl_" + std::to_string(::getpid()));
  testing::FileStore store(folder);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank] {
      const auto device = Device::cuda(rank, 1);
      const auto comm = nccl_communicator(
          *device, {rank, world, &store, "world", "127.0.0.1", "", std::chrono::seconds(60)});
      move_and_add(*comm, *device);
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  fs::remove_all(folder);
}

// Ranks as threads, each with a GPU of its own: streams of one GPU that wait for each other could
// share a queue. Slices of one piece, of several, and of a number that no width divides.
TEST(CopyEngines, move_and_add) {
  if (std::getenv("SFT_TEST_CUDA") == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (int world = 2; world <= std::min(count_gpus(), 4); ++world) {
    for (const size_t slice : {size_t{1}, size_t{1000}, size_t{4'500'001}, size_t{9'000'000}}) {
      SCOPED_TRACE(std::to_string(world) + " ranks, " + std::to_string(slice));
      auto hosts = thread_communicators(world);
      std::vector<std::thread> threads;
      for (int rank = 0; rank < world; ++rank) {
        threads.emplace_back([&, rank] {
          const auto device = Device::cuda(rank, 1);
          auto staged = std::make_unique<StagedCommunicator>(
              *device, std::move(hosts[static_cast<size_t>(rank)]));
          const Communicator* const rest = staged.get();
          const auto comm = copying_communicator(*device, std::move(staged));
          ASSERT_NE(comm.get(), rest);
          move_and_add(*comm, *device, slice);
        });
      }
      for (std::thread& t : threads) {
        t.join();
      }
    }
  }
}

// A rank that does not come keeps the others' GPUs waiting; they go on when they are told to.
TEST(CopyEngines, abort_lets_a_gpu_go_on) {
  if (std::getenv("SFT_TEST_CUDA") == nullptr || count_gpus() < 2) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set, or there are no two GPUs";
  }
  auto hosts = thread_communicators(2);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      const auto device = Device::cuda(rank, 1);
      const auto comm =
          copying_communicator(*device, std::make_unique<StagedCommunicator>(
                                            *device, std::move(hosts[static_cast<size_t>(rank)])));
      const Buffer data = device->allocate(4096);
      comm->barrier();
      if (rank == 0) {
        comm->wait(comm->begin_all_reduce(data.f32(), 1024));
        std::thread other([&] {
          std::this_thread::sleep_for(std::chrono::milliseconds(200));
          comm->abort(Error("N016", "rank 1 was lost"));
        });
        device->synchronize();
        other.join();
        EXPECT_THROW(comm->begin_all_reduce(data.f32(), 1024), Error);
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(1000));
      }
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
}

}  // namespace
}  // namespace sft
