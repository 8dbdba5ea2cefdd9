#include "report/trackers/wandb.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <cmath>
#include <ctime>
#include <fstream>
#include <random>
#include <system_error>
#include <thread>

#include "core/strings.h"
#include "settings/train_options.h"

namespace sft {
namespace {

namespace fs = std::filesystem;

// Fields of wandb_internal.Record.
constexpr int kHistory = 2, kSummary = 3, kStats = 7, kMetric = 12, kRun = 17, kExit = 18,
              kHeader = 21, kEnvironment = 26;

// JSON as Python writes it: numbers that are not finite have names.
std::string value_json(const Json& value) {
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    const auto number = value.get<double>();
    return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
  }
  return to_text(value);
}

// An item of a config, a history row or a summary; names with dots in them stay whole.
ProtoMessage item(std::string_view key, const Json& value, bool nested) {
  return ProtoMessage().text(nested ? 2 : 1, key).text(16, value_json(value));
}

std::string new_id() {
  static constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::random_device random;
  std::string id;
  for (int i = 0; i < 8; ++i) {
    id += kLetters[random() % kLetters.size()];
  }
  return id;
}

// "VmRSS:   1234 kB" of /proc/self/status and the like, in kB; 0 when it is not there.
double kilobytes(const char* file, const std::string& name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(name + ":")) {
      return std::strtod(line.c_str() + name.size() + 1, nullptr);
    }
  }
  return 0;
}

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) {
      return std::string(trim(line.substr(line.find(':') + 1)));
    }
  }
  return "";
}

// Where a program of this name is, by PATH; "" where it is not.
std::string program_in(const std::string& path, const std::string& name) {
  for (const std::string& folder : split(path, ':')) {
    const fs::path file = fs::path(folder) / name;
    if (!folder.empty() && ::access(file.c_str(), X_OK) == 0 && fs::is_regular_file(file)) {
      return file.string();
    }
  }
  return "";
}

// Starts `wandb sync FOLDER`, which goes on by itself; what it says is kept beside the run.
void start_upload(const std::string& program, const fs::path& folder, const Variables& variables) {
  std::vector<std::string> environment;
  for (const char* name : {"PATH",
                           "HOME",
                           "LANG",
                           "NETRC",
                           "PYTHONPATH",
                           "VIRTUAL_ENV",
                           "XDG_CONFIG_HOME",
                           "WANDB_API_KEY",
                           "WANDB_BASE_URL",
                           "WANDB_DIR",
                           "WANDB_ENTITY",
                           "WANDB_PROJECT",
                           "HTTPS_PROXY",
                           "HTTP_PROXY",
                           "NO_PROXY",
                           "https_proxy",
                           "http_proxy",
                           "no_proxy",
                           "SSL_CERT_FILE",
                           "REQUESTS_CA_BUNDLE"}) {
    if (const std::string value = variables(name); !value.empty()) {
      environment.push_back(fmt::format("{}={}", name, value));
    }
  }
  std::vector<std::string> words{program, "sync", "--yes", folder.string()};
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> out;
    for (std::string& text : texts) {
      out.push_back(text.data());
    }
    out.push_back(nullptr);
    return out;
  };
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  const std::string log = (folder / "logs" / "sync.log").string();
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ::posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  pid_t process = 0;
  const int error = ::posix_spawn(&process, program.c_str(), &actions, &attributes,
                                  pointers(words).data(), pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    throw std::system_error(error, std::generic_category(), program);
  }
}

}  // namespace

WandbFile::WandbFile(const fs::path& path) : file_(path) {
  std::string header = ":W&B";
  put_little_endian(header, 0xBEE1, 2);
  put_little_endian(header, 0, 1);
  file_.append(header);
  written_ = header.size();
}

void WandbFile::append(std::string_view record) {
  constexpr uint64_t kBlock = 32768, kHead = 7;
  enum { kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };
  std::string out;
  bool first = true;
  do {
    uint64_t room = kBlock - (written_ + out.size()) % kBlock;
    if (room < kHead) {
      out.append(room, '\0');
      room = kBlock;
    }
    const std::string_view part = record.substr(0, std::min<uint64_t>(record.size(), room - kHead));
    record.remove_prefix(part.size());
    const bool last = record.empty();
    std::string chunk(1, static_cast<char>(first  ? (last ? kFull : kFirst)
                                           : last ? kLast
                                                  : kMiddle));
    chunk += part;
    const auto* const bytes = reinterpret_cast<const Bytef*>(chunk.data());
    put_little_endian(out, ::crc32(0, bytes, static_cast<uInt>(chunk.size())), 4);
    put_little_endian(out, part.size(), 2);
    out += chunk;
    first = false;
  } while (!record.empty());
  file_.append(out);
  written_ += out.size();
}

Wandb::Wandb(const fs::path& folder, WandbRun run, std::function<void()> on_end)
    : file_(folder / fmt::format("run-{}.wandb", run.id)),
      run_(std::move(run)),
      on_end_(std::move(on_end)) {
  std::error_code ignored;
  fs::create_directories(folder / "files", ignored);
  fs::create_directories(folder / "logs", ignored);
}

void Wandb::write(int field, const ProtoMessage& record) {
  file_.append(ProtoMessage().integer(1, ++records_).message(field, record).bytes());
}

void Wandb::line(const Json& line) {
  const std::string kind = line.value("k", "");
  if (kind == "run") {
    start(line);
  } else if (kind == "log" || kind == "eval") {
    history(line);
    system(line.value("t", 0.0));
  } else if (kind == "finish") {
    // transformers puts these into the summary alone, and the rest into the history.
    Json totals, rest{{"k", "log"}, {"t", line.value("t", 0.0)}, {"step", line.value("step", 0)}};
    for (const auto& [name, value] : line.items()) {
      const bool total = name.starts_with("train_") || name == "total_flos";
      (total ? totals : rest)[name] = value;
    }
    summary(totals);
    history(rest);
  } else if (kind == "end") {
    end(line);
  }
}

void Wandb::start(const Json& line) {
  began_ = line.value("t", 0.0);
  const std::string producer = fmt::format("sft {}", line.value("version", ""));
  write(kHeader, ProtoMessage().message(1, ProtoMessage().text(1, producer).text(2, "0.0.0")));
  ProtoMessage config;
  Json values = line.value("config", Json::object());
  const Json model = line.value("model", Json::object());
  values["model/num_parameters"] = model.value("parameters", Json());
  values["model"] = model;
  values["data"] = line.value("data", Json());
  values["world_size"] = line.value("world", Json());
  values["sft_version"] = line.value("version", Json());
  for (const auto& [key, value] : values.items()) {
    config.message(1, item(key, value, false));
  }
  ProtoMessage run;
  run.text(1, run_.id);
  const auto optional = [&](int field, const std::string& text) {
    if (!text.empty()) {
      run.text(field, text);
    }
  };
  optional(2, run_.entity);
  run.text(3, run_.project).message(4, config);
  optional(6, run_.group);
  optional(7, run_.job_type);
  optional(8, run_.name);
  optional(9, run_.notes);
  for (const std::string& tag : run_.tags) {
    run.text(10, tag);
  }
  optional(13, line.value("host", ""));
  run.time(17, began_);
  if (run_.resumed) {
    run.integer(18, 1);
  }
  write(kRun, run);
  environment(line);
  // The x axis of every chart is the step, as transformers' callback asks for.
  write(kMetric,
        ProtoMessage().text(1, "train/global_step").message(6, ProtoMessage().integer(3, 1)));
  write(kMetric, ProtoMessage()
                     .text(2, "*")
                     .text(4, "train/global_step")
                     .message(6, ProtoMessage().integer(1, 1).integer(3, 1)));
}

void Wandb::environment(const Json& line) {
  utsname system{};
  ::uname(&system);
  std::error_code ignored;
  ProtoMessage e;
  e.text(1, fmt::format("{}-{}-{}", system.sysname, system.release, system.machine));
  e.time(3, began_);
  const Json argv = line.value("argv", Json::array());
  for (const Json& word : argv) {
    if (word.is_string()) {
      e.text(5, word.get<std::string>());
    }
  }
  const std::string program = fs::read_symlink("/proc/self/exe", ignored);
  e.text(6, "sft").text(11, fs::current_path(ignored).string());
  e.text(12, line.value("host", "")).text(14, program);
  const int64_t threads = std::max(1u, std::thread::hardware_concurrency());
  e.integer(16, threads).integer(17, threads);
  const Json devices = line.value("devices", Json::array());
  if (!devices.empty() && devices[0].is_string() &&
      devices[0].get<std::string>().find("NVIDIA") != std::string::npos) {
    e.text(18, devices[0].get<std::string>()).integer(19, static_cast<int64_t>(devices.size()));
  }
  const double memory = kilobytes("/proc/meminfo", "MemTotal") * 1024;
  e.message(21, ProtoMessage().integer(1, static_cast<int64_t>(memory)));
  e.message(22, ProtoMessage().integer(1, threads).integer(2, threads).text(3, cpu_model()));
  e.text(199, run_.id);
  write(kEnvironment, e);
}

void Wandb::history(const Json& line) {
  const double time = line.value("t", 0.0);
  Json row;
  for (const auto& [name, value] : tracked_values(line)) {
    row[name] = value;
  }
  row["train/global_step"] = line.value("step", int64_t{0});
  row["_timestamp"] = time;
  row["_runtime"] = time - began_;
  row["_step"] = rows_;
  ProtoMessage history;
  for (const auto& [name, value] : row.items()) {
    history.message(1, item(name, value, true));
  }
  history.message(2, ProtoMessage().integer(1, rows_++));
  summary(row);
  write(kHistory, history);
}

void Wandb::summary(const Json& values) {
  ProtoMessage summary;
  for (const auto& [name, value] : values.items()) {
    summary.message(1, item(name, value, true));
  }
  write(kSummary, summary);
}

void Wandb::system(double time) {
  const double own = kilobytes("/proc/self/status", "VmRSS");
  const double all = kilobytes("/proc/meminfo", "MemTotal");
  const double left = kilobytes("/proc/meminfo", "MemAvailable");
  const Json values{{"proc.memory.rssMB", own / 1024},
                    {"proc.memory.percent", all > 0 ? 100 * own / all : 0},
                    {"proc.memory.availableMB", left / 1024},
                    {"memory_percent", all > 0 ? 100 * (all - left) / all : 0},
                    {"proc.cpu.threads", kilobytes("/proc/self/status", "Threads")}};
  ProtoMessage stats;
  stats.time(2, time);
  for (const auto& [name, value] : values.items()) {
    stats.message(3, item(name, value, false));
  }
  write(kStats, stats);
}

void Wandb::end(const Json& line) {
  const auto runtime = static_cast<int64_t>(line.value("wall", 0.0));
  ProtoMessage done;
  done.message(
      1, ProtoMessage().text(2, "_wandb").text(2, "runtime").text(16, std::to_string(runtime)));
  write(kSummary, done);
  write(
      kExit,
      ProtoMessage().integer(1, line.value("status", "") == "failed" ? 1 : 0).integer(2, runtime));
  if (on_end_) {
    on_end_();
  }
}

std::unique_ptr<Tracker> make_wandb(const TrainOptions& o, const Variables& variables,
                                    const Logger& log) {
  const std::string mode = to_lower(variables("WANDB_MODE"));
  const std::string disabled = to_lower(variables("WANDB_DISABLED"));
  if (mode == "disabled" || disabled == "true" || disabled == "1") {
    log.note("wandb: switched off by its variables");
    return nullptr;
  }
  WandbRun run;
  run.id = variables("WANDB_RUN_ID");
  run.resumed = !run.id.empty() && o.resume_from_checkpoint.has_value();
  if (run.id.empty()) {
    run.id = new_id();
  }
  run.project = variables("WANDB_PROJECT");
  if (run.project.empty()) {
    run.project = o.project;
  }
  run.entity = variables("WANDB_ENTITY");
  run.name = o.run_name.value_or(variables("WANDB_NAME"));
  run.notes = variables("WANDB_NOTES");
  run.group = variables("WANDB_RUN_GROUP");
  run.job_type = variables("WANDB_JOB_TYPE");
  for (const std::string& tag : split(variables("WANDB_TAGS"), ',')) {
    if (!trim(tag).empty()) {
      run.tags.emplace_back(trim(tag));
    }
  }
  const fs::path parent = fs::path(variables("WANDB_DIR")) / "wandb";
  const fs::path folder = parent / fmt::format("offline-run-{:%Y%m%d_%H%M%S}-{}",
                                               fmt::localtime(std::time(nullptr)), run.id);
  const std::string program = mode == "online" ? program_in(variables("PATH"), "wandb") : "";
  auto tracker = std::make_unique<Wandb>(
      folder, run, program.empty() ? std::function<void()>() : [program, folder, variables] {
        start_upload(program, folder, variables);
      });
  std::error_code ignored;
  fs::remove(parent / "latest-run", ignored);
  fs::create_directory_symlink(folder.filename(), parent / "latest-run", ignored);
  log.note(program.empty()
               ? fmt::format("wandb: the run is written offline; upload it with  wandb sync {}",
                             folder.string())
               : fmt::format("wandb: {} uploads {} when the run ends", program, folder.string()));
  if (mode == "online" && program.empty()) {
    log.warn("WANDB_MODE is online, and there is no program wandb in PATH to upload with");
  }
  return tracker;
}

}  // namespace sft
