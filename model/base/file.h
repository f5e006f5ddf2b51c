// Whole files, read and written so that a crash leaves the old one or the new one.
//
// Errors   DiskError's; those of each function besides

#ifndef DEWEATHER_MODEL_BASE_FILE_H_
#define DEWEATHER_MODEL_BASE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deweather {

// What errno says of `what`: RESOURCE_EXHAUSTED (DISK_FULL) no room, or a quota; FAILED_PRECONDITION
// (READ_ONLY) a read-only file system; NOT_FOUND, PERMISSION_DENIED, ...
absl::Status DiskError(int error, const std::string& what);

// FAILED_PRECONDITION for a folder.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Temporary file beside `path`, fsync, rename, fsync of the folder; a link is followed. On an error
// `path` is as it was and the temporary file is gone, unless only the last step failed: then the new
// file is in place and may not survive a power cut. FAILED_PRECONDITION: `path` is there and is no
// regular file.
absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes);

// Makes or empties `path`, writes, fsync. A crash leaves whatever was written: for files of a folder that
// is itself renamed into place.
absl::Status WriteAndSync(const std::string& path, std::string_view bytes);

// fsync of the folder that holds `path`: what was renamed to it survives a power cut.
absl::Status SyncFolderOf(const std::string& path);

// With the folders that it lies in; what is new survives a power cut.
absl::Status MakeFolder(const std::string& path);

// Within a file system; SyncFolderOf makes it last.
absl::Status Rename(const std::string& from, const std::string& to);

// A file, or a folder with all that is in it, as far as that can be done.
void RemoveAll(const std::string& path);

// The disk of a folder.
struct DiskSpace {
  int64_t free_bytes = 0;  // that may still be written
  int64_t size_bytes = 0;
};
absl::StatusOr<DiskSpace> SpaceOf(const std::string& folder);
absl::StatusOr<int64_t> FreeBytes(const std::string& folder);

// For open files; `path` is for the message. What was written, also before an error, is added to *written.
absl::Status WriteAll(int file, std::string_view bytes, const std::string& path,
                      int64_t* written = nullptr);
// From where it stands to its end, but no more than `max_bytes`: one more than a limit tells what is beyond it.
absl::StatusOr<std::string> ReadMost(int file, size_t max_bytes, const std::string& path);
// As many bytes as there are from `offset` on, at most `size`; fewer if they cannot be read.
std::string ReadAt(int file, int64_t offset, int64_t size);

// A name that no other process and no other call makes, on this machine or another: `stem` and 16
// hexadecimal digits. For temporary files beside the one that they become.
std::string UniqueName(const std::string& stem);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_FILE_H_
