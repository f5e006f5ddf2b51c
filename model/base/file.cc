#include "model/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <random>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

absl::Status ErrnoStatus(const std::string& what, const std::string& path) {
  return DiskError(errno, absl::StrCat(what, " '", path, "'"));
}

// How room for what is read is made.
struct Room {
  size_t first = 0;      // at once
  size_t piece = 65536;  // whenever it is full
};

absl::StatusOr<std::string> ReadInto(const Room& room, int file, size_t max_bytes,
                                     const std::string& path) {
  std::string bytes(room.first, '\0');
  size_t have = 0;
  while (have < max_bytes) {
    if (have == bytes.size()) bytes.resize(std::min(max_bytes - have, room.piece) + have);
    const ssize_t got = read(file, bytes.data() + have, bytes.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus("cannot read", path);
    if (got == 0) break;
    have += static_cast<size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

}  // namespace

absl::Status DiskError(int error, const std::string& what) {
  const absl::Status status = absl::ErrnoToStatus(error, what);
  if (error == ENOSPC || error == EDQUOT) return WithReason(status, "DISK_FULL");
  if (error != EROFS) return status;
  return WithReason(absl::FailedPreconditionError(status.message()), "READ_ONLY");
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return ErrnoStatus("cannot open", path);
  const absl::Cleanup close_file = [file] { close(file); };
  struct stat info = {};
  if (fstat(file, &info) != 0) return ErrnoStatus("cannot stat", path);
  if (S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat("cannot read '", path, "': it is a folder"));
  }
  const Room room = {.first = static_cast<size_t>(std::max<off_t>(info.st_size, 0)),
                     .piece = S_ISREG(info.st_mode) ? 1 : Room().piece};
  return ReadInto(room, file, std::numeric_limits<size_t>::max(), path);
}

absl::StatusOr<std::string> ReadMost(int file, size_t max_bytes, const std::string& path) {
  return ReadInto(Room(), file, max_bytes, path);
}

absl::Status WriteAll(int file, std::string_view bytes, const std::string& path, int64_t* written) {
  while (!bytes.empty()) {
    const ssize_t got = TEMP_FAILURE_RETRY(write(file, bytes.data(), bytes.size()));
    if (got < 0) return ErrnoStatus("cannot write", path);
    bytes.remove_prefix(got);
    if (written != nullptr) *written += got;
  }
  return absl::OkStatus();
}

std::string ReadAt(int file, int64_t offset, int64_t size) {
  std::string bytes(size, '\0');
  size_t have = 0;
  while (have < bytes.size()) {
    const auto from = offset + static_cast<int64_t>(have);
    const ssize_t got =
        TEMP_FAILURE_RETRY(pread(file, bytes.data() + have, bytes.size() - have, from));
    if (got <= 0) break;
    have += got;
  }
  bytes.resize(have);
  return bytes;
}

absl::Status WriteAndSync(const std::string& path, std::string_view bytes) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return ErrnoStatus("cannot create", path);
  absl::Status status = WriteAll(file, bytes, path);
  if (status.ok() && fsync(file) != 0) status = ErrnoStatus("cannot sync", path);
  if (close(file) != 0 && status.ok()) status = ErrnoStatus("cannot close", path);
  return status;
}

absl::Status SyncFolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const std::string name = folder.empty() ? "." : folder;
  const int file = open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return ErrnoStatus("cannot open folder", name);
  const absl::Cleanup close_file = [file] { close(file); };
  // Some file systems cannot sync a folder; the rename stands all the same.
  if (fsync(file) != 0 && errno != EINVAL) return ErrnoStatus("cannot sync folder", name);
  return absl::OkStatus();
}

absl::Status MakeFolder(const std::string& path) {
  std::error_code error;
  const bool made = std::filesystem::create_directories(path, error);
  if (!error) return made ? SyncFolderOf(path) : absl::OkStatus();
  return DiskError(error.value(), absl::StrCat("cannot make folder '", path, "'"));
}

absl::Status Rename(const std::string& from, const std::string& to) {
  return std::rename(from.c_str(), to.c_str()) == 0 ? absl::OkStatus()
                                                    : ErrnoStatus("cannot rename to", to);
}

void RemoveAll(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

absl::StatusOr<DiskSpace> SpaceOf(const std::string& folder) {
  struct statvfs disk = {};
  if (statvfs(folder.c_str(), &disk) != 0) return ErrnoStatus("cannot look at", folder);
  return DiskSpace{static_cast<int64_t>(disk.f_bavail * disk.f_frsize),
                   static_cast<int64_t>(disk.f_blocks * disk.f_frsize)};
}

absl::StatusOr<int64_t> FreeBytes(const std::string& folder) {
  DW_ASSIGN_OR_RETURN(const DiskSpace space, SpaceOf(folder));
  return space.free_bytes;
}

std::string UniqueName(const std::string& stem) {
  std::random_device random;
  return absl::StrCat(stem, absl::Hex(random(), absl::kZeroPad8),
                      absl::Hex(random(), absl::kZeroPad8));
}

absl::Status WriteFileAtomically(const std::string& given, std::string_view bytes) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::canonical(given, error);
  const std::string path = error ? given : target.string();  // through a link, not over it
  if (!error && !std::filesystem::is_regular_file(target, error)) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot replace '", given, "': it is not a regular file"));
  }
  const std::string partial = UniqueName(absl::StrCat(path, ".partial."));
  absl::Status status = WriteAndSync(partial, bytes);
  if (status.ok()) status = Rename(partial, path);
  if (!status.ok()) {
    unlink(partial.c_str());
    return status;
  }
  return SyncFolderOf(path);
}

}  // namespace deweather
