#include "data/find/resolve.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/contained.h"
#include "core/error.h"
#include "core/file.h"
#include "core/lfs_pointer.h"
#include "core/strings.h"
#include "data/find/dataset_card.h"
#include "data/find/dataset_folder.h"
#include "data/find/glob.h"
#include "data/find/split_files.h"
#include "data/read/reader.h"
#include "hub/local_name.h"

namespace sft {

namespace {

namespace fs = std::filesystem;

using SplitPatterns = std::vector<std::pair<std::string, std::vector<std::string>>>;

// Whether a folder was made by whoever runs this: then what its links lead to is his, too. What was
// fetched is somebody else's.
bool is_own(const DatasetFolder& folder) {
  return !folder.is_remote() && !is_in_hub_cache(folder.path());
}

// Who gives a name, and how far it may reach.
struct Giver {
  const DatasetFolder& home;  // what it may name files of
  std::string file;           // as shown in an error
  bool is_free = false;       // the user himself or a card he trusts, of files on this machine
  std::string way_out;        // what the user can do, of a data set on this machine

  static Giver user(const DatasetFolder& home, const std::string& name) {
    return {home, name, !home.is_remote(), ""};
  }
  // What a folder holds, by which its files are found where no card names them.
  static Giver listing(const DatasetFolder& home) {
    return {home, home.path().string(), is_own(home), ""};
  }
  static Giver card(const DatasetFolder& home, bool trusted) {
    return {home, (home.path() / "README.md").string(), trusted && is_own(home),
            is_own(home) ? "; or, if you trust the card:  --trust_dataset_card true" : ""};
  }
  static Giver state(const DatasetFolder& home, const char* file) {
    return {home, (home.path() / file).string(), false, ""};
  }

  // D080 for a name that leaves `base`, a folder at or below home.
  void check(const DatasetFolder& base, const std::string& entry, const std::string& name) const {
    const fs::path from_home = base.path().lexically_relative(home.path()) / name;
    // A link in the cache is not the user's, even where it is he who names it.
    const bool is_his = is_free && (is_own(home) || names_a_place(from_home.string()));
    const std::string why = is_his ? "" : why_outside(home.path(), from_home.string());
    if (!why.empty()) {
      throw Error("D080", fmt::format("{} names \"{}\", which {}", entry, name, why))
          .at(file)
          .hint(
              home.is_remote()
                  ? "a data set of the hub may only name its own files: choose another one"
                  : "the data set may only name files in its own folder: move them there, or name "
                    "them yourself, in a mixture's data_files" +
                        way_out);
    }
  }
  // The same for all that a folder below home holds, which it has not named one by one.
  void check_all(const DatasetFolder& base, const Splits& splits) const {
    for (const SplitFiles& split : splits) {
      for (const std::string& name : split.files) {
        check(base, fmt::format("the split \"{}\"", split.split), name);
      }
    }
  }
};

// The files that one pattern asks for, as paths from `folder`. Only the folder that the pattern
// itself names is listed, which may lie elsewhere.
std::vector<std::string> files_of_pattern(const DatasetFolder& folder, const std::string& pattern) {
  if (pattern.find("://") != std::string::npos) {
    throw Error("D005", fmt::format("data_files may not be addresses on the network: {}", pattern))
        .hint("download the file, or name its data set in `path`");
  }
  size_t fixed = pattern.find_first_of("*?[");
  fixed = pattern.rfind('/', fixed);  // npos: the last one of all
  const std::string prefix = fixed == std::string::npos ? "" : pattern.substr(0, fixed + 1);
  std::vector<std::string> files =
      matching_files((folder / prefix).list_files(), pattern.substr(prefix.size()));
  for (std::string& file : files) {
    file.insert(0, prefix);
  }
  return files;
}

Splits splits_by_pattern(const DatasetFolder& folder, const SplitPatterns& patterns,
                         const Giver& giver) {
  Splits splits;
  for (const auto& [split, globs] : patterns) {
    SplitFiles found{split, {}};
    for (const std::string& glob : globs) {
      const std::string entry = fmt::format("data_files of the split \"{}\"", split);
      giver.check(folder, entry, glob);
      const std::vector<std::string> files = files_of_pattern(folder, glob);
      if (files.empty() && !has_wildcard(glob)) {
        throw Error("D007",
                    fmt::format("the file {} of the split \"{}\" does not exist", glob, split))
            .at(folder.string())
            .hint("data_files are paths or patterns below this folder");
      }
      for (const std::string& file : files) {
        giver.check(folder, entry, file);
        if (std::ranges::find(found.files, file) == found.files.end()) {
          found.files.push_back(file);
        }
      }
    }
    splits.push_back(std::move(found));
  }
  return splits;
}

SplitPatterns patterns_of(const Json& data_files) {
  const auto globs = [](const Json& value) -> std::vector<std::string> {
    if (value.is_string()) {
      return {value.get<std::string>()};
    }
    if (value.is_array() && std::ranges::all_of(value, &Json::is_string)) {
      return value.get<std::vector<std::string>>();
    }
    throw Error("D005", fmt::format("data_files must be a path or a list of paths, not {}",
                                    to_text(value)));
  };
  SplitPatterns patterns;
  if (data_files.is_array() && !data_files.empty() && data_files[0].is_object()) {
    for (const Json& entry : data_files) {  // [{split: train, path: ...}]
      if (!entry.is_object() || !entry.contains("path") || !entry.contains("split") ||
          !entry["split"].is_string()) {
        throw Error("D005", fmt::format("an entry of data_files must be {{split, path}}, not {}",
                                        to_text(entry)));
      }
      patterns.emplace_back(entry["split"], globs(entry["path"]));
    }
    return patterns;
  }
  if (!data_files.is_object()) {
    return {{"train", globs(data_files)}};
  }
  for (const auto& [split, value] : data_files.items()) {
    patterns.emplace_back(split, globs(value));
  }
  return patterns;
}

Error not_saved_by_datasets(const fs::path& file, std::string_view wanted) {
  return Error("D005", fmt::format("{} has no {}", file.filename().string(), wanted))
      .at(file.string())
      .hint("save the data set again with save_to_disk, or give a folder of data files");
}

// What `Dataset.save_to_disk` leaves: state.json names the arrow files.
std::vector<std::string> saved_files(const DatasetFolder& folder) {
  const Giver giver = Giver::state(folder, "state.json");
  const Json state = read_json((folder / "state.json").fetched());
  std::vector<std::string> files;
  const auto list = state.is_object() ? state.find("_data_files") : state.end();
  if (list == state.end() || !list->is_array()) {
    throw not_saved_by_datasets(folder.path() / "state.json", "list `_data_files`");
  }
  for (const Json& file : *list) {
    if (!file.is_object() || !file.contains("filename") || !file["filename"].is_string()) {
      throw not_saved_by_datasets(folder.path() / "state.json", "file names in `_data_files`");
    }
    files.push_back(file["filename"]);
    giver.check(folder, "_data_files", files.back());
  }
  return files;
}

Splits saved_splits(const DatasetFolder& folder) {
  if ((folder / "state.json").is_file()) {
    return {{"train", saved_files(folder)}};
  }
  const Giver giver = Giver::state(folder, "dataset_dict.json");
  Splits splits;
  const Json dict = read_json((folder / "dataset_dict.json").fetched());
  const Json names = dict.is_object() ? dict.value("splits", Json()) : Json();
  if (!names.is_array() || !std::ranges::all_of(names, &Json::is_string)) {
    throw not_saved_by_datasets(folder.path() / "dataset_dict.json", "list of `splits`");
  }
  for (const Json& name : names) {
    SplitFiles found{name.get<std::string>(), {}};
    giver.check(folder, "splits", found.split);
    for (const std::string& file : saved_files(folder / found.split)) {
      found.files.push_back(found.split + "/" + file);
    }
    splits.push_back(std::move(found));
  }
  return splits;
}

bool is_saved(const DatasetFolder& folder) {
  if ((folder / "state.json").is_file()) {
    return true;
  }
  // Repositories on the hub may have a dataset_dict.json among ordinary data files.
  return (folder / "dataset_dict.json").is_file() &&
         std::ranges::any_of(folder.list_files(),
                             [](const std::string& file) { return file.ends_with("/state.json"); });
}

struct FolderSplits {
  DatasetFolder base;
  std::string config;
  Splits splits;
};

FolderSplits folder_without_configs(const DatasetSource& source, const DatasetFolder& folder) {
  FolderSplits out{folder, "", {}};
  if (source.config && source.data_dir.empty()) {
    // A folder copied without its README: a subfolder of the config's name is what was meant.
    out.base = out.base / *source.config;
    out.config = *source.config;
    if (!out.base.is_folder()) {
      throw Error("D006", fmt::format("{} declares no configs, so there is no \"{}\"", source.name,
                                      *source.config))
          .at((folder / "README.md").string())
          .hint("leave --dataset_config out, or fetch the data set with its README.md");
    }
  }
  if (is_saved(out.base)) {
    out.splits = saved_splits(out.base);
    return out;
  }
  out.splits = splits_by_name(out.base.list_files());
  if (const Giver listing = Giver::listing(folder); !listing.is_free) {
    listing.check_all(out.base, out.splits);
  }
  return out;
}

FolderSplits folder_splits(const DatasetSource& source, const DatasetFolder& folder) {
  const Giver user = Giver::user(folder, source.name);
  user.check(folder, "data_dir", source.data_dir);
  if (!source.data_files.is_null()) {
    const DatasetFolder base = folder / source.data_dir;
    return {base, "", splits_by_pattern(base, patterns_of(source.data_files), user)};
  }
  if (!source.data_dir.empty()) {
    return folder_without_configs(source, folder / source.data_dir);
  }
  const std::vector<DatasetConfig> configs = read_configs(folder.path());
  if (configs.empty()) {
    return folder_without_configs(source, folder);
  }
  const DatasetConfig& config = choose_config(configs, source.config, source.name);
  const Giver card = Giver::card(folder, source.trusts_card);
  card.check(folder, fmt::format("data_dir of the config \"{}\"", config.name), config.data_dir);
  const DatasetFolder base = folder / config.data_dir;
  if (!config.data_files.empty()) {
    return {base, config.name, splits_by_pattern(base, config.data_files, card)};
  }
  Splits splits = splits_by_name(base.list_files());
  card.check_all(base, splits);
  return {base, config.name, std::move(splits)};
}

Error no_such_data(const std::string& name, const std::string& why) {
  return Error("D001",
               fmt::format("there is no data set {}: no such file or folder{}", name, because(why)))
      .hint(nearest_path_or(
          name, "--dataset_name takes a file, a folder, or a hub id such as trl-lib/Capybara"));
}

// A data set of the hub, its card at hand; from the cache alone where there is no network.
DatasetFolder find_on_hub(const std::string& written, std::string id, const HubEnvironment& hub) {
  std::string revision;
  if (const size_t at = id.find('@'); at != std::string::npos) {
    revision = id.substr(at + 1);
    id.resize(at);
  }
  const bool named_as_hubs = written != id;  // "hf://datasets/…", or with "@revision"
  const std::string why = named_as_hubs ? "" : why_a_path(id);
  if (!why.empty() || !is_hub_id(id)) {
    throw no_such_data(written, why);
  }
  if (!named_as_hubs && parent_is_here(id) && !hub_knows(HubKind::dataset, id, revision, hub)) {
    throw no_such_data(written, kHubHasNone);
  }
  const HubLookup found = find_in_hub_cache(HubKind::dataset, id, revision, hub);
  if (!found.folder && !hub.online()) {
    throw Error("D004",
                fmt::format("{} is neither a file nor a folder, and not in the hub cache", written))
        .at(fmt::format("{}", fmt::join(found.looked_at, ", ")))
        .hint(hub.offline ? "HF_HUB_OFFLINE is set: unset it once to download the data set"
                          : fmt::format("hf download --repo-type dataset {}", id));
  }
  const auto repository = std::make_shared<HubRepository>(HubKind::dataset, id, revision, hub);
  for (const char* card : {"README.md", ".huggingface.yaml"}) {
    if (repository->has(card)) {
      repository->fetch({card});
    }
  }
  return DatasetFolder(repository);
}

DatasetFolder find_folder(const DatasetSource& source, const HubEnvironment& hub) {
  constexpr std::string_view kRemote = "hf://datasets/";
  if (source.name.starts_with(kRemote)) {
    return find_on_hub(source.name, source.name.substr(kRemote.size()), hub);
  }
  if (is_folder(source.name)) {
    return fs::path(source.name);
  }
  if (is_there(source.name)) {
    open_reader(source.name);  // which says what it is, if not a file
  }
  if (!source.data_files.is_null() && std::ranges::any_of(file_formats(), [&](const FileFormat& f) {
        return f.name == source.name;
      })) {
    return fs::current_path();  // `path: json` with data_files, as in load_dataset
  }
  return find_on_hub(source.name, source.name, hub);
}

void check_single_file(const DatasetSource& source, const std::vector<SplitTerm>& terms) {
  if (source.config) {
    throw Error("D006", fmt::format("{} is a single file and has no configs", source.name))
        .hint("leave --dataset_config out, or give the data set's folder");
  }
  for (const SplitTerm& term : terms) {
    if (term.split != "train" && term.split != "all") {
      throw Error("D008",
                  fmt::format("{} is a single file: it has only the split \"train\", not \"{}\"",
                              source.name, term.split))
          .hint(
              "give a folder with one file a split (train.jsonl, test.jsonl), or set "
              "test_split_size");
    }
  }
}

FolderSplits single_file(const DatasetSource& source) {
  const fs::path file = source.name;
  if (is_in_hub_cache(file)) {
    const DatasetFolder folder(file.parent_path());
    Giver::listing(folder).check(folder, "the cache", file.filename().string());
  }
  return {fs::path(), "", {{"train", {source.name}}}};
}

DatasetFiles pick_split(const DatasetSource& source, const FolderSplits& found,
                        const SplitTerm& term) {
  DatasetFiles out{.name = source.name,
                   .config = found.config,
                   .split = term.split,
                   .slice = term.slice,
                   .files = {}};
  std::vector<std::string> names;
  for (const SplitFiles& candidate : found.splits) {
    names.push_back(candidate.split);
    if (candidate.split == term.split) {
      found.base.fetch(candidate.files);
      for (const std::string& file : candidate.files) {
        out.files.push_back(found.base.path() / file);
      }
    }
  }
  if (!out.files.empty()) {
    return out;
  }
  if (names.empty() || std::ranges::find(names, term.split) != names.end()) {
    throw Error("D007", fmt::format("{} has no data files that can be read", source.name))
        .at(found.base.string())
        .hint(
            "data files end in .parquet, .arrow, .jsonl, .json, .csv, .tsv or .txt, also with "
            ".gz, .zst, .bz2 or .xz behind");
  }
  throw Error("D008", fmt::format("{} has no split \"{}\" (it has: {})", source.name, term.split,
                                  fmt::join(names, ", ")))
      .at(found.base.string())
      .hint(fmt::format("choose one with --dataset_train_split or --dataset_test_split: {}",
                        fmt::join(names, ", ")));
}

}  // namespace

std::vector<DatasetFiles> resolve_splits(const DatasetSource& source, const std::string& spec,
                                         const HubEnvironment& hub) {
  std::vector<SplitTerm> terms = split_terms(spec);
  check_is_data(source.name);
  FolderSplits found;
  if (is_file(source.name)) {
    check_single_file(source, terms);
    found = single_file(source);
  } else {
    found = folder_splits(source, find_folder(source, hub));
    for (SplitFiles& split : found.splits) {
      keep_main_format(split);
    }
  }
  if (spec == "all") {
    terms.clear();
    for (const SplitFiles& split : found.splits) {
      terms.push_back({split.split, ""});
    }
  }
  std::vector<DatasetFiles> out;
  for (const SplitTerm& term : terms) {
    out.push_back(pick_split(source, found, term));
    for (const fs::path& file : out.back().files) {
      refuse_lfs_pointer(kPointerForData, file);
    }
  }
  return out;
}

DatasetFiles resolve_dataset(const DatasetSource& source, const std::string& spec,
                             const HubEnvironment& hub) {
  std::vector<DatasetFiles> all = resolve_splits(source, spec, hub);
  if (all.size() != 1) {
    throw Error("D009",
                fmt::format("\"{}\" is more than one split, which is not wanted here", spec))
        .hint("name one split, with a slice where needed");
  }
  return std::move(all[0]);
}

}  // namespace sft
