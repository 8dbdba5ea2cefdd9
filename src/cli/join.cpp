#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <system_error>

#include "cli/environment.h"
#include "cli/failure.h"
#include "cli/launch.h"
#include "cli/launch_options.h"
#include "cli/terminal.h"
#include "comm/lost_rank.h"
#include "control/control_client.h"
#include "core/error.h"
#include "core/file.h"
#include "core/host_name.h"

namespace sft {

namespace {

// A host file or a secret. Never a pipe or a device, which could make us wait.
std::optional<std::string> small_file(const std::string& path) {
  constexpr uintmax_t kMost = uintmax_t{16} << 20;
  std::error_code failure;
  if (!fs::is_regular_file(path, failure) || fs::file_size(path, failure) > kMost || failure) {
    return std::nullopt;
  }
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return file ? std::optional(text.str()) : std::nullopt;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host.starts_with("127.");
}

}  // namespace

LaunchEnvironment surrounding_launch() {
  const Environment environment = read_environment();
  return resolve_launch({environment, small_file, host_name(), visible_machine()});
}

LaunchEnvironment first_of_ranks(LaunchEnvironment environment) {
  if (environment.role == LaunchEnvironment::Role::launcher) {
    environment.world = environment.nodes * environment.local_world;
  }
  return environment;
}

void require_secret(bool required, int parties, const std::string& token) {
  if (required && parties > 1 && token.empty()) {
    throw Error("C137", "--require_token is given, and this run has no secret")
        .hint("openssl rand -hex 32 > token; SFT_TOKEN_FILE=token on every machine");
  }
}

std::string no_secret_line(int port) {
  return fmt::format(
      "this run has no secret (SFT_TOKEN): until all are here, whoever reaches port {} can take a "
      "place in it; later newcomers are refused",
      port);
}

std::unique_ptr<RankControl> join_ranks(const LaunchEnvironment& e, double timeout,
                                        Terminal& terminal) {
  if (e.world == 1) {
    return local_control();
  }
  JoinSettings s;
  s.rank = e.rank;
  s.world = e.world;
  s.host = host_name();
  s.master = e.master_addr;
  s.ports = e.store_ports();
  s.serve = e.rank == 0 && e.source != LaunchEnvironment::Source::sft_launch;
  // All ranks of one machine find each other there, and nobody else finds them.
  s.loopback = e.world == e.local_world && is_loopback(e.master_addr);
  s.job = e.run_id();
  s.token = e.token;
  s.attempt = e.attempt;
  s.operation_timeout = timeout;
  s.waits = [&terminal](const std::string& text) { terminal.say(text); };
  return join_run(s);
}

void run_as_rank(RankControl& control, const std::function<void()>& work) {
  try {
    work();
    control.finish();
  } catch (const Error& e) {
    // A connection to another rank that breaks off is not the cause, nor is a GPU that fails when
    // another's memory goes: who was lost is known soon.
    constexpr RankControl::Seconds kSoon(3);
    if (const auto cause = may_follow_another(e) ? control.failure(kSoon) : std::nullopt) {
      throw Error(*cause);
    }
    control.fail(e);
    throw;
  } catch (const std::exception& e) {
    control.fail(error_of(e));
    throw;
  }
}

}  // namespace sft
