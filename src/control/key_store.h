// The values of a run's store, and the requests that wait for one. Used by the coordinator, which
// gives it the requests and sends what it answers. Knows neither connections nor clocks: a client
// is a number, and time is told.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/wire.h"

namespace sft::control {

struct Answer {
  int64_t client = 0;
  Message message;
};

Answer reply(int64_t client, int64_t request, int64_t number, std::string text = {});
Answer problem(int64_t client, int64_t request, Code code, std::string text);

class KeyStore {
 public:
  // set, get, add, compare. Answers at once or, for a get, later.
  void request(int64_t client, const Message& message, Time now, std::vector<Answer>& out);
  // Ends the waits that have lasted too long (N020).
  void expire(Time now, std::vector<Answer>& out);
  void forget(int64_t client);
  void clear();
  // When `expire` is next needed; a large number when it is not.
  Time deadline() const;
  size_t bytes() const { return bytes_; }

 private:
  struct Wait {
    int64_t client, number;
    Time until, since;
    std::string key;
  };
  void store(int64_t client, const Message& message, std::string value, int64_t number,
             std::vector<Answer>& out);

  std::map<std::string, std::string, std::less<>> values_;
  std::vector<Wait> waits_;
  size_t bytes_ = 0;
};

}  // namespace sft::control
