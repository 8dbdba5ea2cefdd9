// Barriers and agreements: named meetings at which every rank must appear. Used by the coordinator.
// An agreement also compares what the ranks bring, key by key; only differences are kept, so that
// memory does not grow with the number of ranks.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "control/key_store.h"

namespace sft::control {

using Facts = std::vector<std::pair<std::string, std::string>>;
std::string encode_facts(const Facts& facts);
// Nothing when the text is no list of facts.
std::optional<Facts> decode_facts(std::string_view text);

class Meetings {
 public:
  // Describes ranks ("rank 3 on gpu-2 (in all_reduce)"), for messages.
  using Describe = std::function<std::string(int rank)>;

  explicit Meetings(int world) : world_(world) {}
  // barrier or agree, by a rank that the caller knows under a client's number.
  void request(int64_t client, int rank, const Message& message, Time now,
               std::vector<Answer>& out);
  // N021 to those who have waited too long, naming who is missing.
  void expire(Time now, const Describe& describe, std::vector<Answer>& out);
  void clear() { meetings_.clear(); }
  Time deadline() const;

 private:
  struct Present {
    int64_t client, number;
  };
  struct Difference {
    std::string value;
    std::vector<int> ranks;
  };
  struct Meeting {
    std::map<int, Present> present;
    Time since = 0, until = 0;
    bool agree = false;
    int first = 0;  // the rank whose facts are `facts`
    Facts facts;
    std::map<std::string, std::vector<Difference>> differences;
  };
  void compare(Meeting& meeting, int rank, const Facts& facts);
  std::string disagreement(const std::string& name, const Meeting& meeting) const;

  int world_;
  std::map<std::string, Meeting> meetings_;
};

// "ranks 0-2, 5"; "rank 3".
std::string list_ranks(std::vector<int> ranks);

}  // namespace sft::control
