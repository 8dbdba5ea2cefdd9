// deploy/Containerfile against the tree: what its first stage copies must be enough to build from.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "core/file.h"
#include "support/paths.h"

namespace sft {
namespace {

TEST(Containerfile, copies_what_the_build_needs) {
  const fs::path project = fs::path(SFT_TEST_DIR).parent_path();
  const fs::path root = fs::path(::testing::TempDir()) / "containerfile";
  fs::remove_all(root);
  fs::create_directories(root);
  std::istringstream text(read_text(project / "deploy/Containerfile"));
  int copied = 0;
  for (std::string line; std::getline(text, line) && !line.ends_with("AS run");) {
    std::istringstream words(line);
    std::string command, from, to;
    if (words >> command >> from >> to && command == "COPY") {
      fs::copy(project / from, root / to, fs::copy_options::recursive);
      ++copied;
    }
  }
  EXPECT_EQ(copied, 4);
  const std::string configure = "cmake -S '" + root.string() + "' -B '" + root.string() +
                                "/build' -DSFT_TESTS=OFF -DSFT_CUDA=OFF >'" + root.string() +
                                "/log' 2>&1";
  EXPECT_EQ(std::system(configure.c_str()), 0) << read_text(root / "log");
  fs::remove_all(root);
}

}  // namespace
}  // namespace sft
