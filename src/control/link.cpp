#include "control/link.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "control/member.h"

namespace sft::control {

Link::Link(std::string host, std::vector<int> ports)
    : host_(std::move(host)),
      ports_(std::move(ports)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void Link::wake() {
  const uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

void Link::open(int address) {
  close();
  broke_ = false;
  failed_.reset();
  try {
    connector_.emplace(host_, ports_[static_cast<size_t>(address)]);
  } catch (const std::exception& e) {
    failed_ = e.what();
  }
}

void Link::send(const Message& message) {
  if (connection_) {
    connection_->send(message);
  }
}

void Link::close() {
  connector_.reset();
  if (connection_) {
    connection_->flush();
    ::shutdown(connection_->fd(), SHUT_WR);
    connection_.reset();
  }
}

void Link::flush() {
  if (connection_ && !connection_->flush()) {
    broke_ = true;
  }
}

LinkNews Link::wait(Time longest, std::vector<pollfd>* others) {
  std::vector<pollfd> all;
  if (others != nullptr) {
    all = *others;
  }
  const size_t own = all.size();
  all.push_back({wake_.get(), POLLIN, 0});
  if (connection_ && !broke_) {
    const bool writes = connection_->wants_to_write();
    all.push_back({connection_->fd(), static_cast<int16_t>(writes ? POLLIN | POLLOUT : POLLIN), 0});
  }
  const bool soon = broke_ || failed_;
  const Time wait = soon ? 0 : connector_ ? std::min(longest, 2 * kMillisecond) : longest;
  ::poll(all.data(), all.size(), static_cast<int>((wait + kMillisecond - 1) / kMillisecond));
  if (others != nullptr) {
    std::copy_n(all.begin(), own, others->begin());
  }
  if (all[own].revents != 0) {
    uint64_t count = 0;
    (void)!::read(wake_.get(), &count, sizeof count);
  }
  LinkNews news;
  if (connector_) {
    try {
      if (auto socket = connector_->poll()) {
        connection_.emplace(std::move(*socket));
        connection_->trust();
        connector_.reset();
        news.opened = true;
      }
    } catch (const Error& e) {
      failed_ = e.message();
      connector_.reset();
    }
  } else if (connection_) {
    try {
      const bool heard = !broke_ && all.back().revents != 0;
      if (broke_ || (heard && (!connection_->read(news.messages) || !connection_->flush()))) {
        news.closed = true;
      }
    } catch (const Error&) {
      news.closed = true;
    }
    if (news.closed) {
      connection_.reset();
      broke_ = false;
    }
  }
  news.open_failed = std::exchange(failed_, std::nullopt);
  return news;
}

void tell(Member& member, const LinkNews& news) {
  const Time now = steady_now();
  if (news.opened) {
    member.opened(now);
  }
  if (news.open_failed) {
    member.open_failed(now, *news.open_failed);
  }
  for (const Message& m : news.messages) {
    member.received(m, now);
  }
  if (news.closed) {
    member.closed(now);
  }
}

std::string random_seed() {
  std::random_device device;
  std::string seed;
  while (seed.size() < 32) {
    const uint32_t part = device();
    seed.append(reinterpret_cast<const char*>(&part), sizeof part);
  }
  return seed;
}

uint64_t random_number() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device() | 1;
}

}  // namespace sft::control
