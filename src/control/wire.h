// The control plane's messages and their form on a connection. Used by its state machines, which
// know messages only, and by the drivers that move bytes.
//
// A frame is a 4-byte length and a body, numbers little-endian: the type (1 byte), three 64-bit
// numbers and two texts (4-byte length and bytes). Every length is checked before anything is
// allocated; the first frame on a connection is a hello that begins with a magic word and the
// protocol's version. Where the run has a secret, hello is answered by challenge, that by prove,
// and that by proven; only then does the hello count (secret.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace sft::control {

using Time = int64_t;  // microseconds on a clock that only goes forward
constexpr Time kMillisecond = 1000, kSecond = 1'000'000;

constexpr uint32_t kVersion = 2;
constexpr size_t kMaxKey = 1024;
constexpr size_t kMaxValue = size_t{1} << 20;
constexpr size_t kMaxStore = size_t{64} << 20;
constexpr size_t kMaxFrame = kMaxValue + kMaxKey + 64;
constexpr size_t kMaxHello = 4096;  // from a stranger, nothing longer is read

enum class Type : uint8_t {
  // member -> coordinator
  hello = 1,  // a rank; text: Hello
  join,       // a node's launcher; text: Hello; c: how many ranks it starts
  beat,       // a: operation number, b: 1 while in it, c: microseconds in it; text: its name
  stuck,      // like beat: the operation has lasted too long
  failed,     // a: exit code; key: error code; text: sentence
  bye,        // this rank has done its work
  set,        // key, text                      a: the request's number, in all that follow
  get,        // key; b: how long to wait
  add,        // key; b: amount
  compare,    // key, text: wanted, b: length of `expected`, which text begins with
  barrier,    // key; b: how long to wait
  agree,      // key: what is compared; text: facts
  idle,  // a launcher: no rank of its runs. a: the exit code its ranks ended with, b: their attempt
         // (-1: none was started), c: 1 when it was told to stop
  prove,  // text: a member's proof
  // coordinator -> member
  welcome = 64,  // b: the attempt
  refused,       // key: error code; text: why
  start,         // all are here
  died,          // the run has ended; a: the rank at fault or -1; key: error code; text: cause
  released,      // all ranks have said bye
  reply,         // a: request's number, b: number; text: value
  problem,       // a: request's number; key: error code; text: sentence
  launch,        // to launchers: b: attempt to start; c: 1 when it is a restart
  stop,          // to launchers: the job is over; a: exit code; text: cause
  challenge,     // text: a nonce
  proven,        // text: the coordinator's own proof
  waits,         // text: who has not come yet, to be shown
};

struct Message {
  Type type = Type::beat;
  int64_t a = 0, b = 0, c = 0;
  std::string key, text;
};

// What the two sides say of themselves first.
struct Hello {
  std::string job;    // tells runs apart
  std::string nonce;  // "" where there is no secret
  int64_t attempt = 0;
  int64_t rank = 0;      // join: the node's number
  int64_t world = 1;     // join: the number of nodes
  uint64_t process = 0;  // a random number, so that a process that comes again is known
  std::string host;
};

// One that says why: the code, and a sentence for people.
Message because_of(Code code, std::string text, Type type, int64_t a = 0, int64_t b = 0,
                   int64_t c = 0);
// The code that another process wrote; N022 where it is none of this program's.
Code code_of(const Message& message);

std::string encode(const Hello& hello);
std::optional<Hello> decode_hello(std::string_view text);

// The whole frame. SFT_ASSERTs the limits.
std::string encode(const Message& message);

// Cuts what arrives into messages.
class FrameReader {
 public:
  // Keeps what has arrived so far.
  void add(std::string_view bytes) { buffer_.append(bytes); }
  // The next whole message; nothing when more bytes are needed. N022 when what comes is no frame of
  // ours, or is longer than `limit`.
  std::optional<Message> next();
  void set_limit(size_t limit) { limit_ = limit; }

 private:
  std::string buffer_;
  size_t read_ = 0;
  size_t limit_ = kMaxHello;
};

// "0.5", "1", "600": seconds for messages.
std::string seconds(Time time);

}  // namespace sft::control
