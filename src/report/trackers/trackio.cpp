#include "report/trackers/trackio.h"

#include <dlfcn.h>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cmath>
#include <ctime>

#include "core/error.h"
#include "settings/train_options.h"

namespace sft {

namespace {

constexpr Code kDatabase = "S061";
constexpr const char* kLibrary = "libsqlite3.so.0";
// SQLite's numbers, from its documentation.
constexpr int kOk = 0, kRow = 100, kDone = 101, kReadWriteCreate = 6;
constexpr int kPatienceMs = 5000;  // for others that write into the file

}  // namespace

// What is used of SQLite, found when it is needed: the program starts without it.
struct SqliteLibrary {
  int (*open_v2)(const char*, void**, int, const char*);
  int (*close_v2)(void*);
  const char* (*errmsg)(void*);
  int (*busy_timeout)(void*, int);
  int (*prepare_v2)(void*, const char*, int, void**, const char**);
  int (*bind_text)(void*, int, const char*, int, void (*)(void*));
  int (*bind_int64)(void*, int, long long);
  int (*bind_null)(void*, int);
  int (*step)(void*);
  const unsigned char* (*column_text)(void*, int);
  int (*finalize)(void*);
};

namespace {

const SqliteLibrary& sqlite() {
  static const SqliteLibrary library = [] {
    void* const handle = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      throw Error(kDatabase, fmt::format("trackio's file needs {}: {}", kLibrary, ::dlerror()))
          .hint("install it (Debian: apt install libsqlite3-0)");
    }
    SqliteLibrary s{};
    const auto find = [&](const char* name, auto& function) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, name));
      if (function == nullptr) {
        throw Error(kDatabase, fmt::format("{} has no {}", kLibrary, name))
            .hint("install SQLite 3.20 or newer");
      }
    };
    find("sqlite3_open_v2", s.open_v2);
    find("sqlite3_close_v2", s.close_v2);
    find("sqlite3_errmsg", s.errmsg);
    find("sqlite3_busy_timeout", s.busy_timeout);
    find("sqlite3_prepare_v2", s.prepare_v2);
    find("sqlite3_bind_text", s.bind_text);
    find("sqlite3_bind_int64", s.bind_int64);
    find("sqlite3_bind_null", s.bind_null);
    find("sqlite3_step", s.step);
    find("sqlite3_column_text", s.column_text);
    find("sqlite3_finalize", s.finalize);
    return s;
  }();
  return library;
}

// As trackio itself writes it: microseconds, in UTC.
std::string iso_time(double t) {
  const auto seconds = static_cast<std::time_t>(std::floor(t));
  const auto micro = static_cast<int>((t - std::floor(t)) * 1e6);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}+00:00", fmt::gmtime(seconds), micro);
}

// Numbers that JSON has not are texts.
Json plain(const Json& value) {
  if (!value.is_number_float() || std::isfinite(value.get<double>())) {
    return value;
  }
  const auto number = value.get<double>();
  return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
}

constexpr const char* kTables[] = {
    "CREATE TABLE IF NOT EXISTS metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT "
    "NULL, "
    "timestamp TEXT NOT NULL, run_name TEXT NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT "
    "NULL)",
    "CREATE TABLE IF NOT EXISTS configs (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT "
    "NULL, "
    "run_name TEXT NOT NULL, config TEXT NOT NULL, created_at TEXT NOT NULL, UNIQUE(run_id))",
    "CREATE TABLE IF NOT EXISTS system_metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT "
    "NOT "
    "NULL, timestamp TEXT NOT NULL, run_name TEXT NOT NULL, metrics TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS alerts (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT "
    "NULL, "
    "timestamp TEXT NOT NULL, run_name TEXT NOT NULL, title TEXT NOT NULL, text TEXT, level TEXT "
    "NOT "
    "NULL DEFAULT 'warn', step INTEGER, alert_id TEXT)"};

}  // namespace

// A statement on its way, which is always put away.
struct Trackio::Statement {
  Statement(const SqliteLibrary& s, void* db, const char* sql) : sqlite(s), database(db) {
    if (sqlite.prepare_v2(database, sql, -1, &handle, nullptr) != kOk) {
      fail();
    }
  }
  ~Statement() { sqlite.finalize(handle); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  [[noreturn]] void fail() const { throw Error(kDatabase, sqlite.errmsg(database)); }
  bool step() const {
    const int result = sqlite.step(handle);
    if (result != kRow && result != kDone) {
      fail();
    }
    return result == kRow;
  }

  const SqliteLibrary& sqlite;
  void* database;
  void* handle = nullptr;
};

Trackio::Trackio(const std::filesystem::path& file, std::string run_name)
    : sqlite_(sqlite()), file_(file), run_name_(std::move(run_name)) {
  std::filesystem::create_directories(file.parent_path());
  if (sqlite_.open_v2(file.c_str(), &database_, kReadWriteCreate, nullptr) != kOk) {
    const std::string why = database_ != nullptr ? sqlite_.errmsg(database_) : "no memory";
    sqlite_.close_v2(database_);
    throw Error(kDatabase, fmt::format("{} cannot be opened: {}", file.string(), why));
  }
  try {
    sqlite_.busy_timeout(database_, kPatienceMs);
    run("PRAGMA journal_mode = WAL");
    run("PRAGMA synchronous = NORMAL");
    for (const char* table : kTables) {
      run(table);
    }
    check_columns("metrics", {"run_id", "timestamp", "run_name", "step", "metrics"});
    check_columns("configs", {"run_id", "run_name", "config", "created_at"});
    check_columns("system_metrics", {"run_id", "timestamp", "run_name", "metrics"});
    check_columns("alerts", {"run_id", "timestamp", "run_name", "title", "text", "level", "step"});
  } catch (...) {
    sqlite_.close_v2(database_);
    throw;
  }
}

Trackio::~Trackio() { sqlite_.close_v2(database_); }

void Trackio::run(const char* sql) {
  const Statement statement(sqlite_, database_, sql);
  while (statement.step()) {
  }
}

// A file of another generation of trackio is left alone.
void Trackio::check_columns(const char* table, std::initializer_list<const char*> columns) {
  const Statement statement(sqlite_, database_,
                            fmt::format("SELECT name FROM pragma_table_info('{}')", table).c_str());
  std::string there = ",";
  while (statement.step()) {
    there += reinterpret_cast<const char*>(sqlite_.column_text(statement.handle, 0));
    there += ",";
  }
  for (const char* column : columns) {
    if (there.find(fmt::format(",{},", column)) == std::string::npos) {
      throw Error(kDatabase, fmt::format("the table {} of {} has no column {}: it is of another "
                                         "version of trackio",
                                         table, file_.string(), column))
          .hint("use another --project, or update trackio");
    }
  }
}

void Trackio::insert(const char* sql, std::initializer_list<Json> values) {
  const Statement statement(sqlite_, database_, sql);
  std::vector<std::string> texts;  // until the statement is done
  texts.reserve(values.size());
  int at = 0;
  for (const Json& value : values) {
    ++at;
    if (value.is_number_integer()) {
      sqlite_.bind_int64(statement.handle, at, value.get<int64_t>());
    } else if (value.is_null()) {
      sqlite_.bind_null(statement.handle, at);
    } else {
      texts.push_back(value.is_string() ? value.get<std::string>() : to_text(value));
      sqlite_.bind_text(statement.handle, at, texts.back().data(),
                        static_cast<int>(texts.back().size()), nullptr);
    }
  }
  statement.step();
}

void Trackio::log(const Json& line) {
  Json metrics = Json::object();
  for (const auto& [name, value] : tracked_values(line)) {
    metrics[name] = plain(value);
  }
  insert("INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?, ?)",
         {run_id_, iso_time(line.value("t", 0.0)), run_name_, line.value("step", int64_t{0}),
          metrics});
}

void Trackio::line(const Json& line) {
  const std::string kind = line.value("k", "");
  const std::string time = iso_time(line.value("t", 0.0));
  if (kind == "run") {
    run_id_ = line.value("id", "");
    if (run_name_.empty()) {
      run_name_ = "sft-" + run_id_.substr(0, 8);
    }
    Json config = line.value("config", Json::object());
    config["_Created"] = time;
    insert(
        "INSERT OR REPLACE INTO configs (run_id, run_name, config, created_at) VALUES (?, ?, ?, ?)",
        {run_id_, run_name_, config, time});
  } else if (kind == "log" || kind == "eval" || kind == "finish") {
    log(line);
  } else if (kind == "dev" && line.value("device", -1) >= 0) {
    const std::string gpu = fmt::format("gpu/{}/", line.value("device", 0));
    Json values = Json::object();
    for (const auto& [own, theirs] : std::initializer_list<std::pair<const char*, const char*>>{
             {"util", "utilization"},
             {"temp_c", "temp"},
             {"power_w", "power"},
             {"power_limit_w", "power_limit"}}) {
      if (line.contains(own)) {
        values[gpu + theirs] = plain(line[own]);
      }
    }
    insert("INSERT INTO system_metrics (run_id, timestamp, run_name, metrics) VALUES (?, ?, ?, ?)",
           {run_id_, time, run_name_, values});
  } else if (kind == "event") {
    insert(
        "INSERT INTO alerts (run_id, timestamp, run_name, title, text, level, step) VALUES (?, ?, "
        "?, "
        "?, ?, ?, ?)",
        {run_id_, time, run_name_, line.value("event", line.value("code", "event")),
         line.value("text", ""), line.value("level", "info"), line.value("step", int64_t{0})});
  }
}

std::unique_ptr<Tracker> make_trackio(const TrainOptions& o, const Variables& variables,
                                      const Logger& log) {
  namespace fs = std::filesystem;
  fs::path folder = variables("TRACKIO_DIR");
  if (folder.empty()) {
    fs::path home = variables("HF_HOME");
    if (home.empty()) {
      const std::string cache = variables("XDG_CACHE_HOME");
      if (cache.empty() && variables("HOME").empty()) {
        throw Error(kDatabase, "neither TRACKIO_DIR nor HF_HOME nor HOME is set")
            .hint("export TRACKIO_DIR=runs");
      }
      home = (cache.empty() ? fs::path(variables("HOME")) / ".cache" : fs::path(cache)) /
             "huggingface";
    }
    folder = home / "trackio";
  }
  std::string project;
  for (const char c : o.project) {
    const bool kept = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-';
    project += kept ? std::string(1, c) : "";
  }
  const fs::path file = folder / ((project.empty() ? "default" : project) + ".db");
  auto tracker = std::make_unique<Trackio>(file, o.run_name.value_or(""));
  log.note(
      fmt::format("trackio: the run is written into {}; see it with  trackio show --project {}",
                  file.string(), o.project));
  return tracker;
}

}  // namespace sft
