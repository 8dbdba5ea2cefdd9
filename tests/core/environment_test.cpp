#include "core/environment.h"

#include <gtest/gtest.h>

#include "core/cache_folder.h"

namespace sft {
namespace {

TEST(Environment, ADefaultOneIsEmpty) {
  EXPECT_EQ(Environment()("HOME"), nullptr);
  EXPECT_EQ(Environment().value("HOME"), "");
  EXPECT_EQ(cache_folder("tokens", Environment()), "");
}

TEST(Environment, TheFirstCacheThatIsSetDecides) {
  std::map<std::string, std::string> v{{"HOME", "/home/me"}};
  EXPECT_EQ(cache_folder("tokens", Environment(v)), "/home/me/.cache/sft/tokens");
  v["XDG_CACHE_HOME"] = "/xdg";
  EXPECT_EQ(cache_folder("tokens", Environment(v)), "/xdg/sft/tokens");
  v["SFT_CACHE"] = "/own";
  EXPECT_EQ(cache_folder("tokens", Environment(v)), "/own/tokens");
}

}  // namespace
}  // namespace sft
