// The jobs of a server, in one SQLite file: what is acknowledged survives a kill at any instant.
// A job's row, and the event that tells of its change, are one transaction, which is on the disk (WAL,
// synchronous=FULL) before the call returns.
//
// Schema   specified in job_store.cc; migrations are numbered, and applied in order when the file is opened
// Owns     PATH, kept from other servers by a lock on PATH.lock for as long as the store lives
// Threads  thread-safe: one connection, one lock. Every call may wait for the disk: not for gRPC's threads
// Errors   NOT_FOUND (UNKNOWN_JOB) no such job · FAILED_PRECONDITION (JOB_STATE) an illegal transition,
//          naming state and action · ALREADY_EXISTS (REQUEST_ID_REUSED) · RESOURCE_EXHAUSTED (DISK_FULL) ·
//          DATA_LOSS a corrupt file, naming it · UNAVAILABLE the file cannot be read or written. A call
//          that fails has changed nothing

#ifndef DEWEATHER_TRAINING_JOBS_JOB_STORE_H_
#define DEWEATHER_TRAINING_JOBS_JOB_STORE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "training/jobs/job.h"

namespace deweather {

// Progress and warnings of one job beyond so many are no events any more; the last progress is still the
// job's. Some 28 hours at one a second.
inline constexpr int kMaxToldEvents = 100'000;

// A program of a job, so that another life of the server can tell whether it still runs.
struct JobProcess {
  std::string job_id = {};
  int pid = 0;
  int64_t start_ticks = 0;   // /proc/PID/stat's field 22: a pid may be another's after a while
  std::string boot_id = {};  // /proc/sys/kernel/random/boot_id
};

struct JobQuery {
  std::vector<JobState> states = {};               // empty: all
  std::map<std::string, std::string> labels = {};  // each must match
  std::string model = {};                          // empty: all
  int64_t before = 0;                              // sequence; 0: from the newest
  int limit = 50;                                  // >= 1
};

// What changes with a transition beside the state.
struct JobChange {
  JobAction action = JobAction::kStart;
  std::string reason = {};
  bool failure = false;                       // counts as a crash (kRequeue, kFail)
  std::optional<absl::Time> retry_time = {};  // kRequeue; none: at once
  std::string model_version = {};             // kSucceed
};

class JobStore {
 public:
  // Makes the file if need be. DATA_LOSS: it is corrupt (PRAGMA quick_check); FAILED_PRECONDITION: it is
  // of a newer version of this program, both versions named, or another server holds it
  // (JOBS_ELSEWHERE).
  static absl::StatusOr<std::unique_ptr<JobStore>> Open(const std::string& path);
  ~JobStore();
  JobStore(const JobStore&) = delete;
  JobStore& operator=(const JobStore&) = delete;

  // Called after each commit that added events to a job, or deleted it, under no lock of the store, on
  // the thread that made the change. To be set before the store is shared.
  void OnChange(std::function<void(const std::string& job_id)> on_change);

  // Makes a job, QUEUED. A request_id that is known gives its job again, as it is by then, if the digest
  // is the same. INVALID_ARGUMENT: Validate's.
  absl::StatusOr<Job> Submit(const NewJob& job, absl::Time now);

  // The job of an earlier Submit with that request_id. Nothing: there is none. ALREADY_EXISTS: it had
  // another digest.
  absl::StatusOr<std::optional<Job>> FindRequest(const std::string& request_id,
                                                 const std::string& request_digest) const;

  absl::StatusOr<Job> Get(const std::string& id) const;
  // The newest first.
  absl::StatusOr<std::vector<Job>> List(const JobQuery& query) const;
  // Of every state, 0 if there is none.
  absl::StatusOr<std::map<JobState, int64_t>> CountByState() const;
  // How many have ended so since the store was opened; those of a state that none has reached are left out.
  std::map<JobState, int64_t> EndedByState() const;

  // The job as it is then. kStart counts an attempt. No start or end is earlier than what came before it,
  // whatever the clock says.
  absl::StatusOr<Job> Apply(const std::string& id, const JobChange& change, absl::Time now);

  // The QUEUED job that is to run next: of those whose retry_time has come the highest priority, the
  // oldest. A clock that was set back holds none up. Nothing: none is due.
  absl::StatusOr<std::optional<Job>> NextDue(absl::Time now) const;
  // When the earliest retry_time of a QUEUED job comes; InfiniteFuture: none waits for one.
  absl::StatusOr<absl::Time> NextRetry(absl::Time now) const;

  // Appends what its program told (not kState) in one transaction, numbers it, and keeps the last
  // progress and evaluation in the job. A job that has ended takes none: FAILED_PRECONDITION (JOB_STATE).
  absl::Status AddEvents(const std::string& id, std::vector<JobEvent> events);
  // Events after `after`, in order, at most `limit`.
  absl::StatusOr<std::vector<JobEvent>> Events(const std::string& id, int64_t after,
                                               int limit) const;

  // What runs for a job. None of one job is replaced by the next.
  absl::Status SetProcess(const JobProcess& process);
  absl::Status ClearProcess(const std::string& id);  // OK also if there is none
  absl::StatusOr<std::vector<JobProcess>> Processes() const;

  absl::Status SetDiskBytes(const std::string& id, int64_t bytes);
  // The sum over all jobs.
  absl::StatusOr<int64_t> DiskBytes() const;

  // FAILED_PRECONDITION unless it has ended. Its request_id is free again.
  absl::Status Delete(const std::string& id);

 private:
  struct Database;  // hides SQLite

  explicit JobStore(std::unique_ptr<Database> database);

  // What `body` returns, run on the database under the lock; Write: in a transaction.
  template <typename Body>
  auto Read(Body body) const;
  template <typename Body>
  auto Write(Body body);
  void Tell(const std::string& id) const;
  void CountEnd(JobState state);

  mutable Mutex mutex_;
  std::map<JobState, int64_t> ended_ ABSL_GUARDED_BY(mutex_);
  const std::unique_ptr<Database> database_ ABSL_PT_GUARDED_BY(mutex_);
  std::function<void(const std::string&)> on_change_;  // constant once shared
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_JOB_STORE_H_
