#include "training/jobs/job_runner.h"

#include <algorithm>
#include <cerrno>
#include <exception>
#include <filesystem>
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
constexpr int kEventsBack = 1000;  // that are looked through for what was told

// JOBS has one name, whatever way led there.
JobRunnerOptions Canonical(JobRunnerOptions options) {
  std::error_code error;
  const fs::path jobs = fs::weakly_canonical(options.jobs, error);
  if (!error) options.jobs = jobs.string();
  if (!options.log) options.log = [](const std::string&) {};
  return options;
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

  const Job job;                         // as it was started
  std::optional<Attempt> attempt = {};   // nothing: its program is gone, or never was
  std::optional<JobChange> change = {};  // what follows; nothing: its program runs
  std::vector<JobEvent> untold = {};     // to the store
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
      options_(Canonical(std::move(options))),
      earlier_life_(store, options_.jobs, options_.training.stop_grace),
      thread_([this] { Loop(); }) {}

JobRunner::~JobRunner() {
  BeginStop();
  thread_.join();
}

void JobRunner::BeginStop() {
  {
    MutexLock lock(mutex_);
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
      Round(turn, absl::Now());
    } catch (const std::exception& error) {
      Note("unexpected exception", absl::InternalError(error.what()));
    }
    if (turn.stopping && active_.empty() && earlier_life_ended_) return;
  }
}

JobRunner::Turn JobRunner::Wait() {
  const absl::Duration wait = UntilNextRound();
  MutexLock lock(mutex_);
  if (!woken_) wake_.WaitFor(mutex_, wait);
  return {std::exchange(woken_, false), stopping_};
}

absl::Duration JobRunner::UntilNextRound() {
  if (!earlier_life_ended_ || !active_.empty()) return kLook;
  if (options_.training.max_running == 0) return kLongestWait;
  const absl::Time now = absl::Now();
  const absl::StatusOr<absl::Time> retry = store_.NextRetry(now);
  const absl::Time next = retry.ok() ? *retry : now + kRetry;
  const absl::Time held = hold_until_ > now ? hold_until_ : absl::InfiniteFuture();
  return std::clamp(std::min(next, held) - now, kLook, kLongestWait);
}

void JobRunner::Round(const Turn& turn, absl::Time now) {
  if (!earlier_life_ended_) EndEarlierLife(turn, now);
  if (!earlier_life_ended_) return;
  for (auto next = active_.begin(); next != active_.end();) {
    const auto active = next++;
    if (LookAt(*active->second, turn, now)) active_.erase(active);
  }
  if (!turn.stopping) StartDue(now);
}

// A store that fails keeps nobody from going down: the next life ends what is left.
void JobRunner::EndEarlierLife(const Turn& turn, absl::Time now) {
  const absl::StatusOr<bool> ended = earlier_life_.Look(now);
  Note("the jobs of an earlier life", ended.status());
  earlier_life_ended_ = ended.value_or(turn.stopping);
}

// --- start ---

void JobRunner::StartDue(absl::Time now) {
  if (now < hold_until_ && hold_until_ - now <= kHold) return;
  while (std::ssize(active_) < options_.training.max_running) {
    const absl::StatusOr<std::optional<Job>> due = store_.NextDue(now);
    if (!due.ok()) {
      Hold(due.status(), now);
      return;
    }
    if (!due->has_value() || !Start(**due, now)) return;
  }
}

// Whether the next may be started. A job that was cancelled meanwhile is not due any more.
bool JobRunner::Start(const Job& due, absl::Time now) {
  const absl::Status ready = Prepare(due);
  if (absl::IsResourceExhausted(ready)) return Hold(ready, now);
  JobChange change{.action = JobAction::kStart, .reason = ReasonOfStart(due)};
  if (!ready.ok()) change = AfterFailedStart(due, ready, options_.training, now);
  change.reason = OneLine(change.reason);
  const absl::StatusOr<Job> job = store_.Apply(due.id, change, now);
  if (absl::IsFailedPrecondition(job.status()) || absl::IsNotFound(job.status())) return true;
  if (!job.ok()) return Hold(job.status(), now);
  if (!ready.ok()) return true;
  {
    MutexLock lock(mutex_);
    ++stats_.started;
    stats_.queue_wait_sum += QueueWait(due, now);
  }
  Launch(*job, now);
  return true;
}

absl::Status JobRunner::Prepare(const Job& job) const {
  DW_RETURN_IF_ERROR(MakeFolder(JobFolder(options_.jobs, job.id)));
  DW_ASSIGN_OR_RETURN(const std::string config, options_.prepare(job));
  return WriteFileAtomically(JobConfigPath(options_.jobs, job.id), config);
}

// A program that could not be recorded is found by its environment.
void JobRunner::Launch(const Job& job, absl::Time now) {
  const ChildOptions child = ProgramOf(job.id, options_.jobs, options_.training);
  auto active = std::make_unique<Active>(job);
  absl::StatusOr<RunningProgram> program =
      options_.launch ? options_.launch(job, child) : StartProgram(job.id, child);
  if (program.ok()) {
    const ProcessIdentity& process = program->identity;
    Note("a program",
         store_.SetProcess({job.id, process.pid, process.start_ticks, process.boot_id}));
    const absl::StatusOr<std::vector<JobEvent>> told =
        store_.Events(job.id, std::max<int64_t>(job.last_event - kEventsBack, 0), kEventsBack);
    active->attempt.emplace(
        AttemptOptions{.id = job.id,
                       .jobs = options_.jobs,
                       .training = options_.training,
                       .told = ToldOf(job, told.value_or(std::vector<JobEvent>{})),
                       .log = options_.log},
        *std::move(program), now);
    active->first_bytes = Measure(*active);
    active->measure_time = now + active->measure_wait;
  } else {
    active->change = AfterFailedStart(job, program.status(), options_.training, now);
  }
  active_.emplace(job.id, std::move(active));
}

// Nothing is started for a while.
bool JobRunner::Hold(const absl::Status& status, absl::Time now) {
  Note("no job can be started", status);
  hold_until_ = now + kHold;
  return false;
}

// --- while it runs ---

// Whether nothing is left to do for it. What the store does not take when the server goes down is done in
// the next life.
bool JobRunner::LookAt(Active& active, const Turn& turn, absl::Time now) {
  if (active.attempt) {
    if (turn.stopping) {
      active.attempt->Stop({StopCause::kShutdown, "the server went down"}, now);
    }
    if (turn.woken || now >= active.follow_time) FollowCancel(active, now);
    Hear(active, active.attempt->Look(now));
    if (!active.attempt->gone()) {
      CheckDisk(active, now);
      return false;
    }
    Conclude(active, now);
  }
  return Settle(active, now) || turn.stopping;
}

void JobRunner::FollowCancel(Active& active, absl::Time now) {
  active.follow_time = now + kFollow;
  const absl::StatusOr<Job> job = store_.Get(active.job.id);
  const bool unwanted =
      job.ok() ? job->state != JobState::kRunning : absl::IsNotFound(job.status());
  if (unwanted) active.attempt->Stop({StopCause::kCancel, "cancelled"}, now);
}

void JobRunner::CheckDisk(Active& active, absl::Time now) {
  if (now < active.measure_time) return;
  active.measure_wait = std::min(2 * active.measure_wait, kLongestMeasure);
  active.measure_time = now + active.measure_wait;
  const int64_t grown = Measure(active) - active.first_bytes;
  const auto beyond = BeyondDisk(grown, store_.DiskBytes().value_or(0), options_.training);
  if (beyond) active.attempt->Stop({StopCause::kLimit, *beyond}, now);
  const absl::StatusOr<int64_t> room = FreeBytes(options_.jobs);
  const int64_t least = options_.training.min_free_bytes / 4;
  if (active.told_of_room || !room.ok() || *room >= least) return;
  active.told_of_room = true;
  Hear(active, {{.time = now,
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

void JobRunner::Conclude(Active& active, absl::Time now) {
  const ProgramEnd end = active.attempt->end();
  const Job& job = active.job;
  active.change = end.exit.ok() ? AfterSuccess(job, Collect(job), options_.training, now)
                                : AfterExit(job, end, options_.training, now);
  Measure(active);
  MutexLock lock(mutex_);
  stats_.run_time_sum += std::max(now - active.attempt->start_time(), absl::ZeroDuration());
  stats_.crashed += active.change->failure ? 1 : 0;
  stats_.images_per_second -= std::exchange(active.images_per_second, 0);
  active.attempt.reset();
}

absl::StatusOr<std::string> JobRunner::Collect(const Job& job) const {
  const std::optional<std::string> path = ResultModel(options_.jobs, job.id, job.submitted.model);
  if (path) return options_.collect(job, *path);
  return absl::NotFoundError(
      absl::StrFormat("the program left no model in '%s'", JobRunFolder(options_.jobs, job.id)));
}

bool JobRunner::Settle(Active& active, absl::Time now) {
  if (now < active.settle_time && active.settle_time - now <= kRetry) return false;
  active.settle_time = now + kRetry;
  const absl::Status status = Commit(active, now);
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
  JobChange change = InState(*job, *active.change);
  change.reason = OneLine(change.reason);
  return store_.Apply(id, change, now).status();
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
    const double before = std::exchange(active.images_per_second, event.progress.images_per_second);
    stats_.images_per_second += active.images_per_second - before;
  }
}

// The same trouble again and again is logged now and then.
void JobRunner::Note(const std::string& what, const absl::Status& status) {
  if (status.ok()) return;
  const std::string line = absl::StrCat(what, ": ", status.ToString());
  const absl::Time now = absl::Now();
  if (line == noted_ && now - noted_time_ < kBetweenNotes) return;
  noted_ = line;
  noted_time_ = now;
  options_.log(line);
}

}  // namespace deweather
