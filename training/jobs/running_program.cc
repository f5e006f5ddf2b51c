#include "training/jobs/running_program.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "training/jobs/job_folder.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr size_t kOutputBytes = 64 << 10;

std::string TrainPath() {
  std::error_code error;
  const fs::path ours = fs::read_symlink("/proc/self/exe", error);
  return (ours.parent_path() / "deweather-train").string();
}

// Threads that wait by spinning would take time from those who serve.
std::vector<std::string> EnvironmentOf(const std::string& id, const std::string& jobs,
                                       const TrainingServiceOptions& training) {
  std::vector<std::string> environment = {absl::StrCat(kJobVariable, "=", id),
                                          absl::StrCat(kJobsVariable, "=", jobs),
                                          "OMP_WAIT_POLICY=PASSIVE"};
  if (training.threads > 0) {
    environment.push_back(absl::StrCat("OMP_NUM_THREADS=", training.threads));
  }
  if (!training.gpu.empty()) {
    environment.push_back(absl::StrCat("CUDA_VISIBLE_DEVICES=", training.gpu));
  }
  return environment;
}

std::string ReadOutput(int pipe) {
  std::string text(kOutputBytes, '\0');
  const ssize_t got = TEMP_FAILURE_RETRY(read(pipe, text.data(), text.size()));
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

// While `child` is not given away its group is no other's.
absl::StatusOr<std::vector<ProcessIdentity>> ProcessesOf(const ChildProcess& child,
                                                         const std::string& id) {
  return ProcessesWith(kJobVariable, id, child.identity().pid);
}

bool IsLeft(const ChildProcess& child, const std::string& id) {
  const absl::StatusOr<std::vector<ProcessIdentity>> left = ProcessesOf(child, id);
  return !left.ok() || !left->empty();
}

// While it lives its group is told alone: torchrun tells its workers itself.
void SignalAll(ChildProcess& child, const std::string& id, int signal) {
  child.Signal(signal);
  if (signal != SIGKILL && !child.Poll()) return;
  const absl::StatusOr<std::vector<ProcessIdentity>> marked = ProcessesWith(kJobVariable, id);
  if (!marked.ok()) return;  // it is tried again: they are left
  for (const ProcessIdentity& process : *marked) SignalProcess(process, signal);
}

int64_t BytesOf(const ChildProcess& child, const std::string& id) {
  return ResidentBytes(ProcessesOf(child, id).value_or(std::vector<ProcessIdentity>{}));
}

}  // namespace

absl::Status CheckTrainProgram() {
  const std::string program = TrainPath();
  if (IsProgram(program)) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrFormat("'%s', which runs jobs, is not there or cannot be started; a server without "
                      "it needs --no-jobs",
                      program));
}

ChildOptions TrainProgram(const std::string& id, const std::string& jobs,
                          const TrainingServiceOptions& training) {
  return {.arguments = {TrainPath()},
          .environment = EnvironmentOf(id, jobs, training),
          .limits = {.idle = training.idle, .niceness = training.niceness}};
}

ChildOptions ProgramOf(const std::string& id, const std::string& jobs,
                       const TrainingServiceOptions& training) {
  ChildOptions options = TrainProgram(id, jobs, training);
  if (!training.launch.empty()) options.arguments = training.launch;
  for (std::string argument : {std::string("run"), std::string("--config"), JobConfigPath(jobs, id),
                               std::string("--progress"), std::string("lines")}) {
    options.arguments.push_back(std::move(argument));
  }
  return options;
}

void SetTrace(const std::string& trace_parent, ChildOptions* child) {
  if (trace_parent.empty()) return;
  child->environment.push_back(absl::StrCat(kTraceVariable, "=", trace_parent));
}

absl::StatusOr<RunningProgram> StartProgram(const std::string& id, const ChildOptions& options) {
  DW_ASSIGN_OR_RETURN(ChildProcess started, ChildProcess::Start(options));
  const auto child = std::make_shared<ChildProcess>(std::move(started));
  return RunningProgram{.identity = child->identity(),
                        .poll = [child] { return child->Poll(); },
                        .signal = [child, id](int signal) { SignalAll(*child, id, signal); },
                        .resident_bytes = [child, id] { return BytesOf(*child, id); },
                        .output = [child] { return ReadOutput(child->output()); },
                        .left = [child, id] { return IsLeft(*child, id); }};
}

// By a descriptor (glibc 2.36 declares its functions for C alone): between looking and sending its number
// cannot become another's.
void SignalProcess(const ProcessIdentity& process, int signal) {
  const int descriptor = static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0));
  if (descriptor < 0) return;
  if (IsAlive(process)) syscall(SYS_pidfd_send_signal, descriptor, signal, nullptr, 0);
  close(descriptor);
}

}  // namespace deweather
