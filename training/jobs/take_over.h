// The folders of jobs that come from others, and of jobs that go.
//
// A job that goes on from another takes over the other's run: checkpoints and models as hard links (they are
// immutable), its log as a copy, so that the curve is whole. The run is made beside its place and renamed
// to it: a kill at any instant leaves all of it or nothing, and the next attempt begins again. Who resumes
// a job takes over at once, and the runner again before each attempt: from then on the other may be deleted.
//
// A folder that is renamed is deleted: what a crash, or a disk without room to note it, leaves of the
// deletion is finished at the next start.
//
// Layout   JOBS/ID/.take-over/  a run in the making
//          JOBS/.deleted-ID/    the folder of a deleted job, until it is removed
// Threads  thread-safe: one lock for all folders
// Errors   what errno says

#ifndef DEWEATHER_TRAINING_JOBS_TAKE_OVER_H_
#define DEWEATHER_TRAINING_JOBS_TAKE_OVER_H_

#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "training/jobs/job.h"
#include "training/jobs/job_store.h"

namespace deweather {

// Sees that `job` has the run of the one that it goes on from, if there is such a one; a run that has begun
// is left alone. FAILED_PRECONDITION: the other was deleted before.
absl::Status TakeOver(const JobStore& store, const std::string& jobs, const Job& job);

// Deletes a job and its folder, which still is to be removed from the path that is returned. Where the disk
// is full the folder is emptied first, and DISK_FULL means that not even this made enough room: to be tried
// again. JobStore::Delete's errors.
absl::StatusOr<std::string> DeleteJob(JobStore& store, const std::string& jobs,
                                      const std::string& id);

// Removes a folder and all that lies in it, as far as that is possible.
void RemoveFolder(const std::string& path);

// Finishes deletions that a crash broke off, until `stop`. For the start, before anybody else uses the store.
absl::Status SweepDeleted(JobStore& store, const std::string& jobs,
                          const std::stop_token& stop = {});

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_TAKE_OVER_H_
