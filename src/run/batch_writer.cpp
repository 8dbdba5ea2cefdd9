#include "run/batch_writer.h"

#include <algorithm>

namespace sft {

int32_t BatchWriter::pick(const Lane& lane, std::span<const float> logits) const {
  const auto written = static_cast<uint64_t>(lane.writing.ids.size());
  const auto number = static_cast<uint64_t>(numbers_[lane.prompt]);
  return pick_token(logits, rules_.sampling, number << 32 | written);
}

bool BatchWriter::take(Lane& lane, int32_t next) {
  lane.writing.ended = std::ranges::find(rules_.ends, next) != rules_.ends.end();
  if (lane.writing.ended) {
    return false;
  }
  lane.writing.ids.push_back(next);
  lane.text.push_back(next);
  if (rules_.stops && rules_.stops(lane.prompt, lane.writing.ids)) {
    return false;
  }
  if (generator_.turned_otherwise(lane.lane, static_cast<int64_t>(lane.text.size()))) {
    generator_.rewind(0, lane.lane);
    lane.read = 0;
  }
  return static_cast<int64_t>(lane.writing.ids.size()) < rules_.max_new_tokens &&
         static_cast<int64_t>(lane.text.size()) <= generator_.room().capacity;
}

void BatchWriter::read_piece(Lane& lane) {
  const auto piece = std::span(lane.text).subspan(
      lane.read, std::min(lane.unread(), static_cast<size_t>(generator_.piece(lane.lane))));
  const std::span<const float> logits =
      generator_.feed_piece(piece, lane.lane, static_cast<int64_t>(lane.text.size()));
  lane.read += piece.size();
  if (lane.unread() == 0 && !take(lane, pick(lane, logits))) {
    done_.push_back(static_cast<size_t>(&lane - lanes_.data()));
  }
}

// One more token of each lane.
void BatchWriter::go_on(std::span<Lane> going) {
  std::vector<size_t> lanes;
  std::vector<int32_t> tokens;
  for (const Lane& lane : going) {
    lanes.push_back(lane.lane);
    tokens.push_back(lane.text.back());
  }
  std::vector<int32_t> next;
  if (!rules_.sampling.sample && !generator_.one_at_a_time()) {
    const std::span<const int32_t> likeliest = generator_.step_likeliest(lanes, tokens);
    next.assign(likeliest.begin(), likeliest.end());
  } else {
    const std::span<const float> logits = generator_.step(lanes, tokens);
    const auto vocab = static_cast<size_t>(generator_.vocab());
    for (size_t i = 0; i < going.size(); ++i) {
      next.push_back(pick(going[i], logits.subspan(i * vocab, vocab)));
    }
  }
  for (size_t i = 0; i < going.size(); ++i) {
    ++going[i].read;
    if (!take(going[i], next[i])) {
      done_.push_back(static_cast<size_t>(&going[i] - lanes_.data()));
    }
  }
}

void BatchWriter::write(std::span<const std::vector<int32_t>> prompts,
                        std::span<const int64_t> numbers,
                        const std::function<void(size_t, const Writing&)>& on_done,
                        const Pace& pace) {
  numbers_ = numbers;
  std::vector<size_t> free;
  for (auto lane = static_cast<size_t>(generator_.room().lanes); lane-- > 0;) {
    free.push_back(lane);
  }
  lanes_.clear();
  for (size_t next = 0;;) {
    while (next < prompts.size() && !free.empty()) {
      generator_.rewind(0, free.back());
      lanes_.push_back({.lane = free.back(), .prompt = next, .text = prompts[next], .writing = {}});
      ++next;
      free.pop_back();
    }
    const bool has_work = !lanes_.empty();
    if (pace ? !pace(has_work) : !has_work) {
      return;
    }
    done_.clear();
    // All but the newest token of a text go in by pieces, and the whole of one that is to be read.
    const auto unread = std::ranges::find_if(
        lanes_, [](const Lane& lane) { return lane.unread() > 1 || lane.read == 0; });
    if (!has_work) {
      constexpr size_t kFirst = 0;
      constexpr int32_t kAny = 0;
      generator_.rewind(0);
      generator_.step(std::span(&kFirst, 1), std::span(&kAny, 1));
    } else if (unread != lanes_.end()) {
      read_piece(*unread);
    } else if (generator_.one_at_a_time()) {
      round_ = (round_ + 1) % lanes_.size();
      go_on(std::span(lanes_).subspan(round_, 1));
    } else {
      go_on(lanes_);
    }
    std::ranges::sort(done_, std::greater<>());
    for (const size_t i : done_) {
      on_done(lanes_[i].prompt, lanes_[i].writing);
      free.push_back(lanes_[i].lane);
      lanes_.erase(lanes_.begin() + static_cast<long>(i));
    }
  }
}

}  // namespace sft
