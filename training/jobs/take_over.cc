#include "training/jobs/take_over.h"

#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "model/base/mutex.h"
#include "model/base/status_macros.h"
#include "training/jobs/job_folder.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDeleted = ".deleted-";

// Between who takes a run over and who deletes it. Folders are the process's, whatever the store.
Mutex& FoldersMutex() {
  static Mutex mutex;
  return mutex;
}

absl::Status ErrorOf(const std::error_code& error, std::string_view what, const fs::path& path) {
  if (!error) return absl::OkStatus();
  return absl::ErrnoToStatus(error.value(), absl::StrFormat("cannot %s '%s'", what, path.string()));
}

std::string DeletedPath(const std::string& jobs, const std::string& id) {
  return absl::StrCat(jobs, "/", std::string(kDeleted), id);
}

// --- to take over ---

// Files that are replaced but never changed are linked, those that grow are copied.
absl::Status TakeFile(const fs::path& from, const fs::path& to) {
  std::error_code error;
  if (from.extension() == kWeightsExtension) {
    fs::create_hard_link(from, to, error);
    if (!error) return absl::OkStatus();  // else: a disk without links
  }
  fs::copy_file(from, to, error);
  return ErrorOf(error, "take over", from);
}

// Links are no files: a program makes what it likes.
bool IsTaken(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(file, error))) return false;
  const std::string name = file.filename().string();
  const bool whole = name.find(kPartialMark) == std::string::npos;
  return whole && (name.ends_with(kWeightsExtension) || name == "log.jsonl" ||
                   name.starts_with("events.out.tfevents."));
}

// A folder that is not there has no files.
absl::Status TakeFiles(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to, error);
  DW_RETURN_IF_ERROR(ErrorOf(error, "make", to));
  fs::directory_iterator entry(from, error), end;
  if (error == std::errc::no_such_file_or_directory) return absl::OkStatus();
  for (; !error && entry != end; entry.increment(error)) {
    if (!IsTaken(entry->path())) continue;
    DW_RETURN_IF_ERROR(TakeFile(entry->path(), to / entry->path().filename()));
  }
  DW_RETURN_IF_ERROR(ErrorOf(error, "list", from));
  return SyncFolderOf((to / "any").string());
}

absl::Status TakeRun(const std::string& jobs, const std::string& from, const std::string& to) {
  const fs::path old = JobRunFolder(jobs, from), made = JobFolder(jobs, to) + "/.take-over";
  std::error_code error;
  fs::remove_all(made, error);
  DW_RETURN_IF_ERROR(ErrorOf(error, "remove", made));
  DW_RETURN_IF_ERROR(TakeFiles(old, made));
  DW_RETURN_IF_ERROR(TakeFiles(old / "checkpoints", made / "checkpoints"));
  const std::string run = JobRunFolder(jobs, to);
  fs::rename(made, run, error);  // an empty folder is replaced
  DW_RETURN_IF_ERROR(ErrorOf(error, "rename", made));
  return SyncFolderOf(run);
}

// Whether there is a run: a folder with something in it, and be it only that for checkpoints.
bool HasRun(const std::string& jobs, const std::string& id) {
  std::error_code error;
  return fs::directory_iterator(JobRunFolder(jobs, id), error) != fs::directory_iterator();
}

// --- to delete ---

absl::Status RenameIfThere(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error == std::errc::no_such_file_or_directory) return absl::OkStatus();
  DW_RETURN_IF_ERROR(ErrorOf(error, "rename", from));
  return SyncFolderOf(to);
}

absl::Status CheckEnded(const JobStore& store, const std::string& id) {
  DW_ASSIGN_OR_RETURN(const Job job, store.Get(id));
  if (IsTerminal(job.state)) return absl::OkStatus();
  return WithReason(absl::FailedPreconditionError(
                        absl::StrFormat("job '%s' is %s: it has not ended", id, Name(job.state))),
                    "JOB_STATE");
}

void EmptyFolder(const std::string& path) {
  std::error_code ignored;
  for (fs::directory_iterator entry(path, ignored), end; entry != end; entry.increment(ignored)) {
    RemoveFolder(entry->path().string());
  }
}

// The job whose folder is at `deleted`. To write down that it is gone takes room, which it may hold itself.
absl::Status DeleteRow(JobStore& store, const std::string& id, const std::string& deleted) {
  const absl::Status status = store.Delete(id);
  if (ErrorReason(status) != "DISK_FULL") return status;
  EmptyFolder(deleted);
  return store.Delete(id);
}

}  // namespace

absl::Status TakeOver(const JobStore& store, const std::string& jobs, const Job& job) {
  const std::string& from = job.submitted.resumed_from;
  if (from.empty()) return absl::OkStatus();
  MutexLock lock(FoldersMutex());
  if (HasRun(jobs, job.id)) return absl::OkStatus();
  const absl::Status known = store.Get(from).status();
  if (absl::IsNotFound(known)) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "job '%s', from which this one goes on, was deleted before this one had its checkpoints",
        from));
  }
  DW_RETURN_IF_ERROR(known);
  return TakeRun(jobs, from, job.id);
}

// The folder goes first: a job whose folder is renamed is deleted by the next start, a folder without its job
// would lie there for ever. One that was emptied is not given back.
absl::StatusOr<std::string> DeleteJob(JobStore& store, const std::string& jobs,
                                      const std::string& id) {
  MutexLock lock(FoldersMutex());
  DW_RETURN_IF_ERROR(CheckEnded(store, id));
  const std::string folder = JobFolder(jobs, id);
  std::string deleted = DeletedPath(jobs, id);
  DW_RETURN_IF_ERROR(RenameIfThere(folder, deleted));
  const absl::Status status = DeleteRow(store, id, deleted);
  if (status.ok()) return deleted;
  const bool emptied = ErrorReason(status) == "DISK_FULL";
  if (!emptied) static_cast<void>(RenameIfThere(deleted, folder));
  return status;
}

void RemoveFolder(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

absl::Status SweepDeleted(JobStore& store, const std::string& jobs, const std::stop_token& stop) {
  std::vector<std::string> ids;
  std::error_code error;
  fs::directory_iterator entry(jobs, error), end;
  for (; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with(kDeleted)) ids.push_back(name.substr(kDeleted.size()));
  }
  DW_RETURN_IF_ERROR(ErrorOf(error, "list", jobs));
  for (const std::string& id : ids) {
    if (stop.stop_requested()) return absl::OkStatus();
    const absl::Status status = DeleteRow(store, id, DeletedPath(jobs, id));
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    RemoveFolder(DeletedPath(jobs, id));
  }
  return absl::OkStatus();
}

}  // namespace deweather
