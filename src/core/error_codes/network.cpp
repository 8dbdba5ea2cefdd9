#include "core/error_codes/families.h"

namespace sft {

namespace {

constexpr CodeRow kJoiningARun[] = {
    {"N010", "what listens there is another run", "give each run a MASTER_PORT of its own"},
    {"N011", "this attempt of the run is over", "nothing: the next attempt goes on"},
    {"N013", "two processes have one rank or node, or two runs one port",
     "give each run a MASTER_PORT of its own"},
    {"N014", "a rank, a node or the run's coordinator was not there in time",
     "look at that machine; the message names who is missing"},
    {"N022", "a connection speaks something else than this program's protocol",
     "see that nothing else uses the port"},
    {"N023", "no port can be listened on", "choose another MASTER_PORT, or SFT_STORE_PORT"},
    {"N027", "a connection cannot be opened", "see that the hosts reach each other"},
    {"N041", "the ranks do not find each other",
     "name the network with GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME", Thrown::widely},
};

constexpr CodeRow kWhileItRuns[] = {
    {"N001", "another rank of this process has ended", "see its error"},
    {"N015", "the run's coordinator is lost or silent", "see the error of node 0"},
    {"N016", "a rank is lost or silent", "see that rank's machine: memory, power, network"},
    {"N017", "another rank stopped, for the reason given", "see its reason"},
    {"N018", "an operation lasted longer than `ddp_timeout`, or no rank got further in a step",
     "look at the rank that is behind"},
    {"N019", "a node is lost", "see that machine: power, network"},
    {"N024", "a rank or a node did not end in time", "end what is left there by hand"},
    {"N040", "the connection to another rank broke off, or this rank has ended",
     "that rank's own error is the cause"},
};

constexpr CodeRow kTheRunsStore[] = {
    {"N020", "a rank did not set what others wait for", "see that rank's error"},
    {"N021", "ranks did not come to a barrier", "see the ranks that are named"},
    {"N025", "the run's store is full, or too many requests wait", "keep less in it"},
    {"N026", "a value of the run's store is no number, or has grown too large", "use another key"},
};

constexpr CodeGroup kGroups[] = {
    {"Joining a run", kJoiningARun},
    {"While it runs", kWhileItRuns},
    {"The run's store", kTheRunsStore},
};

}  // namespace

CodeFamily network_codes() { return {'N', ExitCode::restart, "network and ranks", kGroups}; }

}  // namespace sft
