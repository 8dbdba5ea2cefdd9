// What the surroundings say about the hub: where the cache lies, which server, which token. Read
// once by the command line and handed down; used by everything that may meet a hub id.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace sft {

// What a download shows to people. Called from one thread at a time; any of them may be empty.
struct HubReport {
  std::function<void(std::string_view text)> warn, note;
  // Bytes done and to do of everything under way, after each piece; `done == total` ends it.
  std::function<void(int64_t done, int64_t total)> progress;
  // Asked now and then; true ends the transfer with X011.
  std::function<bool()> stopped;
};

// A default-constructed one has no server, so that nothing is ever contacted.
struct HubEnvironment {
  std::string hf_hub_cache;      // HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE
  std::string hf_home;           // HF_HOME
  std::string xdg_cache;         // XDG_CACHE_HOME
  std::string home;              // HOME
  std::string endpoint{};        // HF_ENDPOINT without a final slash; "" means: no network
  bool offline = false;          // HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE or HF_DATASETS_OFFLINE
  std::string token_variable{};  // HF_TOKEN, else HUGGING_FACE_HUB_TOKEN
  std::string token_path{};      // HF_TOKEN_PATH
  bool implicit_token = true;    // not HF_HUB_DISABLE_IMPLICIT_TOKEN
  bool symlinks = true;          // not HF_HUB_DISABLE_SYMLINKS
  bool progress_bars = true;     // not HF_HUB_DISABLE_PROGRESS_BARS
  bool verify = false;           // --verify: files of the cache are compared with their hashes
  int download_timeout = 10;     // HF_HUB_DOWNLOAD_TIMEOUT, seconds without a byte
  int etag_timeout = 10;         // HF_HUB_ETAG_TIMEOUT, the same for questions
  std::string ca_file{};         // SSL_CERT_FILE, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE
  std::string user_agent = "sft";
  HubReport report{};

  // How downloads are cut up and repeated; tests make it smaller.
  int connections = 8;
  int64_t part_bytes = int64_t{64} << 20;
  int attempts = 5;            // without a new byte in between
  double backoff_seconds = 1;  // before the second attempt, doubled each time, at most 8
  double longest_wait = 300;   // for a server that names a time (Retry-After)

  // `getenv` returns nullptr for a variable that is not set, as std::getenv does.
  static HubEnvironment read(const std::function<const char*(const char*)>& getenv);
  // $HF_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub: the
  // first that is set. Empty when none is.
  std::filesystem::path hub_folder() const;
  // The variable's, else that of the token file; "" when there is none.
  std::string token() const;
  bool online() const { return !offline && !endpoint.empty(); }
};

enum class HubKind { model, dataset };

// Whether `id` can be a hub id: "name" or "organisation/name" of letters, digits, '-', '_', '.'.
bool is_hub_id(const std::string& id);

}  // namespace sft
