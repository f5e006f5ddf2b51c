#include "server/data_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"

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

// A folder that is not there yet is made later.
absl::Status CheckAccess(const std::string& path, bool write) {
  const int access = R_OK | X_OK | (write ? W_OK : 0);
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

}  // namespace

std::string ModelsFolder(const std::string& data_dir) { return FolderIn(data_dir, "models"); }
std::string JobsFolder(const std::string& data_dir) { return FolderIn(data_dir, "jobs"); }
std::string DatasetsFolder(const std::string& data_dir) { return FolderIn(data_dir, "datasets"); }

absl::Status CheckDataFolder(const ServerOptions& options) {
  const std::string& folder = options.data_dir;
  if (folder.empty()) return absl::OkStatus();
  const bool write = options.training.enabled;
  DW_RETURN_IF_ERROR(CheckAccess(folder, write));
  DW_RETURN_IF_ERROR(CheckAccess(ModelsFolder(folder), write));
  if (!write) return absl::OkStatus();
  DW_RETURN_IF_ERROR(CheckAccess(JobsFolder(folder), write));
  return CheckAccess(DatasetsFolder(folder), write);
}

}  // namespace deweather
