// Fetches the contents of files into the cache: several at once, large ones in parts, resumed where
// an earlier process stopped, checked by hash before they get their name. Used by repository.h.
#pragma once

#include <string>
#include <vector>

#include "hub/answers.h"
#include "hub/cache.h"
#include "hub/http.h"

namespace sft {

// When it returns, all `files` are in the snapshot of `commit`. Another process that fetches the
// same file is waited for. Errors: fail_answer's, HttpClient::send's, M307 when contents stay other
// than their hash says, S030, S031; what arrived until then stays for the next attempt.
void download_files(const HttpClient& client, const CacheRepository& cache, const HubPlace& place,
                    const std::string& commit, const std::vector<HubFile>& files);

}  // namespace sft
