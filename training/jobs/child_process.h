// A program started by this one: in a process group of its own, with nothing of ours open, and the first
// in line for the kernel's out-of-memory killer.
//
// Threads  a ChildProcess is thread-compatible; the functions are thread-safe
// Errors   NOT_FOUND, PERMISSION_DENIED what the program's path is · RESOURCE_EXHAUSTED processes or memory

#ifndef DEWEATHER_TRAINING_JOBS_CHILD_PROCESS_H_
#define DEWEATHER_TRAINING_JOBS_CHILD_PROCESS_H_

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace deweather {

// What a program may use of the machine, beside those who serve.
struct ChildLimits {
  bool idle = true;   // SCHED_IDLE: it computes when nobody else wants to
  int niceness = 10;  // [0, 19]; of no matter while idle
  int oom_score_adj = 1000;
};

struct ChildOptions {
  // The program first, looked up in PATH unless it holds a '/'; never through a shell.
  std::vector<std::string> arguments = {};
  std::vector<std::string> environment = {};  // "NAME=VALUE", on top of ours
  std::string folder = {};                    // to run in; empty: ours
  // Where stdout and stderr go, opened to append; empty: a pipe, read by Output().
  std::string output_path = {};
  ChildLimits limits = {};
};

// Which process, across lives of this program: a pid alone may be another's by now.
struct ProcessIdentity {
  int pid = 0;
  int64_t start_ticks = 0;
  std::string boot_id = {};
};

// NOT_FOUND: none of that pid runs. Any other error, here and below: nobody can tell, as without a free
// descriptor.
absl::StatusOr<ProcessIdentity> IdentityOf(int pid);

// Whether it runs for sure, and whether it is gone for sure: neither where nobody can tell.
bool IsAlive(const ProcessIdentity& process);
bool IsGone(const ProcessIdentity& process);

// Every process whose environment holds "NAME=VALUE": a program of ours and all that it started, in
// whatever group or session. Of this user's processes only; and whoever is in the process group `group`,
// unless it is 0.
absl::StatusOr<std::vector<ProcessIdentity>> ProcessesWith(const std::string& name,
                                                           const std::string& value, int group = 0);

// Resident bytes of those that are alive; what they share counts for each.
int64_t ResidentBytes(const std::vector<ProcessIdentity>& processes);

// How a program ended.
struct ChildExit {
  int status = 0;  // exit status, if no signal
  int signal = 0;  // that ended it; 0: none
  bool ok() const { return status == 0 && signal == 0; }
};
// "exit status 1", "killed by signal 9 (Killed)".
std::string Describe(const ChildExit& exit);

struct RunOptions {
  ChildOptions child = {};  // output_path is of no matter
  absl::Duration timeout = absl::Minutes(10);
  int64_t max_output_bytes = 1 << 20;
  int64_t max_memory_bytes = 0;  // resident, of the program itself; 0: no limit
  std::stop_token stop = {};
};

// Runs a program to its end and returns what it printed on stdout, the first max_output_bytes of it.
// INTERNAL: it ended otherwise than with status 0; the message says how, and the last line of its stderr.
// DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED (memory), CANCELLED: it was killed, and is gone. Its group is gone
// in any case.
absl::StatusOr<std::string> RunToEnd(const RunOptions& options);

// Whether Start finds it, by its path or in PATH, and may start it.
bool IsProgram(const std::string& program);

class ChildProcess {
 public:
  static absl::StatusOr<ChildProcess> Start(const ChildOptions& options);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  // Leaves the program alone; what it prints goes nowhere then. Until then its number, and its group's,
  // are no other's, ended or not.
  ~ChildProcess();

  const ProcessIdentity& identity() const { return identity_; }

  // The read end of the pipe, non-blocking; -1: there is none.
  int output() const { return output_; }

  // Whether it has ended, and how; never waits. To be called until it has.
  std::optional<ChildExit> Poll();

  // To its whole group, also to what is left of it after the program's end.
  void Signal(int signal) const;

 private:
  friend absl::StatusOr<std::string> RunToEnd(const RunOptions& options);

  ChildProcess(ProcessIdentity identity, int output);

  ProcessIdentity identity_;
  int output_ = -1;
  std::optional<ChildExit> exit_;
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_CHILD_PROCESS_H_
