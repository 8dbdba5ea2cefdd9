#include "core/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/file_lock.h"
#include "core/file_writer.h"
#include "core/line_appender.h"

namespace sft {
namespace {

class Files : public ::testing::Test {
 protected:
  Files() {
    std::string name = (fs::temp_directory_path() / "sft_file_test_XXXXXX").string();
    folder = ::mkdtemp(name.data());
  }
  ~Files() override { fs::remove_all(folder); }

  int entries() const {
    return static_cast<int>(
        std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
  }
  fs::path folder;
};

void expect_error(const char* code, const char* part, const std::function<void()>& work) {
  try {
    work();
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), code);
    EXPECT_NE(e.message().find(part), std::string::npos) << e.message();
  }
}

TEST_F(Files, what_is_written_is_read) {
  const std::string text("a\0b\n", 4);
  write_text(folder / "x", text);
  EXPECT_EQ(read_text(folder / "x"), text);
  write_text(folder / "x", "");
  EXPECT_EQ(read_text(folder / "x"), "");
  EXPECT_EQ(entries(), 1);
}

// Not to know is not "no": a name that cannot be looked at is an error.
TEST_F(Files, what_is_at_a_path) {
  write_text(folder / "a", "x");
  fs::create_directory(folder / "b");
  fs::create_symlink(folder / "nothing", folder / "c");
  EXPECT_TRUE(is_file(folder / "a"));
  EXPECT_TRUE(is_folder(folder / "b"));
  EXPECT_FALSE(is_there(folder / "c"));
  EXPECT_FALSE(is_there(folder / "a" / "below a file"));
  EXPECT_FALSE(is_there(folder / std::string(5000, 'x')));
  EXPECT_EQ(kind_of("/dev/null"), PathKind::other);
  EXPECT_EQ(paths_in(folder), (std::vector<fs::path>{folder / "a", folder / "b", folder / "c"}));
  EXPECT_TRUE(paths_in(folder / "none").empty());
  fs::permissions(folder / "b", fs::perms::none);
  fs::permissions(folder, fs::perms::all);
  const bool root = ::geteuid() == 0 && ::seteuid(65534) == 0;
  expect_error("M001", "Permission denied", [&] { kind_of(folder / "b" / "x"); });
  expect_error("M001", "Permission denied", [&] { paths_in(folder / "b"); });
  if (root) {
    EXPECT_EQ(::seteuid(0), 0);
  }
}

TEST_F(Files, reading_names_the_file_and_the_reason) {
  expect_error("M001", "No such file", [&] { read_text(folder / "nothing"); });
  expect_error("M001", "directory", [&] { read_text(folder); });
  expect_error("M001", "nothing", [&] { MappedFile(folder / "nothing"); });
}

// Shells give `<(command)` as a pipe: its text must arrive, not an empty one.
TEST_F(Files, a_pipe_is_read_to_its_end_but_not_mapped) {
  const fs::path pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(pipe) << std::string(100000, 'x'); });
  EXPECT_EQ(read_text(pipe), std::string(100000, 'x'));
  writer.join();
  expect_error("M001", "it is not a regular file", [&] { MappedFile("/dev/null"); });
}

TEST_F(Files, nothing_is_waited_for_that_may_never_come) {
  const fs::path pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_error("M001", "nobody writes into it", [&] { read_text(pipe); });
  expect_error("M001", "a pipe", [&] { MappedFile{pipe}; });
  expect_error("M001", "a device", [&] { read_text("/dev/zero"); });
  expect_error("S001", "a pipe has that name", [&] { write_text(pipe, "x"); });
  expect_error("S001", "a pipe has that name", [&] { LineAppender{pipe}; });
  fs::rename(pipe, folder / "x.tmp");
  expect_error("S001", "a pipe has that name", [&] { write_text(folder / "x", "x"); });
  fs::rename(folder / "x.tmp", folder / ".sft.lock");
  expect_error("S001", "a pipe has that name", [&] { FolderLock(folder, "me"); });
  fs::create_directory(folder / "log");
  expect_error("S001", "log", [&] { LineAppender{folder / "log"}; });
}

// Whoever can put a link into the folder must not reach what it points to.
TEST_F(Files, no_link_is_followed_by_what_is_written) {
  const fs::path target = folder / "target";
  write_text(target, "precious\n");
  const auto link = [&](const char* name, bool hard) {
    fs::remove(folder / name);
    hard ? fs::create_hard_link(target, folder / name) : fs::create_symlink(target, folder / name);
  };
  for (const bool hard : {false, true}) {
    link("x", hard);
    link("x.tmp", hard);
    write_text(folder / "x", "new");
    EXPECT_EQ(read_text(folder / "x"), "new");
    EXPECT_FALSE(fs::is_symlink(folder / "x"));
    link(".sft.lock", hard);
    expect_error("S001", "a link has that name", [&] { FolderLock(folder, "me"); });
    EXPECT_EQ(read_text(target), "precious\n");
  }
  link("log", false);
  expect_error("S001", "a link has that name", [&] { LineAppender{folder / "log"}; });
  link("log", true);  // cp --link made a copy of the folder, say
  LineAppender(folder / "log").append("more");
  EXPECT_EQ(read_text(folder / "log"), "precious\nmore\n");
  EXPECT_EQ(read_text(target), "precious\n");
}

TEST_F(Files, half_a_line_gives_way_to_the_next) {
  for (const size_t half : {size_t{1}, size_t{4095}, size_t{4096}, size_t{10000}}) {
    write_text(folder / "log", "one\ntwo\n" + std::string(half, 'x'));
    LineAppender(folder / "log").append("three");
    EXPECT_EQ(read_text(folder / "log"), "one\ntwo\nthree\n") << half;
    write_text(folder / "log", std::string(half, 'x'));
    LineAppender(folder / "log").append("three");
    EXPECT_EQ(read_text(folder / "log"), "three\n") << half;
  }
}

TEST_F(Files, a_file_without_a_known_size_is_read) {
  EXPECT_NE(read_text("/proc/self/status").find("Name:"), std::string::npos);
}

TEST_F(Files, a_writer_without_commit_leaves_the_old_file) {
  write_text(folder / "x", "old");
  {
    FileWriter writer(folder / "x");
    writer.write("new");
    EXPECT_EQ(read_text(folder / "x"), "old");
  }
  EXPECT_EQ(read_text(folder / "x"), "old");
  EXPECT_EQ(entries(), 1);
}

// A cache that several processes share: each has a temporary name of its own, which says whether
// somebody still writes it.
TEST_F(Files, many_writers_of_one_name_do_not_meet) {
  const fs::path path = folder / "x";
  FileWriter first(path, Writers::many), second(path, Writers::many);
  EXPECT_NE(first.temporary(), second.temporary());
  for (const fs::path& temporary : {first.temporary(), second.temporary()}) {
    EXPECT_EQ(temporary.parent_path(), folder);
    EXPECT_EQ(temporary.extension(), FileWriter::kTemporary);
    remove_if_abandoned(temporary);
    EXPECT_TRUE(is_there(temporary));
  }
  first.write("first");
  second.write("second");
  second.commit();
  EXPECT_EQ(read_text(path), "second");
  first.commit();
  EXPECT_EQ(read_text(path), "first");
  EXPECT_EQ(entries(), 1);
  write_text(folder / "x.1.0.tmp", "of a process that was killed");
  remove_if_abandoned(folder / "x.1.0.tmp");
  EXPECT_EQ(entries(), 1);
}

TEST_F(Files, a_copy_has_every_byte_and_only_its_own_name) {
  std::string text((size_t{8} << 20) + 1, 'a');
  text.back() = 'z';
  write_text(folder / "from", text);
  fs::create_symlink(folder / "from", folder / "to");
  write_copy(folder / "to", folder / "from");
  EXPECT_TRUE(read_text(folder / "to") == text);
  EXPECT_FALSE(fs::is_symlink(folder / "to"));
  EXPECT_EQ(entries(), 2);
}

TEST_F(Files, a_commit_that_fails_leaves_nothing_behind) {
  fs::create_directories(folder / "taken" / "inside");
  expect_error("S001", "taken", [&] { write_text(folder / "taken", "x"); });
  EXPECT_EQ(entries(), 1);
  expect_error("S001", "No such file", [&] { write_text(folder / "no" / "x", "x"); });
}

TEST_F(Files, a_full_disk_is_said_with_a_way_out) {
  LineAppender full("/dev/full");
  try {
    full.append("x");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "S001");
    EXPECT_EQ(e.exit_code(), ExitCode::io);
    EXPECT_NE(e.message().find("No space left"), std::string::npos);
    EXPECT_FALSE(e.hint().empty());
  }
}

// In pieces, from any place to any other, past the cache and through it.
TEST_F(Files, parts_of_a_file_are_read) {
  std::string text((size_t{8} << 20) + 12345, '\0');
  for (size_t i = 0; i < text.size(); ++i) {
    text[i] = static_cast<char>(i * 31 + i / 4099);
  }
  const fs::path path = folder / "parts";
  write_text(path, text);
  const auto end = static_cast<uint64_t>(text.size());
  for (const ReadFrom from : {ReadFrom::disk, ReadFrom::anywhere}) {
    for (const auto& [begin, stop] : std::vector<std::pair<uint64_t, uint64_t>>{
             {0, end}, {0, end + 10}, {0, 100}, {4096, 9000}, {4097, end}, {end, end + 1}}) {
      std::string read;
      read_pieces(path, from, begin, stop, [&](std::span<const std::byte> piece) {
        read.append(reinterpret_cast<const char*>(piece.data()), piece.size());
      });
      EXPECT_TRUE(read == text.substr(begin, stop - begin)) << begin << " to " << stop;
    }
  }
}

TEST_F(Files, a_mapping_moves) {
  write_text(folder / "x", "12345");
  MappedFile a(folder / "x");
  const MappedFile b(std::move(a));
  EXPECT_EQ(b.text(), "12345");
  EXPECT_EQ(a.size(), 0U);  // NOLINT: moved from on purpose
  EXPECT_EQ(b.path(), folder / "x");
}

TEST_F(Files, lines_are_appended_whole_by_several_writers) {
  constexpr int kLines = 200;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      LineAppender out(folder / "log");
      for (int i = 0; i < kLines; ++i) {
        out.append(std::string(50, static_cast<char>('a' + t)));
      }
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  std::ifstream in(folder / "log");
  std::string line;
  int lines = 0;
  for (; std::getline(in, line); ++lines) {
    ASSERT_EQ(line, std::string(50, line[0]));
  }
  EXPECT_EQ(lines, 3 * kLines);
}

}  // namespace
}  // namespace sft
