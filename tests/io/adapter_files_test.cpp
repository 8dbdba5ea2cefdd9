#include "io/adapter_files.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file_writer.h"

namespace sft {
namespace {

class AdapterFilesTest : public testing::Test {
 protected:
  AdapterFilesTest() { fs::create_directories(folder_); }
  ~AdapterFilesTest() override { fs::remove_all(folder_); }
  const fs::path folder_ = fs::path(testing::TempDir()) / fmt::format("sft_adapter_{}", ::getpid());
};

std::string code_of_base(const fs::path& folder) {
  try {
    AdapterFiles::read(folder).base();
    return "";
  } catch (const Error& e) {
    return std::string(e.code().text());
  }
}

// As PEFT writes it, for a model of that name, with one tensor.
fs::path adapter_of(const fs::path& folder, const std::string& base) {
  fs::create_directories(folder);
  write_text(folder / "adapter_config.json",
             Json{{"peft_type", "LORA"}, {"r", 1}, {"base_model_name_or_path", base}}.dump());
  const std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  std::string size(8, '\0');
  size[0] = static_cast<char>(header.size());
  write_text(folder / "adapter_model.safetensors", size + header + "1234");
  return folder;
}

TEST_F(AdapterFilesTest, OfTheHubNameNoPlaceOnThisMachine) {
  const fs::path hub = folder_ / "models--a--b/snapshots/0123", mine = folder_ / "mine";
  fs::create_directories(folder_ / "models--a--b/blobs");
  for (const char* base : {"/home/me/model", "../model", "~/model", "a/../../b"}) {
    EXPECT_EQ(code_of_base(adapter_of(hub, base)), "M272") << base;
    EXPECT_EQ(code_of_base(adapter_of(mine, base)), "") << base;
  }
  EXPECT_EQ(AdapterFiles::read(adapter_of(hub, "org/model")).base(), "org/model");
  EXPECT_EQ(code_of_base(adapter_of(mine, "")), "M270");
}

}  // namespace
}  // namespace sft
