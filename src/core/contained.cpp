#include "core/contained.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>

#include "core/error.h"

namespace sft {

namespace {

// File systems that hold no files of anybody: /proc, /sys and what hangs below them.
constexpr std::array<uint64_t, 10> kSystem = {
    0x9fa0,      // proc
    0x62656572,  // sysfs
    0x64626720,  // debugfs
    0x74726163,  // tracefs
    0x73636673,  // securityfs
    0x27e0eb,    // cgroup
    0x63677270,  // cgroup2
    0xf97cff8c,  // selinux
    0x1cd1,      // devpts
    0xcafe4a11,  // bpf
};

bool is_system(const fs::path& path) {
  struct statfs info{};
  return ::statfs(path.c_str(), &info) == 0 &&
         std::ranges::find(kSystem, static_cast<uint64_t>(info.f_type) & 0xFFFFFFFF) !=
             kSystem.end();
}

bool is_below(const fs::path& path, const fs::path& folder) {
  const auto [in_folder, in_path] =
      std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return in_folder == folder.end();
}

// How far links may lead. The files of a snapshot in the hub's cache are links to ../../blobs.
fs::path link_root(const fs::path& folder) {
  for (fs::path at = folder; at.has_relative_path(); at = at.parent_path()) {
    const fs::path repository = at.parent_path().parent_path();
    if (at.parent_path().filename() == "snapshots" && is_folder(repository / "blobs")) {
      return repository;
    }
  }
  return folder;
}

}  // namespace

std::string why_outside(const fs::path& folder, const std::string& name) {
  const fs::path path(name);
  if (name.find('\0') != std::string::npos) {
    return "holds a zero byte";
  }
  if (path.is_absolute()) {
    return "is an absolute path";
  }
  if (std::ranges::any_of(path, [](const fs::path& part) { return part == ".."; })) {
    return "leads out of the folder with \"..\"";
  }
  std::error_code failed;
  fs::path root = fs::weakly_canonical(folder.empty() ? fs::path(".") : folder, failed);
  if (failed) {
    return failed.message();
  }
  root = link_root(root);
  const fs::path real = fs::weakly_canonical(folder / path, failed);
  if (failed) {
    return fmt::format("cannot be followed ({})", failed.message());
  }
  return is_below(real, root)
             ? ""
             : fmt::format("leads out of the folder by a link, to {}", real.string());
}

bool is_file_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         std::ranges::none_of(name, [](char c) {
           return c == '/' || c == '\x7f' || static_cast<unsigned char>(c) < ' ';
         });
}

bool names_a_place(const std::string& text) {
  const fs::path path(text);
  return path.is_absolute() || text.starts_with("~/") ||
         std::ranges::any_of(path, [](const fs::path& part) { return part == ".."; });
}

std::string why_another_file(const fs::path& folder, const std::string& name) {
  std::error_code failed;
  const fs::path real = fs::weakly_canonical(folder / name, failed);
  return !failed && real.filename() == fs::path(name).filename() ? "" : why_outside(folder, name);
}

bool is_in_hub_cache(const fs::path& path) {
  std::error_code failed;
  const fs::path plain = fs::absolute(path, failed).lexically_normal();
  const fs::path real = fs::weakly_canonical(plain, failed);
  // A file of a snapshot is a link to a blob, which no longer says so.
  const fs::path named = fs::weakly_canonical(plain.parent_path(), failed) / plain.filename();
  return link_root(real) != real || link_root(named) != named;
}

std::string why_no_data(const fs::path& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) {
    return "";
  }
  switch (info.st_mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
      return is_system(path) ? "belongs to the system, not to a data set" : "";
    case S_IFIFO:
      return "is a pipe";
    case S_IFSOCK:
      return "is a socket";
    default:
      return "is a device";
  }
}

void check_is_data(const fs::path& path) {
  if (const std::string why = why_no_data(path); !why.empty()) {
    throw Error("D081", fmt::format("{} cannot be read as data: it {}", path.string(), why))
        .at(path.string())
        .hint("save the data in a file first, and give that");
  }
}

}  // namespace sft
