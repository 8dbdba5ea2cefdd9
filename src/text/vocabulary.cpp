#include "text/vocabulary.h"

#include <bit>

namespace sft {

void Vocabulary::reserve(size_t tokens, size_t bytes) {
  entries_.reserve(tokens);
  pool_.reserve(bytes);
  const size_t slots = std::bit_ceil(tokens * 2 + 16);
  if (slots > slots_.size() && count_ == 0) {
    slots_.assign(slots, Slot{});
  }
}

int32_t Vocabulary::find(std::string_view text) const {
  const uint64_t hash = hash_bytes(text.data(), text.size());
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.id == kNone) {
      return kNone;
    }
    if (slot.tag == tag && this->text(slot.id) == text) {
      return slot.id;
    }
  }
}

// Makes `find` give this id for the text, whatever it gave before.
void Vocabulary::insert(std::string_view text, int32_t id) {
  const uint64_t hash = hash_bytes(text.data(), text.size());
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  size_t i = hash & mask;
  while (slots_[i].id != kNone && !(slots_[i].tag == tag && this->text(slots_[i].id) == text)) {
    i = (i + 1) & mask;
  }
  slots_[i] = {tag, id};
}

void Vocabulary::grow() {
  slots_.assign(slots_.size() * 2, Slot{});
  for (size_t id = 0; id < entries_.size(); ++id) {
    if (entries_[id].used) {
      insert(text(static_cast<int32_t>(id)), static_cast<int32_t>(id));
    }
  }
}

bool Vocabulary::add(std::string_view text, int64_t id) {
  if (id < 0 || id > kMaxId || has(static_cast<int32_t>(id)) || find(text) != kNone) {
    return false;
  }
  put(text, static_cast<size_t>(id));
  return true;
}

bool Vocabulary::append(std::string_view text, int64_t id) {
  if (id != id_end() || id > kMaxId) {
    return false;
  }
  put(text, static_cast<size_t>(id));
  return true;
}

void Vocabulary::put(std::string_view text, size_t index) {
  if (index >= entries_.size()) {
    entries_.resize(index + 1);
  }
  entries_[index] = {pool_.size(), static_cast<uint32_t>(text.size()), true};
  pool_.append(text);
  ++count_;
  if (static_cast<size_t>(count_) * 2 > slots_.size()) {
    grow();
  } else {
    insert(text, static_cast<int32_t>(index));
  }
}

}  // namespace sft
