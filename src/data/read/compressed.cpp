#include "data/read/compressed.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/nameless_file.h"
#include "core/strings.h"
#include "data/read/codecs.h"

namespace sft {

namespace {

struct Magic {
  std::string_view bytes;
  Compression compression;
};

constexpr std::array<Magic, 6> kMagic = {{
    {"\x1f\x8b", Compression::gzip},
    {"\x28\xb5\x2f\xfd", Compression::zstd},
    {"BZh", Compression::bzip2},
    {std::string_view("\xfd\x37\x7a\x58\x5a\x00", 6), Compression::xz},
    {"\x04\x22\x4d\x18", Compression::other},  // lz4
    {"PK\x03\x04", Compression::other},        // zip
}};

constexpr std::array<std::string_view, 6> kEndings = {".gz", ".zst", ".bz2", ".xz", ".lz4", ".zip"};

std::string ending_of(const fs::path& path) { return to_lower(path.extension().string()); }

std::string system_reason() { return std::strerror(errno); }  // NOLINT(concurrency-mt-unsafe)

Error cannot_unpack(const fs::path& path) {
  return Error("S001", fmt::format("cannot unpack {}: {}", path.string(), system_reason()))
      .hint("set TMPDIR to a folder with enough room, or unpack the data yourself");
}

// For what is too large to be held in memory.
Fd unpack(const fs::path& path) {
  Fd file = open_nameless_file();
  if (!file) {
    throw cannot_unpack(path);
  }
  Decompressor source(path);
  std::vector<char> buffer(size_t{1} << 20);
  while (const size_t count = source.read(buffer)) {
    if (write_all(file.get(), {buffer.data(), count}) < count) {
      throw cannot_unpack(path);
    }
  }
  return file;
}

}  // namespace

Compression compression_of(const fs::path& path) {
  const Fd file = open_file(path, O_RDONLY | O_NONBLOCK);
  std::array<char, 6> head{};
  const ssize_t count =
      file ? uninterrupted([&] { return ::read(file.get(), head.data(), head.size()); }) : -1;
  if (count < 0) {
    fail_read(path);
  }
  const std::string_view bytes(head.data(), static_cast<size_t>(count));
  for (const Magic& magic : kMagic) {
    if (bytes.starts_with(magic.bytes)) {
      return magic.compression;
    }
  }
  return Compression::none;
}

bool has_compressed_name(const fs::path& path) {
  return std::ranges::find(kEndings, ending_of(path)) != kEndings.end();
}

fs::path without_compression(const fs::path& path) {
  return has_compressed_name(path) ? fs::path(path).replace_extension() : path;
}

Decompressor::Decompressor(const fs::path& path) {
  switch (compression_of(path)) {
    case Compression::none:
      codec_ = open_plain(path);
      break;
    case Compression::gzip:
      codec_ = open_gzip(path);
      break;
    case Compression::zstd:
      codec_ = open_zstd(path);
      break;
    case Compression::bzip2:
      codec_ = open_bzip2(path);
      break;
    case Compression::xz:
      codec_ = open_xz(path);
      break;
    case Compression::other:
      throw Error("D002", fmt::format("{} is compressed in a way that cannot be read (lz4 or zip)",
                                      path.filename().string()))
          .at(path.string())
          .hint("unpack it, or compress it with gzip, zstd, bzip2 or xz");
  }
}

Decompressor::~Decompressor() = default;

size_t Decompressor::read(std::span<char> out) {
  size_t filled = 0;
  while (filled < out.size()) {
    const size_t count = codec_->read(out.subspan(filled));
    if (count == 0) {
      break;
    }
    filled += count;
  }
  return filled;
}

namespace {

// D014 for a text that is not in UTF-8 as its first bytes show: a mark of its byte order, or a zero
// byte beside a letter.
void check_encoding(std::string_view text, const fs::path& path) {
  const auto starts = [&](std::string_view bytes) { return text.starts_with(bytes); };
  const auto zero = [&](size_t i) { return i < text.size() && text[i] == '\0'; };
  const char* name = nullptr;
  if (starts({"\xff\xfe\0\0", 4}) || (zero(1) && zero(2) && zero(3) && !zero(0))) {
    name = "UTF-32LE";
  } else if (starts({"\0\0\xfe\xff", 4}) || (zero(0) && zero(1) && zero(2) && !zero(3))) {
    name = "UTF-32BE";
  } else if (starts("\xff\xfe") || (zero(1) && !zero(0))) {
    name = "UTF-16LE";
  } else if (starts("\xfe\xff") || (zero(0) && text.size() > 1 && !zero(1))) {
    name = "UTF-16BE";
  }
  if (name != nullptr) {
    const std::string file = path.string();
    throw Error("D014", fmt::format("{} is written in {}, wanted UTF-8", file, name))
        .at(file)
        .hint(fmt::format("iconv -f {} -t UTF-8 {} > utf8-{}",
                          std::string_view(name).substr(0, 6) == "UTF-16" ? "UTF-16" : "UTF-32",
                          file, path.filename().string()));
  }
}

}  // namespace

DataFile::DataFile(const fs::path& path) : path_(path) {
  if (compression_of(path) == Compression::none) {
    mapped_.emplace(path);
  } else {
    unpacked_ = unpack(path);
    mapped_.emplace(path_of(unpacked_));
  }
  check_encoding(text(), path_);
}

}  // namespace sft
