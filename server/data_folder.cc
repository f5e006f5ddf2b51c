#include "server/data_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "training/jobs/job_folder.h"

namespace deweather {
namespace {

std::string FolderIn(const std::string& data_dir, const char* name) {
  return data_dir.empty() ? "" : absl::StrCat(data_dir, "/", name);
}

std::string Advice(int error, const std::string& path) {
  if (error == EROFS) return "mount it writable, or start with --no-jobs";
  if (error == EACCES) {
    return absl::StrFormat("chown -R %d '%s', or start with --no-jobs", geteuid(), path);
  }
  return "";
}

// What is not there yet is made later.
absl::Status CheckAccess(const std::string& path, int access) {
  const bool write = (access & W_OK) != 0;
  if (faccessat(AT_FDCWD, path.c_str(), access, AT_EACCESS) == 0) return absl::OkStatus();
  const int error = errno;
  if (error == ENOENT) return absl::OkStatus();
  const std::string advice = write ? Advice(error, path) : "";
  const absl::Status status =
      DiskError(error, absl::StrFormat("data_dir: uid %d cannot %s '%s'", geteuid(),
                                       write ? "write to" : "read", path));
  if (advice.empty()) return status;
  return absl::Status(status.code(), absl::StrCat(status.message(), "; ", advice));
}

absl::Status CheckFolder(const std::string& path, bool write) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_directory(status)) {
    return absl::FailedPreconditionError(absl::StrFormat("data_dir: '%s' is no folder", path));
  }
  return CheckAccess(path, R_OK | X_OK | (write ? W_OK : 0));
}

}  // namespace

std::string ModelsFolder(const std::string& data_dir) { return FolderIn(data_dir, "models"); }
std::string JobsFolder(const std::string& data_dir) { return FolderIn(data_dir, "jobs"); }
std::string DatasetsFolder(const std::string& data_dir) { return FolderIn(data_dir, "datasets"); }

absl::Status CheckDataFolder(const ServerOptions& options) {
  const std::string& folder = options.data_dir;
  if (folder.empty()) return absl::OkStatus();
  const bool write = options.training.enabled;
  DW_RETURN_IF_ERROR(CheckFolder(folder, write));
  DW_RETURN_IF_ERROR(CheckFolder(ModelsFolder(folder), write));
  if (!write) return absl::OkStatus();
  DW_RETURN_IF_ERROR(CheckFolder(JobsFolder(folder), write));
  for (const char* const suffix : {"", "-wal", "-shm", ".lock"}) {
    DW_RETURN_IF_ERROR(
        CheckAccess(absl::StrCat(JobStorePath(JobsFolder(folder)), suffix), R_OK | W_OK));
  }
  return CheckFolder(DatasetsFolder(folder), write);
}

}  // namespace deweather
