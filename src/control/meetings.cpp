#include "control/meetings.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace sft::control {

namespace {

constexpr size_t kShown = 120;    // bytes of a differing value
constexpr size_t kNamedKeys = 5;  // differing keys that a message names
constexpr size_t kMaxFacts = 4096;
constexpr const char* kNothing = "(nothing)";

std::string shown(const std::string& value) {
  return value.size() <= kShown ? value : value.substr(0, kShown) + "…";
}

const std::string* find(const Facts& facts, const std::string& key) {
  for (const auto& [name, value] : facts) {
    if (name == key) {
      return &value;
    }
  }
  return nullptr;
}

}  // namespace

std::string list_ranks(std::vector<int> ranks) {
  std::ranges::sort(ranks);
  std::string out;
  for (size_t i = 0; i < ranks.size();) {
    size_t end = i;
    while (end + 1 < ranks.size() && ranks[end + 1] == ranks[end] + 1) {
      ++end;
    }
    out += out.empty() ? "" : ", ";
    out += end == i ? fmt::format("{}", ranks[i])
                    : fmt::format("{}{}{}", ranks[i], end == i + 1 ? ", " : "-", ranks[end]);
    i = end + 1;
  }
  return (ranks.size() == 1 ? "rank " : "ranks ") + out;
}

// Each key and each value with its length in front, in decimal and a colon.
std::string encode_facts(const Facts& facts) {
  std::string out;
  for (const auto& [key, value] : facts) {
    out += fmt::format("{}:{}{}:{}", key.size(), key, value.size(), value);
  }
  return out;
}

std::optional<Facts> decode_facts(std::string_view text) {
  const auto cut = [&](std::string& out) {
    size_t size = 0, digits = 0;
    while (digits < text.size() && digits < 8 && text[digits] >= '0' && text[digits] <= '9') {
      size = size * 10 + static_cast<size_t>(text[digits++] - '0');
    }
    if (digits == 0 || digits >= text.size() || text[digits] != ':' ||
        size > text.size() - digits - 1) {
      return false;
    }
    out = text.substr(digits + 1, size);
    text.remove_prefix(digits + 1 + size);
    return true;
  };
  Facts facts;
  while (!text.empty()) {
    auto& [key, value] = facts.emplace_back();
    if (facts.size() > kMaxFacts || !cut(key) || !cut(value)) {
      return std::nullopt;
    }
  }
  return facts;
}

void Meetings::request(int64_t client, int rank, const Message& m, Time now,
                       std::vector<Answer>& out) {
  const auto [at, is_new] = meetings_.try_emplace(m.key);
  Meeting& meeting = at->second;
  const bool agree = m.type == Type::agree;
  if (is_new) {
    meeting.since = now;
    meeting.until = now + std::clamp<Time>(m.b, 0, 30 * 86400 * kSecond);
    meeting.agree = agree;
    meeting.first = rank;
  }
  const auto facts = agree ? decode_facts(m.text) : std::nullopt;
  if (meeting.agree != agree || (agree && !facts)) {
    out.push_back(problem(client, m.a, "N022", "a request without sense"));
    return;
  }
  meeting.present[rank] = {client, m.a};
  if (agree && is_new) {
    meeting.facts = *facts;
  } else if (agree) {
    compare(meeting, rank, *facts);
  }
  if (meeting.present.size() < static_cast<size_t>(world_)) {
    return;
  }
  const bool differs = !meeting.differences.empty();
  const std::string text = differs ? disagreement(m.key, meeting) : "";
  for (const auto& [who, present] : meeting.present) {
    out.push_back(differs ? problem(present.client, present.number, "C150", text)
                          : reply(present.client, present.number, 0));
  }
  meetings_.erase(at);
}

void Meetings::compare(Meeting& meeting, int rank, const Facts& facts) {
  const auto note = [&](const std::string& key, const std::string& value) {
    std::vector<Difference>& all = meeting.differences[key];
    const std::string text = shown(value);
    auto same = std::ranges::find(all, text, &Difference::value);
    if (same == all.end()) {
      same = all.insert(all.end(), {text, {}});
    }
    same->ranks.push_back(rank);
  };
  for (const auto& [key, value] : facts) {
    const std::string* reference = find(meeting.facts, key);
    if (reference == nullptr || *reference != value) {
      note(key, value);
    }
  }
  for (const auto& [key, value] : meeting.facts) {
    if (find(facts, key) == nullptr) {
      note(key, kNothing);
    }
  }
}

std::string Meetings::disagreement(const std::string& name, const Meeting& meeting) const {
  std::string out = fmt::format("the ranks do not agree on the {}", name);
  size_t named = 0;
  for (const auto& [key, all] : meeting.differences) {
    if (named == kNamedKeys) {
      out += fmt::format("; and {} more", meeting.differences.size() - named);
      break;
    }
    const std::string* reference = find(meeting.facts, key);
    std::vector<Difference> groups = all;
    Difference same{reference == nullptr ? kNothing : shown(*reference), {}};
    for (int rank = 0; rank < world_; ++rank) {
      if (std::ranges::none_of(all, [&](const Difference& d) {
            return std::ranges::find(d.ranks, rank) != d.ranks.end();
          })) {
        same.ranks.push_back(rank);
      }
    }
    groups.push_back(std::move(same));
    // Whoever came first: the sentence is the same.
    for (Difference& d : groups) {
      std::ranges::sort(d.ranks);
    }
    std::ranges::sort(groups, {}, &Difference::ranks);
    out += fmt::format("{} {} is", named++ == 0 ? ":" : ";", key);
    for (size_t i = 0; i < groups.size(); ++i) {
      out += fmt::format("{} {} on {}", i == 0 ? "" : ",", groups[i].value,
                         list_ranks(groups[i].ranks));
    }
  }
  return out;
}

void Meetings::expire(Time now, const Describe& describe, std::vector<Answer>& out) {
  std::erase_if(meetings_, [&](const auto& entry) {
    const auto& [name, meeting] = entry;
    if (meeting.until > now) {
      return false;
    }
    std::vector<int> missing;
    for (int rank = 0; rank < world_; ++rank) {
      if (!meeting.present.contains(rank)) {
        missing.push_back(rank);
      }
    }
    std::string text = fmt::format("{} did not come to \"{}\" within {} s", list_ranks(missing),
                                   name, seconds(now - meeting.since));
    for (size_t i = 0; i < missing.size() && i < 4; ++i) {
      text += fmt::format("{} {}", i == 0 ? ":" : ";", describe(missing[i]));
    }
    for (const auto& [who, present] : meeting.present) {
      out.push_back(problem(present.client, present.number, "N021", text));
    }
    return true;
  });
}

Time Meetings::deadline() const {
  Time first = std::numeric_limits<Time>::max();
  for (const auto& [name, meeting] : meetings_) {
    first = std::min(first, meeting.until);
  }
  return first;
}

}  // namespace sft::control
