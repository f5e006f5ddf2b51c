#include "server/rpc/download_call.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"
#include "training/jobs/job_folder.h"

namespace deweather {
namespace {

constexpr int64_t kChunkBytes = int64_t{1} << 20;

absl::Status NotTheSame(const std::string& name, std::string_view how) {
  return WithReason(
      absl::AbortedError(absl::StrFormat("'%s' is not what it was: %s; start again", name, how)),
      "ARTIFACT_CHANGED");
}

}  // namespace

DownloadCall::~DownloadCall() {
  if (file_ >= 0) close(file_);
}

absl::StatusOr<DownloadCall::Page> DownloadCall::FindFirst() {
  if (!request().sha256().empty() && !IsSha256(request().sha256())) {
    return absl::InvalidArgumentError("sha256 is not made of 64 hexadecimal digits in lower case");
  }
  DW_RETURN_IF_ERROR(FindJob(training_, request().id()).status());
  DW_RETURN_IF_ERROR(OpenFile());
  DW_ASSIGN_OR_RETURN(const std::string sha256, Hash());
  if (!request().sha256().empty() && request().sha256() != sha256) {
    return NotTheSame(request().name(), absl::StrCat("its SHA-256 is ", sha256));
  }
  if (offset_ < 0 || offset_ > bytes_) {
    return absl::InvalidArgumentError(
        absl::StrFormat("offset is %d; it must be 0 to %d, the size of the file", offset_, bytes_));
  }
  DW_ASSIGN_OR_RETURN(Page page, FindNext());
  page.messages.front().set_bytes(bytes_);
  page.messages.front().set_sha256(sha256);
  return page;
}

absl::StatusOr<DownloadCall::Page> DownloadCall::FindNext() {
  Page page;
  v1::ArtifactChunk& chunk = page.messages.emplace_back();
  chunk.set_offset(offset_);
  DW_ASSIGN_OR_RETURN(*chunk.mutable_data(), Read(offset_));
  offset_ += std::ssize(chunk.data());
  page.last = offset_ == bytes_;
  return page;
}

absl::Status DownloadCall::OpenFile() {
  DW_ASSIGN_OR_RETURN(file_, OpenArtifact(training_.jobs, request().id(), request().name()));
  struct stat info = {};
  if (fstat(file_, &info) != 0) return absl::ErrnoToStatus(errno, "cannot look at the file");
  bytes_ = info.st_size;
  return absl::OkStatus();
}

absl::StatusOr<std::string> DownloadCall::Hash() const {
  Sha256 sha256;
  for (int64_t offset = 0; offset < bytes_; offset += kChunkBytes) {
    if (cancelled().stop_requested()) return absl::CancelledError("the call is over");
    DW_ASSIGN_OR_RETURN(const std::string bytes, Read(offset));
    sha256.Update(bytes);
  }
  return sha256.Hex();
}

// A whole chunk, or all that is left.
absl::StatusOr<std::string> DownloadCall::Read(int64_t offset) const {
  std::string bytes(static_cast<size_t>(std::min(kChunkBytes, bytes_ - offset)), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count =
        pread(file_, bytes.data() + done, bytes.size() - done, offset + static_cast<int64_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot read '", request().name(), "'"));
    if (count == 0) return NotTheSame(request().name(), "it became shorter");
    done += static_cast<size_t>(count);
  }
  return bytes;
}

}  // namespace deweather
