// What work on somebody else's input may take: steps, bytes, depth and time. Used wherever a file,
// a template or a server decides how much there is to do.
//
// A budget is charged before the work: a length is known before a text of that length is built.
// What goes beyond it is an Error that names the input and the limit; it can never be the machine's
// memory or patience. A step is some 5 ns: one element looked at, or a few bytes of text.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "core/error_code.h"

namespace sft {

struct BudgetLimits {
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  int64_t steps = kNone;
  int64_t bytes = kNone;  // held at one time
  int depth = std::numeric_limits<int>::max();
  std::chrono::milliseconds time = std::chrono::milliseconds::max();
};

class Budget {
 public:
  // `subject` begins the error's sentence ("the chat template"), `hint` is its way out; they are
  // not copied.
  Budget(Code code, std::string_view subject, const BudgetLimits& limits, std::string_view hint);
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // About to do n steps.
  void step(int64_t n = 1) {
    if (n > steps_left_) {
      fail_steps();
    }
    steps_left_ -= n;
  }
  // About to look through so many bytes, character by character, or to copy or compare them. What
  // is large comes from memory and not from a cache, and its pages are made and given back.
  void scan(size_t bytes) { step(static_cast<int64_t>(bytes / 2) + 1); }
  void append(size_t bytes) { step(static_cast<int64_t>(bytes / 32) + 1); }  // where there is room
  void copy(size_t bytes) { step(static_cast<int64_t>(bytes / (bytes < kCached ? 32 : 4)) + 1); }
  // About to need so many bytes beside those held; room for `count` things of `size` bytes each.
  void room(int64_t bytes) const {
    if (bytes > bytes_left_) {
      fail_bytes();
    }
  }
  void room(int64_t count, int64_t size) const {
    if (count > bytes_left_ / size) {
      fail_bytes();
    }
  }
  // Bytes are held from now on, until they are dropped.
  void hold(int64_t bytes) {
    room(bytes);
    bytes_left_ -= bytes;
  }
  void drop(int64_t bytes) { bytes_left_ += bytes; }
  // Fails when the time is over; reads the clock.
  void check_time() const;

  int64_t steps_left() const { return steps_left_; }
  int64_t bytes_left() const { return bytes_left_; }
  const BudgetLimits& limits() const { return limits_; }

 private:
  friend class Depth;
  static constexpr size_t kCached = size_t{1} << 20;
  [[noreturn]] void fail(std::string_view needs, std::string limit) const;
  [[noreturn]] void fail_steps() const;
  [[noreturn]] void fail_bytes() const;
  [[noreturn]] void fail_depth() const;

  Code code_;
  std::string_view subject_, hint_;
  BudgetLimits limits_;
  int64_t steps_left_, bytes_left_;
  int depth_left_;
  std::chrono::steady_clock::time_point begun_;
};

// Bytes that are held while this lives; a copy holds as many again.
class Held {
 public:
  Held() = default;
  Held(Budget& budget, int64_t bytes) : budget_(&budget), bytes_(bytes) { budget.hold(bytes); }
  Held(const Held& other) : budget_(other.budget_), bytes_(other.bytes_) {
    if (budget_ != nullptr) {
      budget_->hold(bytes_);
    }
  }
  Held(Held&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Held& operator=(Held other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Held() {
    if (budget_ != nullptr) {
      budget_->drop(bytes_);
    }
  }

  void more(Budget& budget, int64_t bytes) {
    budget.hold(bytes);
    budget_ = &budget;
    bytes_ += bytes;
  }
  explicit operator bool() const { return budget_ != nullptr; }

 private:
  Budget* budget_ = nullptr;
  int64_t bytes_ = 0;
};

// One level of nesting while it lives.
class Depth {
 public:
  explicit Depth(Budget& budget) : budget_(budget) {
    if (budget.depth_left_ <= 0) {
      budget.fail_depth();
    }
    --budget.depth_left_;
  }
  ~Depth() { ++budget_.depth_left_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  Budget& budget_;
};

// A text that is built within a budget: it is charged before it grows, for what it takes.
class BoundedText {
 public:
  explicit BoundedText(Budget& budget) : budget_(&budget) {}

  BoundedText& operator+=(std::string_view text) {
    reserve(text.size());
    text_ += text;
    return *this;
  }
  BoundedText& operator+=(char c) {
    reserve(1);
    text_ += c;
    return *this;
  }
  // `unit` so many times (none when n is negative).
  void repeat(int64_t n, std::string_view unit);

  Budget& budget() { return *budget_; }
  size_t size() const { return text_.size(); }
  const std::string& text() const { return text_; }
  std::string take() {
    held_ = Held();
    return std::move(text_);
  }

 private:
  void reserve(size_t more) {
    budget_->append(more);
    if (more > text_.capacity() - text_.size()) {
      grow(more);
    }
  }
  void grow(size_t more);

  Budget* budget_;
  std::string text_;
  Held held_;
};

}  // namespace sft
