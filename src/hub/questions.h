// What is asked of a hub before files are fetched: which commit, which files. Used by
// repository.h.
#pragma once

#include <string>
#include <vector>

#include "core/json_fwd.h"
#include "hub/answers.h"
#include "hub/cache.h"
#include "hub/http.h"

namespace sft {

// The commit that `place.revision` names now. One request, repeated `attempts` times at most where
// the network or the server fails. Errors as in fail_answer and HttpClient::send.
std::string ask_commit(const HttpClient& client, const HubPlace& place, int attempts);

// All files of a commit, page by page. M308 when a page is no list of files, M309 when a name in it
// cannot be a path below a folder.
std::vector<HubFile> ask_files(const HttpClient& client, const HubPlace& place,
                               const std::string& commit);

// Where the file's contents are asked for.
std::string file_url(const HubEnvironment& environment, const HubPlace& place,
                     const std::string& commit, const std::string& file);

// The answer to a question whose body must be JSON; M308 when it is not.
Json ask_json(const HttpClient& client, HttpRequest request, const HubPlace& place, int attempts);

}  // namespace sft
