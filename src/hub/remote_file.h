// A file of the hub read in place, piece by piece, for data sets larger than the disk. What is read
// cannot be checked against the file's hash, only by its length. Several threads may read at once.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "hub/answers.h"
#include "hub/cache.h"
#include "hub/http.h"

namespace sft {

class RemoteFile {
 public:
  // `place` names the repository, `file` an entry of HubRepository::files() at `commit`.
  RemoteFile(const HubEnvironment& environment, HubPlace place, const std::string& commit,
             HubFile file);

  int64_t size() const { return file_.size; }
  const std::string& url() const { return url_; }

  // Fills `bytes` with what begins at `offset` and returns how many there were: fewer only at the
  // file's end. Broken connections are gone on from. M313 when the server serves no parts; else as
  // HttpClient::send and fail_answer.
  size_t read(int64_t offset, std::span<char> bytes) const;

 private:
  HttpClient client_;
  HubPlace place_;
  HubFile file_;
  std::string url_;
};

}  // namespace sft
