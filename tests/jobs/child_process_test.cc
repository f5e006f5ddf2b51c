#include "training/jobs/child_process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <functional>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "model/base/file.h"
#include "model/base/stopwatch.h"
#include "tests/clock_step.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr absl::Duration kPatience = absl::Seconds(30);
constexpr char kMark[] = "DEWEATHER_CHILD_TEST";

ChildOptions Shell(const std::string& script) { return {.arguments = {"sh", "-c", script}}; }

// With an entry in its environment that no other program has.
ChildOptions MarkedShell(const std::string& script, std::string* mark) {
  *mark = UniqueName("test-");
  ChildOptions options = Shell(script);
  options.environment = {absl::StrCat(kMark, "=", *mark)};
  return options;
}

std::vector<ProcessIdentity> Marked(const std::string& mark) {
  return ProcessesWith(kMark, mark).value();
}

bool Eventually(const std::function<bool()>& holds) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!holds()) {
    if (absl::Now() > deadline) return false;
    sched_yield();
  }
  return true;
}

// What it prints until `enough` says so, or until nobody prints any more.
std::string ReadUntil(const ChildProcess& child,
                      const std::function<bool(const std::string&)>& enough) {
  std::string text;
  const absl::Time deadline = absl::Now() + kPatience;
  while (!enough(text) && absl::Now() < deadline) {
    pollfd ready = {child.output(), POLLIN, 0};
    poll(&ready, 1, 1000);
    std::array<char, 4096> piece;
    const ssize_t got = read(child.output(), piece.data(), piece.size());
    if (got == 0) return text;
    if (got > 0) text.append(piece.data(), got);
  }
  return text;
}

std::string ReadLine(const ChildProcess& child) {
  return ReadUntil(child, [](const std::string& text) { return text.ends_with("\n"); });
}

ChildExit End(ChildProcess& child) {
  EXPECT_TRUE(Eventually([&] { return child.Poll().has_value(); }));
  return child.Poll().value_or(ChildExit{});
}

// What a program prints on stdout and stderr until its end.
std::string OutputOf(const ChildOptions& options) {
  absl::StatusOr<ChildProcess> child = ChildProcess::Start(options);
  EXPECT_TRUE(child.ok()) << child.status();
  if (!child.ok()) return "";
  std::string text = ReadUntil(*child, [](const std::string&) { return false; });
  EXPECT_TRUE(End(*child).ok());
  return text;
}

ChildExit ExitOf(const std::string& script) {
  absl::StatusOr<ChildProcess> child = ChildProcess::Start(Shell(script));
  EXPECT_TRUE(child.ok()) << child.status();
  return child.ok() ? End(*child) : ChildExit{};
}

// --- how it is started ---

TEST(ChildProcess, PrintsBothStreamsIntoThePipe) {
  EXPECT_EQ(OutputOf(Shell("echo out; echo err >&2")), "out\nerr\n");
}

TEST(ChildProcess, TellsHowItEnded) {
  EXPECT_TRUE(ExitOf("exit 0").ok());
  EXPECT_FALSE(ExitOf("exit 3").ok());
  EXPECT_EQ(Describe(ExitOf("exit 3")), "exit status 3");
  EXPECT_FALSE(ExitOf("kill -9 $$").ok());
  EXPECT_EQ(Describe(ExitOf("kill -9 $$")), "killed by signal 9 (Killed)");
}

TEST(ChildProcess, HasNothingOfOursOpen) {
  constexpr int kOurs = 100;
  ASSERT_EQ(dup2(STDERR_FILENO, kOurs), kOurs);  // not close-on-exec
  const absl::Cleanup close_it = [] { close(kOurs); };
  const std::vector<std::string> open = absl::StrSplit(
      OutputOf(Shell("for f in /proc/$$/fd/*; do echo ${f##*/}; done; readlink /proc/$$/fd/0")),
      '\n', absl::SkipEmpty());
  EXPECT_THAT(open, AllOf(Contains("0"), Contains("1"), Contains("2"), Not(Contains("100"))));
  EXPECT_EQ(open.back(), "/dev/null");
}

TEST(ChildProcess, LeadsAGroupOfItsOwnInOurSession) {
  absl::StatusOr<ChildProcess> child =
      ChildProcess::Start(Shell("cut -d' ' -f5,6 /proc/$$/stat; :"));
  ASSERT_TRUE(child.ok());
  EXPECT_EQ(ReadLine(*child), absl::StrCat(child->identity().pid, " ", getsid(0), "\n"));
  EXPECT_TRUE(End(*child).ok());
}

TEST(ChildProcess, BlocksAndIgnoresNoSignalThoughWeDo) {
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const auto pipe_handler = signal(SIGPIPE, SIG_IGN);
  const absl::Cleanup restore = [&] {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    signal(SIGPIPE, pipe_handler);
  };
  EXPECT_EQ(OutputOf({.arguments = {"grep", "SigBlk", "/proc/self/status"}}),
            "SigBlk:\t0000000000000000\n");
  const std::string ignored = OutputOf({.arguments = {"grep", "SigIgn", "/proc/self/status"}});
  constexpr uint64_t kNamed = 0x7fffffff;  // above them are the C library's own
  EXPECT_EQ(std::stoull(ignored.substr(ignored.find('\t')), nullptr, 16) & kNamed, 0u);
}

TEST(ChildProcess, ComputesWhenNobodyElseWantsToAndDiesFirst) {
  absl::StatusOr<ChildProcess> child = ChildProcess::Start({.arguments = {"sleep", "1000"}});
  ASSERT_TRUE(child.ok());
  const int pid = child->identity().pid;
  EXPECT_EQ(sched_getscheduler(pid), SCHED_IDLE);
  EXPECT_EQ(getpriority(PRIO_PROCESS, pid), 10);
  EXPECT_EQ(*ReadFile(absl::StrCat("/proc/", pid, "/oom_score_adj")), "1000\n");
  child->Signal(SIGKILL);
  EXPECT_EQ(End(*child).signal, SIGKILL);
}

TEST(ChildProcess, IsOnlyNiceIfItIsNotToBeIdle) {
  ChildOptions options = {.arguments = {"sleep", "1000"}};
  options.limits = {.idle = false, .niceness = 5, .oom_score_adj = 500};
  absl::StatusOr<ChildProcess> child = ChildProcess::Start(options);
  ASSERT_TRUE(child.ok());
  EXPECT_EQ(sched_getscheduler(child->identity().pid), SCHED_OTHER);
  EXPECT_EQ(getpriority(PRIO_PROCESS, child->identity().pid), 5);
  child->Signal(SIGKILL);
  EXPECT_EQ(End(*child).signal, SIGKILL);
}

TEST(ChildProcess, RunsInItsFolderWithItsEnvironmentOnTopOfOurs) {
  ChildOptions options = Shell("pwd; echo $PATH; echo \"$DEWEATHER_A\"; echo $HOME");
  options.folder = std::filesystem::canonical(NewFolder()).string();
  options.environment = {"DEWEATHER_A=x  y", "HOME=elsewhere"};
  EXPECT_EQ(OutputOf(options),
            absl::StrCat(options.folder, "\n", getenv("PATH"), "\nx  y\nelsewhere\n"));
}

TEST(ChildProcess, AppendsToAFile) {
  ChildOptions options = Shell("echo more; echo err >&2");
  options.output_path = NewFolder() + "/log";
  ASSERT_TRUE(WriteFileAtomically(options.output_path, "before\n").ok());
  absl::StatusOr<ChildProcess> child = ChildProcess::Start(options);
  ASSERT_TRUE(child.ok());
  EXPECT_EQ(child->output(), -1);
  EXPECT_TRUE(End(*child).ok());
  EXPECT_EQ(*ReadFile(options.output_path), "before\nmore\nerr\n");
}

TEST(ChildProcess, PassesArgumentsAsTheyAre) {
  EXPECT_EQ(OutputOf({.arguments = {"printf", "%s|", "a b", "$HOME", "", "*"}}), "a b|$HOME||*|");
}

TEST(ChildProcess, NamesAProgramThatCannotBeStarted) {
  const auto failure = [](const std::string& program) {
    return ChildProcess::Start({.arguments = {program}}).status();
  };
  EXPECT_TRUE(absl::IsNotFound(failure("/nowhere/program")));
  EXPECT_TRUE(absl::IsNotFound(failure("no-program-of-that-name")));
  EXPECT_THAT(std::string(failure("/nowhere/program").message()), HasSubstr("'/nowhere/program'"));
  const std::string text = NewFolder() + "/text";
  ASSERT_TRUE(WriteFileAtomically(text, "no program").ok());
  EXPECT_TRUE(absl::IsPermissionDenied(failure(text)));
  EXPECT_TRUE(absl::IsInvalidArgument(ChildProcess::Start({}).status()));
}

TEST(IsProgram, IsWhatStartFinds) {
  const std::string text = NewFolder() + "/text";
  ASSERT_TRUE(WriteFileAtomically(text, "no program").ok());
  for (const char* program : {"sh", "/bin/sh"}) EXPECT_TRUE(IsProgram(program)) << program;
  for (const std::string& other :
       {text, std::string("no-program-of-that-name"), std::string("/bin"),
        std::string("/nowhere/sh"), std::string()}) {
    EXPECT_FALSE(IsProgram(other)) << other;
  }
}

TEST(ChildProcess, NamesAFolderThatIsNotThere) {
  ChildOptions options = Shell(":");
  options.folder = "/nowhere";
  const absl::Status status = ChildProcess::Start(options).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("'/nowhere'"));
}

// --- how it is ended ---

TEST(ChildProcess, IgnoresSigtermButNotSigkillOfItsGroup) {
  std::string mark;
  absl::StatusOr<ChildProcess> child = ChildProcess::Start(
      MarkedShell("trap 'echo again' TERM; sh -c \"trap '' TERM; echo ready; exec sleep 1000\" & "
                  "while :; do wait; done",
                  &mark));
  ASSERT_TRUE(child.ok());
  ASSERT_EQ(ReadLine(*child), "ready\n");
  child->Signal(SIGTERM);
  EXPECT_EQ(ReadLine(*child), "again\n");
  EXPECT_EQ(Marked(mark).size(), 2u);
  EXPECT_FALSE(child->Poll().has_value());
  child->Signal(SIGKILL);
  EXPECT_EQ(End(*child).signal, SIGKILL);
  EXPECT_TRUE(Eventually([&] { return Marked(mark).empty(); }));
}

TEST(ChildProcess, SignalReachesWhatItLeftBehind) {
  std::string mark;
  absl::StatusOr<ChildProcess> child =
      ChildProcess::Start(MarkedShell("sleep 1000 & exit 0", &mark));
  ASSERT_TRUE(child.ok());
  EXPECT_TRUE(End(*child).ok());
  EXPECT_EQ(Marked(mark).size(), 1u);
  child->Signal(SIGKILL);
  EXPECT_TRUE(Eventually([&] { return Marked(mark).empty(); }));
  EXPECT_TRUE(child->Poll()->ok());
}

TEST(ChildProcess, ThatIsGivenAwaySignalsNobody) {
  absl::StatusOr<ChildProcess> child = ChildProcess::Start({.arguments = {"sleep", "1000"}});
  ASSERT_TRUE(child.ok());
  ChildProcess moved = *std::move(child);
  child->Signal(SIGKILL);  // its pid is 0 now, which kill takes for our own group
  EXPECT_FALSE(moved.Poll().has_value());
  moved.Signal(SIGKILL);
  EXPECT_EQ(End(moved).signal, SIGKILL);
}

TEST(ChildProcess, EndsWithAnUnknownStatusWhereNoneIsKept) {
  const auto handler = signal(SIGCHLD, SIG_IGN);
  const absl::Cleanup restore = [&] { signal(SIGCHLD, handler); };
  absl::StatusOr<ChildProcess> child = ChildProcess::Start({.arguments = {"true"}});
  ASSERT_TRUE(child.ok());
  EXPECT_EQ(End(*child).status, 255);
  child->Signal(SIGKILL);
}

// --- which process ---

TEST(ProcessIdentity, IsThatOfOneLifeOnly) {
  const absl::StatusOr<ProcessIdentity> self = IdentityOf(getpid());
  ASSERT_TRUE(self.ok()) << self.status();
  EXPECT_GT(self->start_ticks, 0);
  EXPECT_EQ(self->boot_id.size(), 36u);
  EXPECT_TRUE(IsAlive(*self));
  ProcessIdentity other = *self;
  other.start_ticks -= 1;
  EXPECT_FALSE(IsAlive(other));
  other = *self;
  other.boot_id = "another";
  EXPECT_FALSE(IsAlive(other));
  EXPECT_FALSE(IsAlive({}));
}

TEST(ProcessIdentity, OfAProgramWithAnOddName) {
  std::array<char, 16> name = {};
  ASSERT_EQ(prctl(PR_GET_NAME, name.data()), 0);
  const absl::Cleanup restore = [&] { prctl(PR_SET_NAME, name.data()); };
  const absl::StatusOr<ProcessIdentity> before = IdentityOf(getpid());
  prctl(PR_SET_NAME, "a) Z 1 (b");
  const absl::StatusOr<ProcessIdentity> after = IdentityOf(getpid());
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ(before->start_ticks, after->start_ticks);
}

TEST(ProcessIdentity, EndsWithTheProgramWaitedForOrNot) {
  std::optional<ProcessIdentity> process;
  {
    absl::StatusOr<ChildProcess> child = ChildProcess::Start({.arguments = {"sleep", "1000"}});
    ASSERT_TRUE(child.ok());
    process = child->identity();
    EXPECT_TRUE(IsAlive(*process));
    child->Signal(SIGKILL);
    EXPECT_EQ(End(*child).signal, SIGKILL);
    EXPECT_EQ(kill(process->pid, 0), 0);  // it is there, but has ended
    EXPECT_FALSE(IsAlive(*process));
    EXPECT_TRUE(IsGone(*process));
    EXPECT_TRUE(absl::IsNotFound(IdentityOf(process->pid).status()));
  }
  EXPECT_NE(kill(process->pid, 0), 0);
  EXPECT_FALSE(IsAlive(*process));
}

TEST(ProcessesWith, FindsAGrandchildInAnotherSession) {
  std::string mark;
  absl::StatusOr<ChildProcess> child =
      ChildProcess::Start(MarkedShell("setsid sh -c 'echo $$; exec sleep 1000' & wait", &mark));
  ASSERT_TRUE(child.ok());
  const int grandchild = std::stoi(ReadLine(*child));
  child->Signal(SIGKILL);
  EXPECT_EQ(End(*child).signal, SIGKILL);
  const std::vector<ProcessIdentity> left = Marked(mark);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].pid, grandchild);
  EXPECT_TRUE(IsAlive(left[0]));
  EXPECT_EQ(kill(grandchild, SIGKILL), 0);
  EXPECT_TRUE(Eventually([&] { return Marked(mark).empty(); }));
}

TEST(ProcessesWith, WantsTheWholeEntry) {
  std::string mark;
  ChildOptions options = MarkedShell("sleep 1000", &mark);
  options.environment.push_back(absl::StrCat("X_", kMark, "=other"));
  absl::StatusOr<ChildProcess> child = ChildProcess::Start(options);
  ASSERT_TRUE(child.ok());
  EXPECT_THAT(Marked(mark.substr(0, mark.size() - 1)), IsEmpty());
  EXPECT_THAT(Marked("other"), IsEmpty());
  EXPECT_THAT(ProcessesWith("CHILD_TEST", mark).value(), IsEmpty());
  EXPECT_FALSE(Marked(mark).empty());
  child->Signal(SIGKILL);
  EXPECT_EQ(End(*child).signal, SIGKILL);
}

TEST(ProcessesWith, FindsWhoeverIsInTheGroup) {
  std::string mark;
  absl::StatusOr<ChildProcess> child =
      ChildProcess::Start(MarkedShell("env -i sleep 1000 & exit 0", &mark));
  ASSERT_TRUE(child.ok());
  EXPECT_TRUE(End(*child).ok());
  const int group = child->identity().pid;
  EXPECT_TRUE(Eventually([&] { return Marked(mark).empty(); }));  // env forgets the mark
  const std::vector<ProcessIdentity> left = ProcessesWith(kMark, mark, group).value();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(getpgid(left[0].pid), group);
  child->Signal(SIGKILL);
  EXPECT_TRUE(Eventually([&] { return ProcessesWith(kMark, mark, group).value().empty(); }));
}

// Who cannot look does not say that nobody is there.
TEST(ProcessesWith, SaysThatNobodyCanTell) {
  const ProcessIdentity self = *IdentityOf(getpid());
  rlimit before = {};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::Cleanup restore = [&] { setrlimit(RLIMIT_NOFILE, &before); };
  EXPECT_FALSE(ProcessesWith(kMark, "any").ok());
  EXPECT_FALSE(IdentityOf(getpid()).ok());
  EXPECT_FALSE(IsAlive(self));
  EXPECT_FALSE(IsGone(self));
}

TEST(ResidentBytes, OfThoseThatAreAlive) {
  const ProcessIdentity self = *IdentityOf(getpid());
  const int64_t one = ResidentBytes({self});
  EXPECT_GT(one, 1 << 20);
  EXPECT_GE(ResidentBytes({self, self}), 2 * one - (1 << 20));
  EXPECT_EQ(ResidentBytes({{.pid = self.pid, .start_ticks = 1, .boot_id = self.boot_id}}), 0);
  EXPECT_EQ(ResidentBytes({}), 0);
}

// --- to the end ---

TEST(RunToEnd, ReturnsWhatWasPrintedOnStdout) {
  const absl::StatusOr<std::string> text = RunToEnd({.child = Shell("echo out; echo err >&2")});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "out\n");
}

TEST(RunToEnd, TakesMoreThanAPipeHolds) {
  const absl::StatusOr<std::string> text = RunToEnd(
      {.child = Shell("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; echo end")});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->size(), 1'000'004u);
  EXPECT_THAT(*text, EndsWith("end\n"));
}

TEST(RunToEnd, KeepsTheFirstBytesOfTooManyAndReadsOn) {
  const absl::StatusOr<std::string> text =
      RunToEnd({.child = Shell("echo begin; head -c 1000000 /dev/zero"), .max_output_bytes = 9});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, std::string("begin\n\0\0\0", 9));
}

TEST(RunToEnd, SaysHowItFailedAndItsLastWord) {
  const auto failure = [](const std::string& script) {
    const absl::Status status = RunToEnd({.child = Shell(script)}).status();
    EXPECT_TRUE(absl::IsInternal(status)) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(failure("echo first >&2; printf 'l\\001st\\n\\n' >&2; exit 7"),
            "'sh': exit status 7: l?st");
  EXPECT_EQ(failure("exit 1"), "'sh': exit status 1");
  EXPECT_EQ(failure("kill -9 $$"), "'sh': killed by signal 9 (Killed)");
  EXPECT_LT(failure("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1").size(), 5000u);
}

TEST(RunToEnd, KillsWhatTakesTooLong) {
  std::string mark;
  const absl::Status status =
      RunToEnd({.child = MarkedShell("trap '' TERM; sleep 1000; sleep 1000", &mark),
                .timeout = absl::Milliseconds(50)})
          .status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_TRUE(Eventually([&] { return Marked(mark).empty(); }));
}

TEST(RunToEnd, WaitsForItsTimeoutWhateverTheClockSays) {
  std::string mark;
  const StoppedClock stopped;
  const Stopwatch watch;
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      RunToEnd({.child = MarkedShell("sleep 1000", &mark), .timeout = absl::Milliseconds(50)})
          .status()));
  EXPECT_LT(watch.elapsed(), absl::Seconds(8)) << "it waits for a time of day";
}

TEST(RunToEnd, KillsWhatTakesTooMuchMemory) {
  std::string mark;
  const absl::Status status =
      RunToEnd(
          {.child = MarkedShell("x=$(head -c 50000000 /dev/zero | tr '\\0' x); sleep 1000", &mark),
           .max_memory_bytes = 20 << 20})
          .status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_TRUE(Eventually([&] { return Marked(mark).empty(); }));
}

TEST(RunToEnd, KillsWhatIsStopped) {
  std::string mark;
  std::stop_source stop;
  stop.request_stop();
  const absl::Status status =
      RunToEnd({.child = MarkedShell("sleep 1000", &mark), .stop = stop.get_token()}).status();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_TRUE(Eventually([&] { return Marked(mark).empty(); }));
}

TEST(RunToEnd, LeavesNothingOfItsGroupBehind) {
  std::string mark;
  const absl::StatusOr<std::string> text =
      RunToEnd({.child = MarkedShell("sleep 1000 & echo done", &mark)});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "done\n");
  EXPECT_TRUE(Eventually([&] { return Marked(mark).empty(); }));
}

TEST(RunToEnd, NamesAProgramThatIsNotThere) {
  const absl::Status status = RunToEnd({.child = {.arguments = {"/nowhere/program"}}}).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
}

}  // namespace
}  // namespace deweather
