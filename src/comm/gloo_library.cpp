#include <fmt/format.h>

#include <csignal>

#include "comm/mesh.h"
#include "core/installed.h"

namespace sft {

namespace {

constexpr std::string_view kLibrary = "libsft_gloo.so";

OpenGloo load() {
  const LoadedFunction found = load_function(kLibrary, kOpenGloo);
  if (found.function == nullptr) {
    throw Error("C140", found.there.empty()
                            ? fmt::format("ranks on CPUs need {}, which is not beside the program",
                                          kLibrary)
                            : fmt::format("ranks on CPUs need {}, which cannot be loaded: {}",
                                          found.there, found.reason))
        .hint(fmt::format("build it where Gloo is installed (tools/install_deps.sh && make); it "
                          "belongs into {}",
                          places_of(kLibrary).front().parent_path().string()));
  }
  return reinterpret_cast<OpenGloo>(found.function);
}

}  // namespace

bool gloo_built() {
#ifdef SFT_GLOO
  return true;
#else
  return false;
#endif
}

std::unique_ptr<Communicator> gloo_communicator(const ProcessGroup& group) {
  if (!gloo_built()) {
    throw Error("C140", "this program was built without Gloo, which ranks on CPUs need")
        .hint("install libgloo-dev and build again");
  }
  // Writing to a connection whose other end has gone must be an error, not the end of the process.
  struct sigaction now{};
  if (::sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) {
    ::signal(SIGPIPE, SIG_IGN);
  }
  return mesh_communicator(group, load());
}

}  // namespace sft
