// Sends large files to a hub's storage by git-lfs's batch protocol, in one piece or in the parts
// that the storage asks for. Used by upload.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "hub/answers.h"
#include "hub/http.h"

namespace sft {

struct LfsObject {
  std::filesystem::path path;
  std::string sha256;
  int64_t size = 0;
};

// Sends what the storage does not have yet; several parts at once. M311 for an answer that cannot
// be used, M312 when the storage refuses one; otherwise as HttpClient::send and fail_answer.
void upload_lfs(const HttpClient& client, const HubPlace& place,
                const std::vector<LfsObject>& objects);

}  // namespace sft
