#include "control/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <array>

#include "core/fd.h"

namespace sft {

// A connected UDP socket sends nothing, but the system has chosen its route.
std::string address_towards(const std::string& towards) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  std::string address = "127.0.0.1";
  if (::getaddrinfo(towards.c_str(), "9", &hints, &found) != 0) {
    return address;
  }
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    const Fd socket(::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0));
    sockaddr_storage own{};
    socklen_t size = sizeof(own);
    std::array<char, NI_MAXHOST> text{};
    const bool known = socket && ::connect(socket.get(), a->ai_addr, a->ai_addrlen) == 0 &&
                       ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
                       ::getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text.data(),
                                     text.size(), nullptr, 0, NI_NUMERICHOST) == 0;
    if (known) {
      address = text.data();
      break;
    }
  }
  ::freeaddrinfo(found);
  return address;
}

}  // namespace sft
