// One compression each, as a source of plain bytes. Used by compressed.cpp alone.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/read/compressed.h"

namespace sft {

class Decompressor::Codec {
 public:
  virtual ~Codec() = default;
  // Some of the next plain bytes, at least one; 0 at the end of the file. D022 for damage.
  virtual size_t read(std::span<char> out) = 0;
};

using OpenedCodec = std::unique_ptr<Decompressor::Codec>;

OpenedCodec open_plain(const std::filesystem::path& path);
OpenedCodec open_gzip(const std::filesystem::path& path);
OpenedCodec open_zstd(const std::filesystem::path& path);
OpenedCodec open_bzip2(const std::filesystem::path& path);
OpenedCodec open_xz(const std::filesystem::path& path);

}  // namespace sft
