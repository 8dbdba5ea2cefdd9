#include "report/trackers/tensorboard.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>

#include "core/error.h"
#include "core/host_name.h"
#include "io/checksum.h"
#include "report/trackers/proto_message.h"
#include "settings/train_options.h"

namespace sft {
namespace {

double system_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

uint32_t masked(std::string_view bytes) {
  const uint32_t crc = crc32c(0, bytes.data(), bytes.size());
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

// Field numbers are those of TensorFlow's event.proto, summary.proto and tensor.proto.
ProtoMessage event(double time, int64_t step) {
  ProtoMessage out;
  out.float64(1, time);
  if (step != 0) {
    out.integer(2, step);
  }
  return out;
}

ProtoMessage text_value(std::string_view tag, std::string_view text) {
  constexpr int kString = 7;
  const ProtoMessage shape = ProtoMessage().message(2, ProtoMessage().integer(1, 1));
  return ProtoMessage()
      .text(1, tag)
      .message(8, ProtoMessage().integer(1, kString).message(2, shape).text(8, text))
      .message(9, ProtoMessage().message(1, ProtoMessage().text(1, "text")));
}

// A google.protobuf.Value.
ProtoMessage any_value(const Json& value) {
  if (value.is_boolean()) {
    return ProtoMessage().integer(4, value.get<bool>() ? 1 : 0);
  }
  if (value.is_number()) {
    return ProtoMessage().float64(2, value.get<double>());
  }
  return ProtoMessage().text(3, value.is_string() ? value.get<std::string>() : to_text(value));
}

// What the table of hyperparameters is made of: field numbers of its plugin_data.proto.
ProtoMessage hparams_value(std::string_view tag, int field, const ProtoMessage& data) {
  const ProtoMessage plugin =
      ProtoMessage().text(1, "hparams").message(2, ProtoMessage().message(field, data));
  return ProtoMessage().text(1, tag).message(9, ProtoMessage().message(1, plugin));
}

ProtoMessage session_start(const Json& config, double time) {
  ProtoMessage info;
  for (const auto& [name, value] : config.items()) {
    if (!value.is_null()) {
      info.message(1, ProtoMessage().text(1, name).message(2, any_value(value)));
    }
  }
  return hparams_value("_hparams_/session_start_info", 3, info.float64(5, time));
}

ProtoMessage session_end(bool failed, double time) {
  constexpr int kSuccess = 1, kFailure = 2;
  return hparams_value("_hparams_/session_end_info", 4,
                       ProtoMessage().integer(1, failed ? kFailure : kSuccess).float64(2, time));
}

// What a model has written, as Markdown.
std::string sample_text(const Json& line) {
  std::string out = fmt::format("**{}**\n\n{}", line.value("prompt", ""), line.value("text", ""));
  if (line.contains("reference")) {
    out += fmt::format("\n\n*{}*", line.value("reference", ""));
  }
  return out;
}

// Lines of four spaces are code in Markdown, which is what TensorBoard shows text as.
std::string as_code(const Json& json) {
  std::string out = "    ";
  for (const char c : to_text(json, 2)) {
    out += c;
    if (c == '\n') {
      out += "    ";
    }
  }
  return out;
}

}  // namespace

std::string framed_record(std::string_view bytes) {
  std::string out;
  put_little_endian(out, bytes.size(), 8);
  put_little_endian(out, masked(out), 4);
  out += bytes;
  put_little_endian(out, masked(bytes), 4);
  return out;
}

TensorBoard::TensorBoard(const std::filesystem::path& folder, double now)
    : file_(folder / fmt::format("events.out.tfevents.{}.{}.{}.0", static_cast<int64_t>(now),
                                 host_name(), ::getpid())) {
  file_.append(framed_record(event(now, 0).text(3, "brain.Event:2").bytes()));
}

void TensorBoard::line(const Json& line) {
  const std::string kind = line.value("k", "");
  const double time = line.value("t", 0.0);
  const int64_t step = line.value("step", int64_t{0});
  ProtoMessage summary;
  if (kind == "run") {
    if (line.contains("resumed_from")) {  // points of later steps give way to this run's
      constexpr int kStart = 1;
      file_.append(
          framed_record(event(time, step).message(7, ProtoMessage().integer(1, kStart)).bytes()));
    }
    summary.message(1, text_value("args/text_summary", as_code(line.value("config", Json()))));
    summary.message(1,
                    text_value("model_config/text_summary", as_code(line.value("model", Json()))));
    summary.message(1, session_start(line.value("config", Json::object()), time));
  } else if (kind == "sample") {
    summary.message(
        1, text_value(fmt::format("samples/{}/text_summary", line.value("index", int64_t{0})),
                      sample_text(line)));
  } else if (kind == "end") {
    summary.message(1, session_end(line.value("status", "") == "failed", time));
  } else if (kind == "log" || kind == "eval" || kind == "finish") {
    for (const auto& [name, value] : tracked_values(line)) {
      summary.message(1, ProtoMessage().text(1, name).float32(2, static_cast<float>(value)));
    }
  } else {
    return;
  }
  file_.append(framed_record(event(time, step).message(5, summary).bytes()));
}

std::unique_ptr<Tracker> make_tensorboard(const TrainOptions& o, const Variables& variables,
                                          const Logger& log) {
  const double now = system_now();
  std::string folder = variables("TENSORBOARD_LOGGING_DIR");
  if (folder.empty()) {
    folder = o.legacy.logging_dir.value_or("");
  }
  if (folder.empty()) {
    if (const auto runs = std::filesystem::path(o.output_dir) / "runs";
        std::filesystem::is_symlink(std::filesystem::symlink_status(runs))) {
      throw Error("S001", fmt::format("{} is a link, which is not followed", runs.string()));
    }
    folder = fmt::format("{}/runs/{:%b%d_%H-%M-%S}_{}", o.output_dir,
                         fmt::localtime(static_cast<std::time_t>(now)), host_name());
  }
  auto tracker = std::make_unique<TensorBoard>(folder, now);
  log.note(fmt::format("tensorboard: events go to {}", folder));
  return tracker;
}

}  // namespace sft
