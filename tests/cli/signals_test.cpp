#include "cli/signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/file.h"
#include "core/file_writer.h"

namespace sft {
namespace {

#ifndef SFT_SANITIZED
TEST(Signals, AMappedFileThatIsCutShortIsNamed) {
  const fs::path path = fs::path(::testing::TempDir()) /
                        ("sft_signals_" + std::to_string(::getpid()) + " \x1b[1m.bin");
  const auto read_what_is_gone = [&] {
    end_at_signals();
    write_text(path, std::string(1 << 16, 'x'));
    const MappedFile file(path);
    fs::resize_file(path, 0);
    ::_exit(file.text()[40000] == 'x' ? 0 : 1);
  };
  EXPECT_EXIT(read_what_is_gone(), ::testing::ExitedWithCode(7),
              "error.S050.: .*sft_signals_.* \\?.1m.bin cannot be read any more");
  fs::remove(path);
}
#endif

}  // namespace
}  // namespace sft
