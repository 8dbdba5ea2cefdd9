#include "io/checkpoint_manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/contained.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "io/checkpoint.h"

namespace sft {

namespace {

constexpr const char* kFormat = "sft-checkpoint";
constexpr int kVersion = 2;
constexpr const char* kHint = "resume from an older checkpoint, or start again without resuming";

std::string hex(uint32_t crc) { return fmt::format("{:08x}", crc); }

uint32_t checksum(std::string_view text) { return crc32c(0, text.data(), text.size()); }

struct Manifest {
  int64_t step = 0;
  std::string run;
  std::vector<WrittenFile> files;
};

Manifest parse_manifest(const fs::path& checkpoint) {
  const fs::path path = checkpoint / kManifestFile;
  if (!is_there(path)) {
    throw Error("M260", fmt::format("{} is not a whole checkpoint: {} is missing",
                                    checkpoint.string(), kManifestFile))
        .hint(kHint);
  }
  try {
    const std::string text = read_text(path);
    Json json = parse_json(text, path.string());
    const auto expected = json.at("manifest_crc32c").get<std::string>();
    json.erase("manifest_crc32c");
    if (hex(checksum(json.dump())) != expected || json.at("format") != kFormat ||
        json.at("version") != kVersion) {
      throw Error("M261", "");
    }
    Manifest manifest;
    manifest.step = json.at("step").get<int64_t>();
    manifest.run = json.at("run").get<std::string>();  // which becomes part of folders' names
    if (!is_file_name(manifest.run)) {
      throw Error("M261", "");
    }
    for (const Json& file : json.at("files")) {
      WrittenFile entry;
      entry.name = file.at("name").get<std::string>();
      if (!is_file_name(entry.name)) {
        throw Error("M261", "");
      }
      entry.bytes = file.at("bytes").get<uint64_t>();
      entry.crc32c =
          static_cast<uint32_t>(std::stoul(file.at("crc32c").get<std::string>(), nullptr, 16));
      manifest.files.push_back(std::move(entry));
    }
    if (manifest_text(manifest.step, manifest.run, manifest.files) !=
        text) {  // a byte that JSON overlooks
      throw Error("M261", "");
    }
    return manifest;
  } catch (const std::exception&) {
    throw Error("M261", fmt::format("the manifest {} is damaged", path.string())).hint(kHint);
  }
}

void check_size(const fs::path& path, const WrittenFile& file) {
  std::error_code missing;
  const auto size = fs::file_size(path, missing);
  if (missing) {
    throw Error("M262", fmt::format("{} is missing from the checkpoint", path.string()))
        .hint(kHint);
  }
  if (size != file.bytes) {
    throw Error("M262",
                fmt::format("{} has {} bytes, expected {}", path.string(), size, file.bytes))
        .hint(kHint);
  }
}

// A part of a file, and what was read of it.
struct Part {
  size_t file = 0;
  uint64_t begin = 0, end = 0, bytes = 0;
  uint32_t crc32c = 0;
};

std::vector<Part> parts_of(const std::vector<WrittenFile>& files) {
  constexpr uint64_t kPart = uint64_t{64} << 20;
  std::vector<Part> parts;
  for (size_t i = 0; i < files.size(); ++i) {
    for (uint64_t begin = 0; begin < files[i].bytes; begin += kPart) {
      parts.push_back({.file = i, .begin = begin, .end = std::min(begin + kPart, files[i].bytes)});
    }
  }
  return parts;
}

void check_content(const fs::path& path, const WrittenFile& file, const WrittenFile& found) {
  if (found.bytes != file.bytes || found.crc32c != file.crc32c) {
    throw Error("M263", fmt::format("{} is damaged: its checksum is {}, expected {}", path.string(),
                                    hex(found.crc32c), hex(file.crc32c)))
        .hint(kHint);
  }
}

}  // namespace

std::string manifest_text(int64_t step, const std::string& run,
                          const std::vector<WrittenFile>& files) {
  Json json{{"format", kFormat},
            {"version", kVersion},
            {"step", step},
            {"run", run},
            {"files", Json::array()}};
  for (const WrittenFile& file : files) {
    json["files"].push_back(
        {{"name", file.name}, {"bytes", file.bytes}, {"crc32c", hex(file.crc32c)}});
  }
  json["manifest_crc32c"] = hex(checksum(json.dump()));
  return json.dump(2) + "\n";
}

int64_t step_in_name(const std::string& name) {
  constexpr std::string_view kPrefix = "checkpoint-";
  int64_t step = -1;
  if (!name.starts_with(kPrefix)) {
    return -1;
  }
  const char* end = name.data() + name.size();
  const auto [rest, status] = std::from_chars(name.data() + kPrefix.size(), end, step);
  return status == std::errc() && rest == end && step >= 0 ? step : -1;
}

std::vector<CheckpointFolder> list_checkpoints(const fs::path& output_dir) {
  std::vector<CheckpointFolder> found;
  for (const fs::path& path : paths_in(output_dir)) {
    const int64_t step = step_in_name(path.filename().string());
    if (step >= 0 && is_folder(path)) {
      found.push_back({path, step});
    }
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

CheckpointOrigin origin_of(const fs::path& checkpoint) {
  if (is_there(checkpoint / kManifestFile)) {
    try {
      const Manifest manifest = parse_manifest(checkpoint);
      return {CheckpointOrigin::Kind::ours, manifest.run, manifest.step};
    } catch (const Error&) {
      return {CheckpointOrigin::Kind::damaged, "", -1};
    }
  }
  const bool trainers =
      is_there(checkpoint / "trainer_state.json") && !is_there(checkpoint / "sft_state.json");
  return {trainers ? CheckpointOrigin::Kind::hf_trainer : CheckpointOrigin::Kind::unknown, "", -1};
}

int64_t verify_checkpoint(const fs::path& checkpoint, ThreadPool* pool, ReadFrom from) {
  const Manifest manifest = parse_manifest(checkpoint);
  const std::vector<WrittenFile>& files = manifest.files;
  for (const WrittenFile& file : files) {
    check_size(checkpoint / file.name, file);
  }
  std::vector<Part> parts = parts_of(files);
  const auto read = [&](int64_t i, int) {
    Part& part = parts[static_cast<size_t>(i)];
    read_pieces(checkpoint / files[part.file].name, from, part.begin, part.end,
                [&](std::span<const std::byte> piece) {
                  part.crc32c = crc32c(part.crc32c, piece.data(), piece.size());
                  part.bytes += piece.size();
                });
  };
  const auto n = static_cast<int64_t>(parts.size());
  if (pool != nullptr) {
    pool->for_each(n, read);
  } else {
    for (int64_t i = 0; i < n; ++i) {
      read(i, 0);
    }
  }
  std::vector<WrittenFile> found(files.size());
  for (const Part& part : parts) {
    WrittenFile& file = found[part.file];
    file.bytes += part.bytes;
    file.crc32c = crc32c_joined(file.crc32c, part.crc32c, part.bytes);
  }
  for (size_t i = 0; i < files.size(); ++i) {
    check_content(checkpoint / files[i].name, files[i], found[i]);
  }
  return manifest.step;
}

}  // namespace sft
