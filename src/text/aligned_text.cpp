#include "text/aligned_text.h"

namespace sft {

Budget tokenizer_budget(size_t text_bytes, std::string_view subject) {
  constexpr int64_t kSmallText = 1 << 20;
  const auto size = static_cast<int64_t>(text_bytes);
  const std::chrono::milliseconds time(60'000 + size);  // on a slow and busy machine, too
  return Budget(
      "M119", subject,
      {.steps = 10 * kSmallText + 1000 * size, .bytes = kSmallText + 20 * size, .time = time},
      "its rules make far more of a text than any real tokenizer does; use another one");
}

void AlignedText::reset(std::string_view original, uint32_t base, bool track_origins,
                        Budget& budget) {
  budget_ = &budget;
  original_ = original;
  base_ = base;
  track_ = track_origins;
  rewritten_ = false;
  owned_.clear();
  origins_.clear();
}

Span AlignedText::origin(uint32_t i) const {
  if (rewritten_) {
    return i < origins_.size() ? origins_[i] : Span{};
  }
  if (i >= original_.size()) {
    const uint32_t end = base_ + static_cast<uint32_t>(original_.size());
    return {end, end};
  }
  uint32_t begin = i;
  while (begin > 0 && is_continuation(original_[begin])) {
    --begin;
  }
  return {base_ + begin, base_ + begin + decode_utf8(original_.data() + begin).size};
}

Span AlignedText::origin_before(uint32_t i) const {
  return i > 0 ? origin(i - 1) : Span{base_, base_};
}

Span AlignedText::origin(uint32_t begin, uint32_t end) const {
  if (begin >= end) {
    const uint32_t at = origin(begin).begin;
    return {at, at};
  }
  return {origin(begin).begin, origin(end - 1).end};
}

void AlignedText::assign(std::string text, std::vector<Span> origins) {
  owned_ = std::move(text);
  origins_ = std::move(origins);
  rewritten_ = true;
}

void AlignedText::trim(uint32_t begin, uint32_t end) {
  if (!rewritten_) {
    original_ = original_.substr(begin, end - begin);
    base_ += begin;
    return;
  }
  if (track_) {
    base_ = origin(begin).begin;
  }
  owned_ = owned_.substr(begin, end - begin);
  if (track_) {
    origins_ = std::vector<Span>(origins_.begin() + begin, origins_.begin() + end);
  }
}

void AlignedText::assign_part(const AlignedText& whole, uint32_t begin, uint32_t end) {
  budget_ = whole.budget_;
  track_ = whole.track_;
  rewritten_ = whole.rewritten_;
  if (!rewritten_) {
    original_ = whole.original_.substr(begin, end - begin);
    base_ = whole.base_ + begin;
    return;
  }
  base_ = track_ ? whole.origin(begin).begin : whole.base_;
  owned_.assign(whole.owned_, begin, end - begin);
  if (track_) {
    origins_.assign(whole.origins_.begin() + begin, whole.origins_.begin() + end);
  }
}

void AlignedText::transform(const std::vector<Change>& changes) {
  TextRewriter out(*this);
  const std::string_view old = text();
  uint32_t at = 0;
  const auto skip_char = [&] {
    if (at < old.size()) {
      at += decode_utf8(old.data() + at).size;
    }
  };
  for (const auto& [code, change] : changes) {
    if (change > 0) {
      out.put_char(code, track_ ? origin_before(at) : Span{});
      continue;
    }
    out.put_char(code, track_ ? origin(at) : Span{});
    for (int i = change; i <= 0; ++i) {
      skip_char();
    }
  }
  out.finish(*this);
}

void TextRewriter::copy(uint32_t begin, uint32_t end) {
  expect(end - begin);
  text_.append(source_.text().substr(begin, end - begin));
  if (source_.tracks_origins()) {
    for (uint32_t i = begin; i < end; ++i) {
      origins_.push_back(source_.origin(i));
    }
  }
}

void TextRewriter::put(std::string_view text, Span origin) {
  expect(text.size());
  text_.append(text);
  if (source_.tracks_origins()) {
    origins_.insert(origins_.end(), text.size(), origin);
  }
}

void TextRewriter::put_char(uint32_t code, Span origin) {
  const size_t before = text_.size();
  expect(4);
  append_utf8(text_, code);
  if (source_.tracks_origins()) {
    origins_.insert(origins_.end(), text_.size() - before, origin);
  }
}

}  // namespace sft
