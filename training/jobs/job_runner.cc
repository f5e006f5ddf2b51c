#include "training/jobs/job_runner.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <exception>
#include <filesystem>
#include <future>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "training/jobs/attempt.h"
#include "training/jobs/job_folder.h"
#include "training/jobs/outcome.h"
#include "training/jobs/take_over.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kLook = absl::Milliseconds(100);  // between two at a program
constexpr absl::Duration kFollow = absl::Seconds(1);       // between two at the state of its job
constexpr absl::Duration kRetry = absl::Seconds(1);        // of what the store did not take
constexpr absl::Duration kHold = absl::Seconds(10);        // when nothing can be started
constexpr absl::Duration kLongestWait = absl::Minutes(1);
constexpr absl::Duration kBetweenNotes = absl::Minutes(1);  // that say the same
constexpr absl::Duration kLongestMeasure = absl::Seconds(30);
constexpr int64_t kMaxUntold = 1000;

// JOBS has one name, whatever way led there.
JobRunnerOptions Complete(JobRunnerOptions options) {
  std::error_code error;
  const fs::path jobs = fs::weakly_canonical(options.jobs, error);
  if (!error) options.jobs = jobs.string();
  if (!options.log) options.log = [](const std::string&) {};
  if (!options.tell) options.tell = [](const Job&, const std::string&, bool) {};
  if (!options.now) options.now = [] { return absl::Now(); };
  if (!options.free_bytes) {
    options.free_bytes = [path = options.jobs] { return FreeBytes(path); };
  }
  return options;
}

// What no job can help: it waits, whatever the error was.
absl::Status OurTrouble(const absl::Status& status) {
  if (status.ok() || absl::IsResourceExhausted(status)) return status;
  return absl::UnavailableError(status.message());
}

// Of no single job: nothing else could be started now.
bool HoldsAll(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
}

// Since it could have been started.
absl::Duration QueueWait(const Job& due, absl::Time now) {
  const absl::Time since = due.attempts == 0 ? due.create_time : due.retry_time.value_or(now);
  return std::max(now - since, absl::ZeroDuration());
}

std::string ReasonOfStart(const Job& due) {
  return due.attempts == 0 ? "started" : absl::StrCat("attempt ", due.attempts + 1);
}

// "loss/rain" is the term rain.
std::map<std::string, double> Losses(const JobProgress& progress) {
  std::map<std::string, double> losses = {{"all", progress.loss}};
  for (const auto& [name, value] : progress.terms) {
    losses[name.starts_with("loss/") ? name.substr(5) : name] = value;
  }
  return losses;
}

}  // namespace

struct JobRunner::Active {
  explicit Active(Job started) : job(std::move(started)) {}

  const Job job;                        // as it was started
  std::optional<Attempt> attempt = {};  // nothing: its program is gone, or never was
  std::future<absl::StatusOr<std::string>> model = {};  // that its program left, while it is stored
  bool disk_full = false;                               // when its program ended
  std::optional<JobChange> change =
      {};                             // what follows; nothing: its program runs, or it is collected
  std::vector<JobEvent> untold = {};  // to the store

  // SteadyNow's.
  absl::Time follow_time = absl::InfinitePast();
  absl::Time settle_time = absl::InfinitePast();
  absl::Time measure_time = absl::InfinitePast();

  absl::Duration measure_wait = absl::Seconds(1);  // grows: a disk may be full soon
  int64_t first_bytes = 0;                         // of its folder when the program began
  bool told_of_room = false;

  int64_t images = 0;  // that were counted
  double images_per_second = 0;
};

JobRunner::JobRunner(JobStore& store, JobRunnerOptions options)
    : store_(store),
      options_(Complete(std::move(options))),
      earlier_life_(store, options_.jobs, options_.training.stop_grace,
                    [this](const Job& job) { TellOf(job, /*crashed=*/false); }),
      thread_([this] { Loop(); }) {}

JobRunner::~JobRunner() {
  BeginStop();
  thread_.join();
}

void JobRunner::BeginStop() {
  {
    MutexLock lock(mutex_);
    if (!stopping_) late_ = SteadyNow() + options_.training.stop_grace + options_.kill_patience;
    stopping_ = woken_ = true;
  }
  wake_.NotifyAll();
}

void JobRunner::Wake() {
  {
    MutexLock lock(mutex_);
    woken_ = true;
  }
  wake_.NotifyAll();
}

RunnerStats JobRunner::stats() const {
  MutexLock lock(mutex_);
  return stats_;
}

// --- the thread ---

void JobRunner::Loop() {
  for (;;) {
    const Turn turn = Wait();
    try {
      Round(turn);
    } catch (const std::exception& error) {
      Hold(absl::InternalError(error.what()), turn.steady);
    }
    if (turn.stopping && active_.empty() && (earlier_life_ended_ || turn.late)) return;
  }
}

JobRunner::Turn JobRunner::Wait() {
  const absl::Duration wait = UntilNextRound();
  MutexLock lock(mutex_);
  if (!woken_) wake_.WaitFor(mutex_, wait);
  const absl::Time steady = SteadyNow();
  return {.woken = std::exchange(woken_, false),
          .stopping = stopping_,
          .late = steady >= late_,
          .now = options_.now(),
          .steady = steady};
}

absl::Duration JobRunner::UntilNextRound() {
  if (!earlier_life_ended_ || !active_.empty()) return kLook;
  if (options_.training.max_running == 0) return kLongestWait;
  const absl::Time now = options_.now();
  const absl::StatusOr<absl::Time> retry = store_.NextRetry(now);
  const absl::Duration next = retry.ok() ? *retry - now : kRetry;
  const bool held = hold_until_ != absl::InfinitePast();
  return std::clamp(held ? std::min(next, hold_until_ - SteadyNow()) : next, kLook, kLongestWait);
}

void JobRunner::Round(const Turn& turn) {
  if (!earlier_life_ended_) EndEarlierLife(turn);
  if (!earlier_life_ended_) return;
  for (auto next = active_.begin(); next != active_.end();) {
    const auto active = next++;
    if (TryLookAt(*active->second, turn)) active_.erase(active);
  }
  if (!turn.stopping) StartDue(turn);
}

// A store that fails keeps nobody from going down: the next life ends what is left.
void JobRunner::EndEarlierLife(const Turn& turn) {
  const absl::StatusOr<bool> ended = earlier_life_.Look(turn.now, turn.steady);
  Note("the jobs of an earlier life", ended.status());
  earlier_life_ended_ = ended.value_or(turn.stopping);
}

// --- start ---

void JobRunner::StartDue(const Turn& turn) {
  if (turn.steady < hold_until_) return;
  hold_until_ = absl::InfinitePast();
  while (std::ssize(active_) < options_.training.max_running) {
    const absl::StatusOr<std::optional<Job>> due = store_.NextDue(turn.now);
    if (due.ok() && !due->has_value()) return;
    const absl::Status status = due.ok() ? CheckRoom() : due.status();
    if (!status.ok()) Hold(status, turn.steady);
    if (!status.ok() || !Start(**due, turn)) return;
  }
}

// Whether the next may be started in the same round. A job that was cancelled meanwhile is not due any more.
bool JobRunner::Start(const Job& due, const Turn& turn) {
  const absl::Status ready = Prepare(due);
  if (HoldsAll(ready)) return Hold(ready, turn.steady);
  JobChange change{.action = JobAction::kStart, .reason = ReasonOfStart(due)};
  if (IsOfTheJob(ready)) change = AfterFailedStart(due, ready, options_.training, turn.now);
  const absl::StatusOr<Job> job = Apply(due.id, change, turn.now);
  if (absl::IsNotFound(job.status())) RemoveFolder(JobFolder(options_.jobs, due.id));
  if (absl::IsFailedPrecondition(job.status()) || absl::IsNotFound(job.status())) return true;
  if (!job.ok()) return Hold(job.status(), turn.steady);
  if (IsOfTheJob(ready)) return HoldFor(kLook, turn.steady);
  Active& active = *active_.emplace(job->id, std::make_unique<Active>(*job)).first->second;
  if (!ready.ok()) {
    active.change = AfterFailedStart(*job, ready, options_.training, turn.now);
    return false;
  }
  {
    MutexLock lock(mutex_);
    ++stats_.started;
    stats_.queue_wait_sum += QueueWait(due, turn.now);
  }
  return Launch(active, turn);
}

absl::Status JobRunner::CheckRoom() const {
  const absl::StatusOr<int64_t> room = options_.free_bytes();
  if (!room.ok() || *room >= options_.training.min_free_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("the disk of the jobs has %d free bytes; min_free_bytes is %d", *room,
                      options_.training.min_free_bytes));
}

absl::Status JobRunner::Prepare(const Job& job) const {
  DW_RETURN_IF_ERROR(OurTrouble(MakeFolder(JobFolder(options_.jobs, job.id))));
  DW_ASSIGN_OR_RETURN(const std::string config, options_.prepare(job));
  return OurTrouble(WriteFileAtomically(JobConfigPath(options_.jobs, job.id), config));
}

// A program that could not be recorded is found by its environment.
bool JobRunner::Launch(Active& active, const Turn& turn) {
  const Job& job = active.job;
  ChildOptions child = ProgramOf(job.id, options_.jobs, options_.training);
  SetTrace(job.submitted.trace_parent, &child);
  absl::StatusOr<RunningProgram> program =
      options_.launch ? options_.launch(job, child) : StartProgram(job.id, child);
  if (!program.ok()) {
    const absl::Status status = OurTrouble(program.status());
    active.change = AfterFailedStart(job, status, options_.training, turn.now);
    return Hold(status, turn.steady);
  }
  const ProcessIdentity& process = program->identity;
  Note("a program", store_.SetProcess({job.id, process.pid, process.start_ticks, process.boot_id}));
  active.attempt.emplace(AttemptOptions{.id = job.id,
                                        .jobs = options_.jobs,
                                        .training = options_.training,
                                        .told = ToldTo(store_, job),
                                        .log =
                                            [this, job](const std::string& line) {
                                              options_.tell(job, line, /*trouble=*/true);
                                            }},
                         *std::move(program), turn.now, turn.steady);
  active.first_bytes = Measure(active);
  active.measure_time = turn.steady + active.measure_wait;
  return true;
}

// Nothing is started for a while.
bool JobRunner::Hold(const absl::Status& status, absl::Time steady) {
  Note("no job can be started", status);
  return HoldFor(kHold, steady);
}

bool JobRunner::HoldFor(absl::Duration time, absl::Time steady) {
  hold_until_ = steady + time;
  return false;
}

// --- while it runs ---

// One job's trouble is not the others': it is looked at again.
bool JobRunner::TryLookAt(Active& active, const Turn& turn) {
  try {
    return LookAt(active, turn);
  } catch (const std::exception& error) {
    Note("unexpected exception", absl::InternalError(error.what()));
    return turn.late;
  }
}

// Whether nothing is left to do for it. What the store does not take when the server goes down, and what
// nothing ends, is left to the next life.
bool JobRunner::LookAt(Active& active, const Turn& turn) {
  if (active.attempt && !FollowProgram(active, turn)) return turn.late;
  if (active.model.valid() && !TakeModel(active, turn.now)) return false;
  return Settle(active, turn) || turn.stopping;
}

// Whether it is gone.
bool JobRunner::FollowProgram(Active& active, const Turn& turn) {
  if (turn.stopping) {
    active.attempt->Stop({StopCause::kShutdown, "the server went down"}, turn.steady);
  }
  if (turn.woken || turn.steady >= active.follow_time) FollowCancel(active, turn.steady);
  Hear(active, active.attempt->Look(turn.now, turn.steady));
  if (active.attempt->gone()) {
    Conclude(active, turn);
    return true;
  }
  CheckDisk(active, turn);
  return false;
}

void JobRunner::FollowCancel(Active& active, absl::Time steady) {
  active.follow_time = steady + kFollow;
  const absl::StatusOr<Job> job = store_.Get(active.job.id);
  const bool unwanted =
      job.ok() ? job->state != JobState::kRunning : absl::IsNotFound(job.status());
  if (unwanted) active.attempt->Stop({StopCause::kCancel, "cancelled"}, steady);
}

void JobRunner::CheckDisk(Active& active, const Turn& turn) {
  if (turn.steady < active.measure_time) return;
  active.measure_wait = std::min(2 * active.measure_wait, kLongestMeasure);
  active.measure_time = turn.steady + active.measure_wait;
  const int64_t grown = Measure(active) - active.first_bytes;
  const auto beyond = BeyondDisk(grown, store_.DiskBytes().value_or(0), options_.training);
  if (beyond) active.attempt->Stop({StopCause::kLimit, *beyond}, turn.steady);
  const absl::StatusOr<int64_t> room = options_.free_bytes();
  const int64_t least = options_.training.min_free_bytes / 4;
  if (active.told_of_room || !room.ok() || *room >= least) return;
  active.told_of_room = true;
  Hear(active, {{.time = turn.now,
                 .kind = JobEventKind::kWarning,
                 .text = absl::StrFormat("the disk of the jobs has %d free bytes, less than %d",
                                         *room, least)}});
}

int64_t JobRunner::Measure(const Active& active) {
  const int64_t bytes = FolderBytes(JobFolder(options_.jobs, active.job.id));
  Note("the size of a job", store_.SetDiskBytes(active.job.id, bytes));
  return bytes;
}

void JobRunner::Hear(Active& active, std::vector<JobEvent> events) {
  Count(active, events);
  CountPace();
  std::ranges::move(events, std::back_inserter(active.untold));
  const absl::Status status = TellStore(active);
  Note("events of a job", status);
  if (status.ok() || std::ssize(active.untold) <= kMaxUntold) return;
  active.untold.erase(active.untold.begin(), active.untold.end() - kMaxUntold);
}

// A job that has ended takes none.
absl::Status JobRunner::TellStore(Active& active) {
  if (active.untold.empty()) return absl::OkStatus();
  const absl::Status status = store_.AddEvents(active.job.id, active.untold);
  const bool ended = absl::IsFailedPrecondition(status) || absl::IsNotFound(status);
  if (status.ok() || ended) active.untold.clear();
  return ended ? absl::OkStatus() : status;
}

// --- its end ---

void JobRunner::Conclude(Active& active, const Turn& turn) {
  ProgramEnd end = active.attempt->end();
  end.disk_full = active.disk_full = !CheckRoom().ok();
  Measure(active);
  if (HasResult(end)) {
    active.model = std::async(std::launch::async, [this, &active] { return Collect(active.job); });
  } else {
    active.change = AfterExit(active.job, end, options_.training, turn.now);
  }
  const absl::Duration ran = turn.steady - active.attempt->start_steady();
  active.attempt.reset();
  active.images_per_second = 0;
  CountPace();
  MutexLock lock(mutex_);
  stats_.run_time_sum += ran;
  if (active.change) stats_.crashed += active.change->failure ? 1 : 0;
}

// On a thread of its own: reading a model and writing it to the disk takes its time.
absl::StatusOr<std::string> JobRunner::Collect(const Job& job) const {
  try {
    const std::optional<std::string> path = ResultModel(options_.jobs, job.id, job.submitted.model);
    if (path) return options_.collect(job, *path);
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("unexpected exception: ", error.what()));
  }
  return absl::NotFoundError(
      absl::StrFormat("the program left no model in '%s'", JobRunFolder(options_.jobs, job.id)));
}

// Whether it is stored, or cannot be.
bool JobRunner::TakeModel(Active& active, absl::Time now) {
  if (active.model.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return false;
  active.change =
      AfterSuccess(active.job, active.model.get(), active.disk_full, options_.training, now);
  MutexLock lock(mutex_);
  stats_.crashed += active.change->failure ? 1 : 0;
  return true;
}

bool JobRunner::Settle(Active& active, const Turn& turn) {
  if (turn.steady < active.settle_time) return false;
  active.settle_time = turn.steady + kRetry;
  const absl::Status status = Commit(active, turn.now);
  Note("the end of a job's program", status);
  return status.ok();
}

// A cancel that comes between Get and Apply makes the change illegal; then it is made anew.
absl::Status JobRunner::Commit(Active& active, absl::Time now) {
  const std::string& id = active.job.id;
  const absl::StatusOr<Job> job = store_.Get(id);
  if (absl::IsNotFound(job.status())) return absl::OkStatus();
  DW_RETURN_IF_ERROR(job.status());
  DW_RETURN_IF_ERROR(TellStore(active));
  DW_RETURN_IF_ERROR(store_.ClearProcess(id));
  if (IsTerminal(job->state)) return absl::OkStatus();
  return Apply(id, InState(*job, *active.change), now).status();
}

absl::StatusOr<Job> JobRunner::Apply(const std::string& id, JobChange change, absl::Time now) {
  change.reason = OneLine(change.reason);
  absl::StatusOr<Job> job = store_.Apply(id, change, now);
  if (job.ok()) TellOf(*job, change.failure);
  return job;
}

// --- telling ---

void JobRunner::Count(Active& active, const std::vector<JobEvent>& events) {
  const int64_t images = active.attempt->images();
  MutexLock lock(mutex_);
  stats_.images += images - std::exchange(active.images, images);
  for (const JobEvent& event : events) {
    if (event.kind == JobEventKind::kEvaluation) stats_.evaluation = event.evaluation.figures;
    if (event.kind != JobEventKind::kProgress) continue;
    stats_.losses = Losses(event.progress);
    const double pace = event.progress.images_per_second;
    active.images_per_second = std::isfinite(pace) ? pace : 0;
  }
}

void JobRunner::CountPace() {
  double sum = 0;
  for (const auto& [id, active] : active_) sum += active->images_per_second;
  MutexLock lock(mutex_);
  stats_.images_per_second = sum;
}

// A line for each state.
void JobRunner::TellOf(const Job& job, bool crashed) const {
  const bool trouble = crashed || job.state == JobState::kFailed;
  const std::string line = absl::StrFormat("job %s is %s: %s", job.id, Name(job.state), job.reason);
  options_.tell(job, line, trouble);
}

// The same trouble again and again is logged now and then.
void JobRunner::Note(const std::string& what, const absl::Status& status) {
  if (status.ok()) return;
  const std::string line = absl::StrCat(what, ": ", status.ToString());
  const absl::Time now = SteadyNow();
  if (line == noted_ && now - noted_time_ < kBetweenNotes) return;
  noted_ = line;
  noted_time_ = now;
  options_.log(line);
}

}  // namespace deweather
