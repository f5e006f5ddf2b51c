#include "training/jobs/job_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

constexpr std::string_view kHeader = "# log from byte ";
constexpr size_t kHeaderBytes = 64;  // of a first line, at most
constexpr int64_t kLeastBytes = 4096;

std::string BeforePath(const std::string& path) { return path + ".1"; }

absl::Status ErrnoStatus(std::string_view what, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrFormat("cannot %s '%s'", what, path));
}

// The bytes of the log that an open file holds.
struct Part {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t header_bytes = 0;
};

// Nothing: its first line is torn, and nothing follows.
std::optional<Part> PartOf(int file) {
  const std::string text = ReadAt(file, 0, kHeaderBytes);
  const size_t line_end = text.find('\n');
  struct stat info = {};
  Part part;
  if (!text.starts_with(kHeader) || line_end == text.npos || fstat(file, &info) != 0 ||
      !absl::SimpleAtoi(text.substr(kHeader.size(), line_end - kHeader.size()), &part.begin)) {
    return std::nullopt;
  }
  part.header_bytes = static_cast<int64_t>(line_end) + 1;
  part.end = part.begin + info.st_size - part.header_bytes;
  return part;
}

// One of the two files, open for reading; part: nothing if it is not there or torn.
struct OpenPart {
  OpenPart(const OpenPart&) = delete;
  OpenPart& operator=(const OpenPart&) = delete;
  explicit OpenPart(const std::string& path) : file(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (file < 0 && errno != ENOENT) status = ErrnoStatus("open", path);
    if (file >= 0) part = PartOf(file);
  }
  ~OpenPart() {
    if (file >= 0) close(file);
  }

  const int file;
  absl::Status status = {};
  std::optional<Part> part = {};
};

std::string HeaderOf(int64_t begin) { return absl::StrCat(std::string(kHeader), begin, "\n"); }

// A new file in place of what is at `path`.
absl::StatusOr<int> StartFile(const std::string& path, int64_t begin) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return ErrnoStatus("create", path);
  const absl::Status status = WriteAll(file, HeaderOf(begin), path);
  if (status.ok()) return file;
  close(file);
  return status;
}

absl::StatusOr<int> GoOnWithFile(const std::string& path) {
  const int file = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0) return ErrnoStatus("open", path);
  return file;
}

}  // namespace

// A crash within Rotate leaves no newest file, or one with a torn first line: it begins where the one
// before ends.
absl::StatusOr<JobLog> JobLog::Open(const std::string& path, int64_t max_bytes) {
  if (max_bytes < kLeastBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a log of %d bytes; it is %d at least", max_bytes, kLeastBytes));
  }
  const OpenPart newest(path), before(BeforePath(path));
  DW_RETURN_IF_ERROR(newest.status);
  DW_RETURN_IF_ERROR(before.status);
  const int64_t last = before.part.value_or(Part{}).end;
  const Part part = newest.part.value_or(Part{.begin = last, .end = last});
  DW_ASSIGN_OR_RETURN(const int file,
                      newest.part ? GoOnWithFile(path) : StartFile(path, part.begin));
  return JobLog(path, max_bytes, file, part.begin, part.end);
}

JobLog::JobLog(std::string path, int64_t max_bytes, int file, int64_t begin, int64_t end)
    : path_(std::move(path)), max_bytes_(max_bytes), file_(file), begin_(begin), end_(end) {}

JobLog::JobLog(JobLog&& other) noexcept
    : path_(std::move(other.path_)),
      max_bytes_(other.max_bytes_),
      file_(std::exchange(other.file_, -1)),
      begin_(other.begin_),
      end_(other.end_) {}

JobLog::~JobLog() {
  if (file_ >= 0) close(file_);
}

// Each file holds half of what both may.
absl::Status JobLog::Append(std::string_view text) {
  const int64_t most = max_bytes_ / 2 - static_cast<int64_t>(kHeaderBytes);
  while (!text.empty()) {
    if (file_ < 0 || end_ - begin_ >= most) DW_RETURN_IF_ERROR(Rotate());
    const std::string_view piece = text.substr(0, most - (end_ - begin_));
    DW_RETURN_IF_ERROR(WriteAll(file_, piece, path_, &end_));
    text.remove_prefix(piece.size());
  }
  return absl::OkStatus();
}

// What fails here is made up for by the next call: end_ is what the files hold at any time.
absl::Status JobLog::Rotate() {
  if (file_ >= 0) {
    if (std::rename(path_.c_str(), BeforePath(path_).c_str()) != 0) {
      return ErrnoStatus("rename", path_);
    }
    close(std::exchange(file_, -1));
  }
  DW_ASSIGN_OR_RETURN(file_, StartFile(path_, end_));
  begin_ = end_;
  return absl::OkStatus();
}

// The newest first: if both are rotated in between, it is found again as the one before.
absl::StatusOr<LogPiece> ReadLog(const std::string& path, int64_t offset, int64_t max_bytes) {
  const OpenPart newest(path), before(BeforePath(path));
  DW_RETURN_IF_ERROR(newest.status);
  DW_RETURN_IF_ERROR(before.status);
  const Part old = before.part.value_or(Part{});
  const Part last = newest.part.value_or(Part{.begin = old.end, .end = old.end});
  LogPiece piece{.offset = offset, .end = std::max(old.end, last.end)};
  if (offset < 0 || offset > piece.end) {
    return absl::InvalidArgumentError(
        absl::StrFormat("offset is %d; the log ends at byte %d", offset, piece.end));
  }
  // That ends after the offset, and of two the one that begins first.
  const bool from_last = offset >= old.end || (offset < last.end && last.begin < old.begin);
  const Part& part = from_last ? last : old;
  piece.offset = std::max(offset, part.begin);
  const int64_t size = std::clamp<int64_t>(part.end - piece.offset, 0, max_bytes);
  piece.text = ReadAt(from_last ? newest.file : before.file,
                      part.header_bytes + piece.offset - part.begin, size);
  return piece;
}

}  // namespace deweather
