#include "core/error_codes/families.h"

namespace sft {

namespace {

constexpr CodeRow kFiles[] = {
    {"S001",
     "a file cannot be written, or not be read back: full disk, quota, permissions, a link or a "
     "folder in its place",
     "make room, or choose another place", Thrown::widely},
    {"S010", "a place that the run is to write to cannot be written, found before the work begins",
     "choose another --output_dir", Thrown::widely},
    {"S020", "a checkpoint cannot be renamed into place",
     "what was saved before is intact: look at the disk"},
    {"S021", "a checkpoint reads back otherwise than it was written",
     "the disk or its driver fails"},
    {"S030", "the hub's cache cannot be written", "set HF_HOME to a folder of your own"},
    {"S031", "the disk of the hub's cache is full", "make room, or move the cache with HF_HOME"},
    {"S040", "another run writes to this output_dir; its process and host are named",
     "wait for it, or choose another one"},
    {"S050",
     "a file that is mapped cannot be read any more: it was made shorter, or the disk fails",
     "leave files alone while they are used"},
    {"S060", "MLflow's server cannot be reached, refuses or is not named",
     "set MLFLOW_TRACKING_URI to the address of an mlflow server; the run goes on without it"},
    {"S061", "trackio's file cannot be written, or SQLite's library is missing",
     "install libsqlite3-0, or set TRACKIO_DIR; the run goes on without it"},
};

constexpr CodeRow kTheWayToTheHub[] = {
    {"S301", "the host's name is not known", "check the network and HF_ENDPOINT"},
    {"S302", "the host cannot be reached", "check the network, the proxy and HF_ENDPOINT"},
    {"S303", "the host is silent or too slow", "wait longer with HF_HUB_DOWNLOAD_TIMEOUT"},
    {"S304", "there is no trusted connection (TLS)",
     "install ca-certificates, or set SSL_CERT_FILE"},
    {"S305", "the connection broke off", "run the command again: it goes on where it stopped"},
    {"S306", "the proxy does not work", "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"},
    {"S307", "the hub asks for fewer requests", "wait some minutes; a token is allowed more"},
    {"S308", "the hub fails to answer (5xx)", "run it again later"},
    {"S309", "libcurl is missing or too old", "install libcurl4, or set HF_HUB_OFFLINE=1"},
};

constexpr CodeGroup kGroups[] = {
    {"Files", kFiles},
    {"The way to the hub", kTheWayToTheHub},
};

}  // namespace

CodeFamily saving_codes() {
  return {'S', ExitCode::io, "saving and input/output; the way to the hub", kGroups};
}

}  // namespace sft
