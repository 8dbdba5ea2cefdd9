// What the fuzz targets share: an input as a file, and errors of ours as the one accepted outcome.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/error.h"

namespace sft::fuzz {

// Runs `work`; an Error is a clean refusal, everything else is a finding.
template <class F>
int accepts(F&& work) {
  try {
    work();
  } catch (const Error&) {
  }
  return 0;
}

// A file of this process with the given bytes, written anew for each input.
inline std::filesystem::path file_with(std::string_view bytes, const std::string& name) {
  static const std::filesystem::path folder = [] {
    auto path = std::filesystem::temp_directory_path() / ("sft-fuzz-" + std::to_string(getpid()));
    std::filesystem::create_directories(path);
    return path;
  }();
  std::ofstream(folder / name, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return folder / name;
}

}  // namespace sft::fuzz
