#include "cli/version.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <dnnl.h>
#include <fmt/format.h>
#include <lzma.h>
#include <openssl/crypto.h>
#include <pcre2.h>
#include <simdjson.h>
#include <utf8proc.h>
#include <zlib.h>
#include <zstd.h>
#include <nlohmann/json.hpp>

#include "commit.h"

namespace sft {

namespace {

#if defined(__x86_64__)
#define SFT_ARCHITECTURE "x86-64"
#elif defined(__aarch64__)
#define SFT_ARCHITECTURE "aarch64"
#else
#define SFT_ARCHITECTURE "another architecture"
#endif

std::string dotted(int major, int minor, int patch) {
  return fmt::format("{}.{}.{}", major, minor, patch);
}

}  // namespace

std::string program_version() { return SFT_VERSION; }

std::string program_commit() { return SFT_COMMIT; }

std::vector<LibraryVersion> library_versions() {
  const dnnl_version_t& dnnl = *dnnl_version();
  return {
      {"oneDNN", dotted(dnnl.major, dnnl.minor, dnnl.patch)},
      {"OpenSSL", OpenSSL_version(OPENSSL_VERSION_STRING)},
      {"fmt", dotted(FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
      {"nlohmann-json", dotted(NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
                               NLOHMANN_JSON_VERSION_PATCH)},
      {"simdjson", dotted(simdjson::SIMDJSON_VERSION_MAJOR, simdjson::SIMDJSON_VERSION_MINOR,
                          simdjson::SIMDJSON_VERSION_REVISION)},
      {"PCRE2", fmt::format("{}.{}", PCRE2_MAJOR, PCRE2_MINOR)},
      {"utf8proc", dotted(UTF8PROC_VERSION_MAJOR, UTF8PROC_VERSION_MINOR, UTF8PROC_VERSION_PATCH)},
      {"zlib", ZLIB_VERSION},
      {"zstd", ZSTD_VERSION_STRING},
      {"liblzma", LZMA_VERSION_STRING},
  };
}

std::string version_page() {
  const std::string commit = program_commit();
  std::string page = fmt::format("sft {}", program_version());
  if (!commit.empty()) {
    page += fmt::format(" ({})", commit);
  }
  page += fmt::format("\ncompiler {} ({}), ", __VERSION__, SFT_BUILD_TYPE);
  page += SFT_ARCHITECTURE "\n";
  std::string line;
  for (const LibraryVersion& library : library_versions()) {
    line += fmt::format("{}{} {}", line.empty() ? "" : ", ", library.name, library.version);
  }
  return page + line;
}

}  // namespace sft
