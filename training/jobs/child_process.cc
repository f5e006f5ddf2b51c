#include "training/jobs/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "model/base/status_macros.h"
#include "model/base/stopwatch.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPipeBytes = 65536;                      // that a pipe holds
constexpr size_t kProcBytes = 8 << 20;                    // of a file of /proc, at most
constexpr int64_t kErrorBytes = 4096;                     // of stderr that are kept
constexpr absl::Duration kLook = absl::Milliseconds(20);  // between looks at a program
constexpr absl::Duration kStarting = absl::Seconds(2);    // that programs may take for it
constexpr int kUnknownStatus = 255;  // of a program that somebody else waited for

void Close(int& file) {
  if (file >= 0) close(std::exchange(file, -1));
}

// --- what /proc says ---

std::string ProcPath(int pid, std::string_view name) {
  return absl::StrFormat("/proc/%d/%s", pid, name);
}

absl::Status ProcError(const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot read '", path, "'"));
}

// Whether the process is gone or another user's; any other error: nobody can tell.
bool IsNoneOfOurs(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsPermissionDenied(status);
}

absl::StatusOr<std::string> ReadProc(const std::string& path) {
  int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return ProcError(path);
  const absl::Cleanup close_file = [&file] { Close(file); };
  std::string text;
  std::array<char, kPipeBytes> piece;
  while (text.size() < kProcBytes) {
    const ssize_t got = TEMP_FAILURE_RETRY(read(file, piece.data(), piece.size()));
    if (got < 0) return ProcError(path);
    if (got == 0) break;
    text.append(piece.data(), got);
  }
  return text;
}

const std::string& BootId() {
  static const std::string id(
      absl::StripAsciiWhitespace(ReadProc("/proc/sys/kernel/random/boot_id").value_or("")));
  return id;
}

struct Stat {
  bool ended = false;     // but not waited for
  bool starting = false;  // its program has no environment yet
  int group = 0;
  int64_t start_ticks = 0;
};

// "PID (COMMAND) STATE PPID ..."; the command may hold anything, also blanks and parentheses.
absl::StatusOr<Stat> ReadStat(int pid) {
  DW_ASSIGN_OR_RETURN(const std::string text, ReadProc(ProcPath(pid, "stat")));
  const size_t command_end = std::min(text.rfind(") "), text.size());
  const std::vector<std::string> fields = absl::StrSplit(text.substr(command_end), ' ');
  // Fields 3, 5, 22, 23 and 51 of proc(5).
  constexpr size_t kState = 1, kGroup = 3, kStartTime = 20, kMemory = 21, kEnvironmentEnd = 49;
  Stat stat;
  if (fields.size() <= kEnvironmentEnd || !absl::SimpleAtoi(fields[kGroup], &stat.group) ||
      !absl::SimpleAtoi(fields[kStartTime], &stat.start_ticks)) {
    return absl::InternalError(absl::StrCat("/proc says of ", pid, ": ", text));
  }
  stat.ended = fields[kState] == "Z" || fields[kState] == "X";
  stat.starting = !stat.ended && fields[kEnvironmentEnd] == "0" && fields[kMemory] != "0";
  return stat;
}

bool IsSame(const ProcessIdentity& a, const ProcessIdentity& b) {
  return a.pid == b.pid && a.start_ticks == b.start_ticks && a.boot_id == b.boot_id;
}

// Of a child, also of one that has ended.
ProcessIdentity IdentityOfChild(int pid) {
  return {pid, ReadStat(pid).value_or(Stat{}).start_ticks, BootId()};
}

// A program that is just being started is waited for: it may be late where others have the processors, and
// must not be missed.
absl::StatusOr<std::string> EnvironmentOf(int pid, absl::Time deadline) {
  while (true) {
    DW_ASSIGN_OR_RETURN(std::string text, ReadProc(ProcPath(pid, "environ")));
    if (!text.empty()) return text;
    DW_ASSIGN_OR_RETURN(const Stat stat, ReadStat(pid));
    if (!stat.starting) return text;
    if (absl::Now() > deadline) {
      return absl::UnavailableError(absl::StrCat("process ", pid, " is still being started"));
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
}

bool HasEntry(std::string_view environment, std::string_view entry) {
  while (!environment.empty()) {
    const size_t end = std::min(environment.find('\0'), environment.size());
    if (environment.substr(0, end) == entry) return true;
    environment.remove_prefix(std::min(end + 1, environment.size()));
  }
  return false;
}

struct Wanted {
  std::string entry;  // of the environment
  int group = 0;
  absl::Time deadline;  // for those that are being started
};

// IsNoneOfOurs: it is not wanted.
absl::StatusOr<ProcessIdentity> IdentityIfWanted(int pid, const Wanted& wanted) {
  DW_ASSIGN_OR_RETURN(const Stat stat, ReadStat(pid));
  // Before its environment: what took its number in between would not be taken for it.
  const ProcessIdentity process = {pid, stat.start_ticks, BootId()};
  if (stat.ended) return absl::NotFoundError("it has ended");
  if (wanted.group != 0 && stat.group == wanted.group) return process;
  DW_ASSIGN_OR_RETURN(const std::string environment, EnvironmentOf(pid, wanted.deadline));
  if (HasEntry(environment, wanted.entry)) return process;
  return absl::NotFoundError("it is another's");
}

// --- starting ---

struct Pipe {
  Pipe() = default;
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    Close(read_end);
    Close(write_end);
  }

  // Reading does not wait.
  absl::Status Open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "cannot make a pipe");
    read_end = ends[0];
    write_end = ends[1];
    if (fcntl(read_end, F_SETFL, O_NONBLOCK) == 0) return absl::OkStatus();
    return absl::ErrnoToStatus(errno, "cannot set up a pipe");
  }

  int read_end = -1;
  int write_end = -1;
};

std::string NameOf(const std::string& entry) { return entry.substr(0, entry.find('=') + 1); }

// Ours, but for the names that are given anew, for systemd's socket, to which the server alone speaks, and for
// the trace in which it was started.
std::vector<std::string> EnvironmentFor(const ChildOptions& options) {
  std::vector<std::string> entries = options.environment;
  for (char** ours = environ; *ours != nullptr; ++ours) {
    const std::string name = NameOf(*ours);
    const bool given = std::any_of(options.environment.begin(), options.environment.end(),
                                   [&](const std::string& entry) { return NameOf(entry) == name; });
    const bool our_own = name == "NOTIFY_SOCKET=" || name == "TRACEPARENT=";
    if (!given && !our_own) entries.push_back(*ours);
  }
  return entries;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// The server blocks SIGTERM and ignores SIGPIPE; its programs do not. They stay in its session: where the
// kernel groups by session (sched_autogroup), another one would have a share like ours, however nice it is.
void SetAttributes(posix_spawnattr_t* attributes) {
  sigset_t signals;
  sigfillset(&signals);
  posix_spawnattr_setsigdefault(attributes, &signals);
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(attributes, &signals);
  posix_spawnattr_setpgroup(attributes, 0);
  posix_spawnattr_setflags(attributes,
                           POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
}

// stdout and stderr before stdin: `out` may be 0 where ours is closed.
void SetFiles(const std::string& folder, int out, int err, posix_spawn_file_actions_t* files) {
  posix_spawn_file_actions_adddup2(files, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(files, err, STDERR_FILENO);
  posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(files, STDERR_FILENO + 1);
  if (!folder.empty()) posix_spawn_file_actions_addchdir_np(files, folder.c_str());
}

// errno's number; 0: it runs.
int Spawn(const ChildOptions& options, int out, int err, pid_t* pid) {
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t files;
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_init(&files);
  SetAttributes(&attributes);
  SetFiles(options.folder, out, err, &files);
  std::vector<std::string> arguments = options.arguments;
  std::vector<std::string> environment = EnvironmentFor(options);
  const int error = posix_spawnp(pid, arguments[0].c_str(), &files, &attributes,
                                 Pointers(arguments).data(), Pointers(environment).data());
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  return error;
}

absl::Status SpawnError(int error, const ChildOptions& options) {
  const std::string what =
      absl::StrCat("cannot start '", options.arguments[0],
                   options.folder.empty() ? "'" : absl::StrCat("' in '", options.folder, "'"));
  if (error != EAGAIN) return absl::ErrnoToStatus(error, what);
  return absl::ResourceExhaustedError(absl::StrCat(what, ": there are too many processes"));
}

// As good as it goes: no program fails for want of a limit. It has only just begun, and what it starts
// inherits them. (posix_spawn refuses SCHED_IDLE.)
void Limit(int pid, const ChildLimits& limits) {
  const sched_param none = {};
  if (limits.idle) sched_setscheduler(pid, SCHED_IDLE, &none);
  setpriority(PRIO_PGRP, pid, limits.niceness);
  int file = open(ProcPath(pid, "oom_score_adj").c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  const std::string text = absl::StrCat(limits.oom_score_adj);
  [[maybe_unused]] const ssize_t written = write(file, text.data(), text.size());
  Close(file);
}

absl::StatusOr<ProcessIdentity> StartProgram(const ChildOptions& options, int out, int err) {
  if (options.arguments.empty()) return absl::InvalidArgumentError("there is no program to start");
  pid_t pid = 0;
  const int error = Spawn(options, out, err, &pid);
  if (error != 0) return SpawnError(error, options);
  Limit(pid, options.limits);
  return IdentityOfChild(pid);
}

// --- running to the end ---

// A stream of the program: the beginning of what it prints, or the end.
struct Stream {
  const int64_t limit_bytes;
  const bool keep_end;
  Pipe pipe = {};
  std::string text = {};

  void Read() {
    std::array<char, kPipeBytes> piece;
    const ssize_t got = TEMP_FAILURE_RETRY(read(pipe.read_end, piece.data(), piece.size()));
    if (got == 0) Close(pipe.read_end);
    if (got > 0) Keep({piece.data(), static_cast<size_t>(got)});
  }

  void Keep(std::string_view piece) {
    const auto limit = static_cast<size_t>(limit_bytes);
    text += keep_end ? piece : piece.substr(0, limit - text.size());
    if (text.size() > limit) text.erase(0, text.size() - limit);
  }
};

absl::Status AwaitEnd(ChildProcess& child, const RunOptions& options, Stream& out, Stream& err) {
  const Stopwatch watch;
  while (!child.Poll()) {
    const std::string& program = options.child.arguments[0];
    if (options.stop.stop_requested()) {
      return absl::CancelledError(absl::StrCat("'", program, "' was stopped"));
    }
    if (watch.elapsed() >= options.timeout) {
      return absl::DeadlineExceededError(absl::StrFormat("'%s' took longer than %s", program,
                                                         absl::FormatDuration(options.timeout)));
    }
    const int64_t bytes =
        options.max_memory_bytes > 0 ? ResidentBytes({child.identity()}) : options.max_memory_bytes;
    if (bytes > options.max_memory_bytes) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "'%s' used %d bytes of memory; it may use %d", program, bytes, options.max_memory_bytes));
    }
    std::array<pollfd, 2> ready = {
        {{out.pipe.read_end, POLLIN, 0}, {err.pipe.read_end, POLLIN, 0}}};
    poll(ready.data(), ready.size(), static_cast<int>(absl::ToInt64Milliseconds(kLook)));
    out.Read();
    err.Read();
  }
  return absl::OkStatus();
}

// In ASCII, for messages. Empty: there is none.
std::string LastLine(const std::string& text) {
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipWhitespace());
  std::string line = lines.empty() ? "" : lines.back();
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return line;
}

}  // namespace

absl::StatusOr<ProcessIdentity> IdentityOf(int pid) {
  DW_ASSIGN_OR_RETURN(const Stat stat, ReadStat(pid));
  if (!stat.ended) return ProcessIdentity{pid, stat.start_ticks, BootId()};
  return absl::NotFoundError(absl::StrCat("process ", pid, " has ended"));
}

bool IsAlive(const ProcessIdentity& process) {
  const absl::StatusOr<ProcessIdentity> now = IdentityOf(process.pid);
  return now.ok() && IsSame(*now, process);
}

bool IsGone(const ProcessIdentity& process) {
  const absl::StatusOr<ProcessIdentity> now = IdentityOf(process.pid);
  return now.ok() ? !IsSame(*now, process) : IsNoneOfOurs(now.status());
}

absl::StatusOr<std::vector<ProcessIdentity>> ProcessesWith(const std::string& name,
                                                           const std::string& value, int group) {
  const Wanted wanted = {absl::StrCat(name, "=", value), group, absl::Now() + kStarting};
  std::vector<ProcessIdentity> found;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    int pid = 0;
    if (!absl::SimpleAtoi(entry->path().filename().string(), &pid)) continue;
    const absl::StatusOr<ProcessIdentity> process = IdentityIfWanted(pid, wanted);
    if (process.ok()) found.push_back(*process);
    if (!process.ok() && !IsNoneOfOurs(process.status())) return process.status();
  }
  if (error) return absl::ErrnoToStatus(error.value(), "cannot list '/proc'");
  return found;
}

int64_t ResidentBytes(const std::vector<ProcessIdentity>& processes) {
  int64_t pages = 0;
  for (const ProcessIdentity& process : processes) {
    const std::vector<std::string> sizes =
        absl::StrSplit(ReadProc(ProcPath(process.pid, "statm")).value_or(""), ' ');
    int64_t resident = 0;
    if (sizes.size() < 2 || !absl::SimpleAtoi(sizes[1], &resident)) continue;
    if (IsAlive(process)) pages += resident;
  }
  return pages * sysconf(_SC_PAGESIZE);
}

std::string Describe(const ChildExit& exit) {
  if (exit.signal == 0) return absl::StrCat("exit status ", exit.status);
  const char* name = sigdescr_np(exit.signal);
  return absl::StrFormat("killed by signal %d (%s)", exit.signal,
                         name == nullptr ? "no name" : name);
}

bool IsProgram(const std::string& program) {
  const char* const path = std::getenv("PATH");
  std::vector<std::string> folders = absl::StrSplit(path == nullptr ? "/bin:/usr/bin" : path, ':');
  if (program.find('/') != program.npos) folders = {""};
  return std::any_of(folders.begin(), folders.end(), [&](const std::string& folder) {
    const std::string file = (fs::path(folder) / program).string();
    std::error_code ignored;
    return fs::is_regular_file(file, ignored) && access(file.c_str(), X_OK) == 0;
  });
}

absl::StatusOr<ChildProcess> ChildProcess::Start(const ChildOptions& options) {
  Pipe pipe;
  if (options.output_path.empty()) {
    DW_RETURN_IF_ERROR(pipe.Open());
  } else {
    const char* path = options.output_path.c_str();
    pipe.write_end = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (pipe.write_end < 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot open '", options.output_path, "'"));
    }
  }
  DW_ASSIGN_OR_RETURN(ProcessIdentity identity,
                      StartProgram(options, pipe.write_end, pipe.write_end));
  return ChildProcess(std::move(identity), std::exchange(pipe.read_end, -1));
}

ChildProcess::ChildProcess(ProcessIdentity identity, int output)
    : identity_(std::move(identity)), output_(output) {}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : identity_(std::exchange(other.identity_, {})),
      output_(std::exchange(other.output_, -1)),
      exit_(other.exit_) {}

ChildProcess::~ChildProcess() {
  Close(output_);
  siginfo_t ignored;
  waitid(P_PID, identity_.pid, &ignored, WEXITED | WNOHANG);
}

// WNOWAIT: while the program is not waited for, its number and its group's are no other's.
std::optional<ChildExit> ChildProcess::Poll() {
  if (exit_) return exit_;
  siginfo_t info = {};
  if (waitid(P_PID, identity_.pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
    exit_ = ChildExit{.status = kUnknownStatus};
  } else if (info.si_pid != 0) {
    exit_ = info.si_code == CLD_EXITED ? ChildExit{.status = info.si_status}
                                       : ChildExit{.signal = info.si_status};
  }
  return exit_;
}

// To our child only, whether it has ended or not: its number cannot be another's (see Poll). What is left
// of its group is reached after its end too.
void ChildProcess::Signal(int signal) const {
  siginfo_t ignored;
  const bool ours = waitid(P_PID, identity_.pid, &ignored, WEXITED | WNOHANG | WNOWAIT) == 0;
  if (ours) kill(-identity_.pid, signal);
}

absl::StatusOr<std::string> RunToEnd(const RunOptions& options) {
  Stream out{.limit_bytes = options.max_output_bytes, .keep_end = false};
  Stream err{.limit_bytes = kErrorBytes, .keep_end = true};
  DW_RETURN_IF_ERROR(out.pipe.Open());
  DW_RETURN_IF_ERROR(err.pipe.Open());
  DW_ASSIGN_OR_RETURN(ProcessIdentity identity,
                      StartProgram(options.child, out.pipe.write_end, err.pipe.write_end));
  Close(out.pipe.write_end);
  Close(err.pipe.write_end);
  ChildProcess child(std::move(identity), -1);
  const absl::Status ended = AwaitEnd(child, options, out, err);
  child.Signal(SIGKILL);  // what it left behind, too
  siginfo_t ignored;
  TEMP_FAILURE_RETRY(waitid(P_PID, child.identity().pid, &ignored, WEXITED | WNOWAIT));
  if (!ended.ok()) return ended;
  out.Read();  // what it printed between the last look and its end
  err.Read();
  if (child.Poll()->ok()) return std::move(out.text);
  const std::string said = LastLine(err.text);
  return absl::InternalError(absl::StrCat("'", options.child.arguments[0], "': ",
                                          Describe(*child.Poll()), said.empty() ? "" : ": ", said));
}

}  // namespace deweather
