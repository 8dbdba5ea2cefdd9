#include "core/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>

#include "core/file.h"
#include "core/nameless_file.h"

namespace sft {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(Fd, is_closed_with_its_last_owner_and_errno_stays) {
  Fd a = open_file("/dev/null", O_RDONLY);
  const int number = a.get();
  EXPECT_NE(::fcntl(number, F_GETFD) & FD_CLOEXEC, 0);
  {
    const Fd b = std::move(a);
    EXPECT_FALSE(a);  // NOLINT: moved from on purpose
    EXPECT_EQ(b.get(), number);
    EXPECT_TRUE(is_open(number));
    errno = ENOSPC;
  }
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_FALSE(is_open(number));
  EXPECT_FALSE(open_file("/nothing/there", O_RDONLY));
  EXPECT_EQ(errno, ENOENT);
}

TEST(Fd, another_one_takes_its_place) {
  Fd a = open_file("/dev/null", O_RDONLY);
  const int number = a.get();
  a = open_file("/dev/zero", O_RDONLY);
  EXPECT_NE(a.get(), number);
  EXPECT_FALSE(is_open(number));
}

TEST(WriteAll, says_how_much_there_was_room_for) {
  const Fd full = open_file("/dev/full", O_WRONLY);
  EXPECT_EQ(write_all(full.get(), "abc"), 0U);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(write_all(full.get(), ""), 0U);
  const Fd file = open_nameless_file();
  EXPECT_EQ(write_all(file.get(), "abcdef"), 6U);
  EXPECT_EQ(write_all_at(file.get(), "XY", 2), 2U);
  EXPECT_EQ(read_text(path_of(file)), "abXYef");
}

// Somebody else may have made the pipe non-blocking, as ssh and others do with a shared terminal.
TEST(WriteAll, a_full_pipe_is_waited_for) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
  const Fd out(ends[0]);
  Fd in(ends[1]);
  const std::string text(1 << 20, 'x');  // more than a pipe takes
  std::string read;
  std::thread reader([&] {
    std::array<char, 8192> piece{};
    while (true) {
      const ssize_t n = ::read(out.get(), piece.data(), piece.size());
      if (n > 0) {
        read.append(piece.data(), static_cast<size_t>(n));
      } else if (n == 0) {
        return;
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  });
  EXPECT_EQ(write_all(in.get(), text), text.size());
  in.reset();
  reader.join();
  EXPECT_EQ(read, text);
}

TEST(NamelessFile, has_no_name_and_is_read_by_path_while_it_is_open) {
  Fd file = open_nameless_file();
  ASSERT_TRUE(file);
  struct stat info{};
  ASSERT_EQ(::fstat(file.get(), &info), 0);
  EXPECT_EQ(info.st_nlink, 0U);
  write_all(file.get(), "here");
  const std::filesystem::path path = path_of(file);
  const MappedFile mapped(path);
  file.reset();
  EXPECT_EQ(mapped.text(), "here");
}

}  // namespace
}  // namespace sft
