#include "training/report/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace deweather {
namespace {

absl::Status ErrnoStatus(const std::string& what, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat(what, " '", path, "'"));
}

}  // namespace

absl::StatusOr<AppendFile> AppendFile::Open(const std::string& path) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return ErrnoStatus("cannot open", path);
  AppendFile opened(path, file, 0);
  struct stat info = {};
  if (fstat(file, &info) != 0) return ErrnoStatus("cannot stat", path);
  opened.size_ = info.st_size;
  return opened;
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::exchange(other.file_, -1)),
      size_(other.size_),
      torn_(other.torn_) {}

AppendFile& AppendFile::operator=(AppendFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(file_, other.file_);
  std::swap(size_, other.size_);
  std::swap(torn_, other.torn_);
  return *this;
}

AppendFile::~AppendFile() {
  if (file_ >= 0) close(file_);
}

absl::Status AppendFile::Write(std::string_view record) {
  while (!record.empty()) {
    const ssize_t written = write(file_, record.data(), record.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus("cannot write", path_);
    record.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status AppendFile::Append(std::string_view record) {
  if (torn_ && ftruncate(file_, size_) != 0) return ErrnoStatus("cannot shorten", path_);
  torn_ = false;
  const absl::Status status = Write(record);
  if (status.ok()) {
    size_ += static_cast<int64_t>(record.size());
  } else {
    torn_ = ftruncate(file_, size_) != 0;
  }
  return status;
}

absl::Status AppendFile::Sync() {
  // EINVAL: what cannot be synced, such as a pipe.
  if (fdatasync(file_) != 0 && errno != EINVAL) return ErrnoStatus("cannot sync", path_);
  return absl::OkStatus();
}

}  // namespace deweather
