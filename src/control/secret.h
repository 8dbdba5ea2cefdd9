// The run's secret, which members and coordinator prove to each other without saying it: each side
// gives a nonce, and each answers with an HMAC over both and over what the member said of itself.
// Used by the state machines. After that a connection is trusted: nothing is encrypted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sft::control {

constexpr size_t kNonceBytes = 32;

enum class Side { member, coordinator };

// What only who knows `token` can say. `hello` is the member's first frame, with its nonce; the
// sides' proofs differ, so that none can be sent back.
std::string proof(Side side, std::string_view token, std::string_view coordinator_nonce,
                  std::string_view hello);

// Nonce number `number` of a process that drew `seed`: nobody else can foresee it.
std::string nonce_of(std::string_view seed, uint64_t number);

// Compares without telling by its time how much is equal.
bool same_secret(std::string_view a, std::string_view b);

}  // namespace sft::control
