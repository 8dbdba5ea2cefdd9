// What strangers say to a run's coordinator: messages of every kind that the protocol has and many
// that it has not, from a seed. Used by hostile_loop.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace sft {

struct HostileTarget {
  std::string job;
  int world = 2, nodes = 0;
  bool secret = false;
};

struct HostileTalk {
  const char* kind = "";
  std::vector<std::string> pieces;  // sent one after the other
  bool waits = false;               // for an answer to the first, before the rest
  bool forges = false;  // a last piece that answers the challenge, with a guessed secret
  enum class End { close, reset, hold } end = End::close;
};

HostileTalk hostile_talk(std::mt19937_64& random, const HostileTarget& target);

}  // namespace sft
