// An allocation is not a launch: a batch script or a shell on machines that a scheduler has set
// aside has its variables, and no rank.
#include <fmt/format.h>

#include <algorithm>

#include "control/launch_variables.h"

namespace sft {

namespace {

struct Scheduler {
  const char *name, *job;  // the variable that says: this is one
  const char* tasks[2];    // how many processes, or machines, are meant to work; the larger counts
  const char* hosts;       // a file with a line for each process
  const char* starter;
};

constexpr Scheduler kSchedulers[] = {
    {"Slurm", "SLURM_JOB_ID", {"SLURM_NTASKS", "SLURM_JOB_NUM_NODES"}, "", "srun sft …"},
    {"LSF", "LSB_JOBID", {"LSB_DJOB_NUMPROC", ""}, "LSB_DJOB_HOSTFILE", "mpirun sft …"},
    {"PBS", "PBS_JOBID", {"PBS_NP", "PBS_NUM_NODES"}, "PBS_NODEFILE", "mpirun sft …"},
    {"Grid Engine", "PE_HOSTFILE", {"NSLOTS", "NHOSTS"}, "", "mpirun sft …"},
    {"the MPI operator",
     "OMPI_MCA_orte_default_hostfile",
     {"", ""},
     "OMPI_MCA_orte_default_hostfile",
     "mpirun sft …"},
};

long lines_of(const LaunchVariables& env, const char* variable) {
  const auto file =
      *variable != '\0' && env.has(variable) ? env.inputs().file(env.text(variable)) : std::nullopt;
  return file ? static_cast<long>(std::ranges::count(*file, '\n')) : 0;
}

}  // namespace

std::string allocation_note(const LaunchVariables& env) {
  for (const Scheduler& s : kSchedulers) {
    if (!env.has(s.job)) {
      continue;
    }
    long tasks = lines_of(env, s.hosts);
    for (const char* name : s.tasks) {
      tasks = std::max(tasks, *name == '\0' ? 0 : env.hint(name));
    }
    if (tasks > 1) {
      return fmt::format(
          "{} has set {} processes or machines aside, and nothing has started ranks on them: this "
          "process trains alone ({} starts them)",
          s.name, tasks, s.starter);
    }
  }
  if (env.has("JOB_COMPLETION_INDEX")) {
    return fmt::format(
        "this is pod {} of a Kubernetes job, and nothing says how many take part: this process "
        "trains alone (PET_NNODES and PET_MASTER_ADDR would join them)",
        env.text("JOB_COMPLETION_INDEX").substr(0, 20));
  }
  return {};
}

}  // namespace sft
