#include "data/read/codecs.h"

#include <bzlib.h>
#include <fmt/format.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <climits>

#include "core/error.h"

namespace sft {

namespace {

constexpr size_t kInputBytes = size_t{1} << 18;
constexpr uint64_t kMostMemory = uint64_t{256} << 20;
constexpr int kMostWindowLog = 27;  // 128 MB; what `zstd` itself unpacks without being asked

// The compressed bytes, a block at a time.
class Input {
 public:
  explicit Input(std::filesystem::path path)
      : path_(std::move(path)), file_(std::fopen(path_.c_str(), "rb"), &std::fclose) {
    if (file_ == nullptr) {
      throw Error("M001", fmt::format("cannot open {}", path_.string()));
    }
  }

  // The bytes not yet used; reads on when there are none. Empty at the end of the file.
  std::span<char> bytes() {
    if (begin_ == end_ && !ended_) {
      begin_ = 0;
      end_ = std::fread(buffer_.data(), 1, buffer_.size(), file_.get());
      ended_ = end_ < buffer_.size();
      if (std::ferror(file_.get()) != 0) {
        throw damaged("reading fails");
      }
    }
    return std::span(buffer_).subspan(begin_, end_ - begin_);
  }
  void used(size_t count) { begin_ += count; }

  Error damaged(std::string_view reason) const {
    return Error("D022",
                 fmt::format("{} cannot be unpacked: {}", path_.filename().string(), reason))
        .at(path_.string())
        .hint("the file is damaged or cut short; fetch or write it again");
  }

 private:
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::vector<char> buffer_ = std::vector<char>(kInputBytes);
  size_t begin_ = 0, end_ = 0;
  bool ended_ = false;
};

class PlainCodec : public Decompressor::Codec {
 public:
  explicit PlainCodec(const std::filesystem::path& path) : input_(path) {}
  size_t read(std::span<char> out) override {
    const std::span<char> bytes = input_.bytes();
    const size_t count = std::min(bytes.size(), out.size());
    std::copy_n(bytes.begin(), count, out.begin());
    input_.used(count);
    return count;
  }

 private:
  Input input_;
};

// The formats below are all streams of members: one may follow another.
class MemberCodec : public Decompressor::Codec {
 public:
  explicit MemberCodec(const std::filesystem::path& path) : input_(path) {}

  size_t read(std::span<char> out) final {
    while (true) {
      const std::span<char> in = input_.bytes();
      if (in.empty() && !inside_) {
        return 0;
      }
      const bool was_inside = inside_;
      if (!inside_) {
        begin_member();
        inside_ = true;
      }
      const Step step = advance(in, out);
      input_.used(step.used);
      if (step.ended) {
        inside_ = false;
        any_member_ = true;
      }
      if (step.made > 0) {
        return step.made;
      }
      if (step.used == 0 && !step.ended && (in.empty() || was_inside)) {
        throw input_.damaged("it is cut short");
      }
    }
  }

 protected:
  struct Step {
    size_t used, made;
    bool ended;
  };
  virtual void begin_member() = 0;
  virtual Step advance(std::span<char> in, std::span<char> out) = 0;
  const Input& input() const { return input_; }
  bool any_member() const { return any_member_; }

 private:
  Input input_;
  bool inside_ = false, any_member_ = false;
};

unsigned limited(size_t size) { return static_cast<unsigned>(std::min<size_t>(size, INT_MAX)); }

class GzipCodec : public MemberCodec {
 public:
  explicit GzipCodec(const std::filesystem::path& path) : MemberCodec(path) {
    constexpr int kGzipOnly = 16;
    if (::inflateInit2(&stream_, MAX_WBITS + kGzipOnly) != Z_OK) {
      throw std::bad_alloc();
    }
  }
  ~GzipCodec() override { ::inflateEnd(&stream_); }

 protected:
  void begin_member() override { ::inflateReset(&stream_); }
  Step advance(std::span<char> in, std::span<char> out) override {
    // Tapes and block devices leave zeros behind the last member.
    if (any_member() && std::ranges::all_of(in, [](char c) { return c == 0; })) {
      return {in.size(), 0, true};
    }
    stream_.next_in = reinterpret_cast<Bytef*>(in.data());
    stream_.avail_in = limited(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = limited(out.size());
    const uInt given = stream_.avail_in, room = stream_.avail_out;
    const int result = ::inflate(&stream_, Z_NO_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
      throw input().damaged(stream_.msg == nullptr ? "it is no gzip data" : stream_.msg);
    }
    return {given - stream_.avail_in, room - stream_.avail_out, result == Z_STREAM_END};
  }

 private:
  z_stream stream_{};
};

class ZstdCodec : public MemberCodec {
 public:
  explicit ZstdCodec(const std::filesystem::path& path)
      : MemberCodec(path), stream_(ZSTD_createDStream()) {
    if (stream_ == nullptr) {
      throw std::bad_alloc();
    }
    ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, kMostWindowLog);
  }
  ~ZstdCodec() override { ZSTD_freeDStream(stream_); }

 protected:
  void begin_member() override { ZSTD_DCtx_reset(stream_, ZSTD_reset_session_only); }
  Step advance(std::span<char> in, std::span<char> out) override {
    ZSTD_inBuffer source{in.data(), in.size(), 0};
    ZSTD_outBuffer target{out.data(), out.size(), 0};
    const size_t result = ZSTD_decompressStream(stream_, &target, &source);
    if (ZSTD_isError(result) != 0) {
      throw input().damaged(ZSTD_getErrorName(result));
    }
    return {source.pos, target.pos, result == 0};
  }

 private:
  ZSTD_DStream* stream_;
};

class Bzip2Codec : public MemberCodec {
 public:
  using MemberCodec::MemberCodec;
  ~Bzip2Codec() override { end(); }

 protected:
  void begin_member() override {
    end();
    stream_ = {};
    if (::BZ2_bzDecompressInit(&stream_, 0, 0) != BZ_OK) {
      throw std::bad_alloc();
    }
    begun_ = true;
  }
  Step advance(std::span<char> in, std::span<char> out) override {
    stream_.next_in = in.data();
    stream_.avail_in = limited(in.size());
    stream_.next_out = out.data();
    stream_.avail_out = limited(out.size());
    const unsigned given = stream_.avail_in, room = stream_.avail_out;
    const int result = ::BZ2_bzDecompress(&stream_);
    if (result != BZ_OK && result != BZ_STREAM_END) {
      throw input().damaged("its bzip2 data do not add up");
    }
    return {given - stream_.avail_in, room - stream_.avail_out, result == BZ_STREAM_END};
  }

 private:
  void end() {
    if (begun_) {
      ::BZ2_bzDecompressEnd(&stream_);
      begun_ = false;
    }
  }
  bz_stream stream_{};
  bool begun_ = false;
};

class XzCodec : public MemberCodec {
 public:
  using MemberCodec::MemberCodec;
  ~XzCodec() override { ::lzma_end(&stream_); }

 protected:
  void begin_member() override {
    if (::lzma_stream_decoder(&stream_, kMostMemory, 0) != LZMA_OK) {
      throw std::bad_alloc();
    }
  }
  Step advance(std::span<char> in, std::span<char> out) override {
    stream_.next_in = reinterpret_cast<const uint8_t*>(in.data());
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<uint8_t*>(out.data());
    stream_.avail_out = out.size();
    const lzma_ret result = ::lzma_code(&stream_, LZMA_RUN);
    if (result == LZMA_MEMLIMIT_ERROR) {
      throw input().damaged("unpacking it needs more than 256 MB of memory");
    }
    if (result != LZMA_OK && result != LZMA_STREAM_END && result != LZMA_BUF_ERROR) {
      throw input().damaged("its xz data do not add up");
    }
    return {in.size() - stream_.avail_in, out.size() - stream_.avail_out,
            result == LZMA_STREAM_END};
  }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
};

}  // namespace

OpenedCodec open_plain(const std::filesystem::path& path) {
  return std::make_unique<PlainCodec>(path);
}
OpenedCodec open_gzip(const std::filesystem::path& path) {
  return std::make_unique<GzipCodec>(path);
}
OpenedCodec open_zstd(const std::filesystem::path& path) {
  return std::make_unique<ZstdCodec>(path);
}
OpenedCodec open_bzip2(const std::filesystem::path& path) {
  return std::make_unique<Bzip2Codec>(path);
}
OpenedCodec open_xz(const std::filesystem::path& path) { return std::make_unique<XzCodec>(path); }

}  // namespace sft
