#include "client/part_file.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

std::string SidecarOf(const std::string& part) { return part + ".sha256"; }

absl::Status Failed(const std::string& what, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", what, " ", path));
}

}  // namespace

absl::StatusOr<PartFile> PartFile::Open(const std::string& path) {
  PartFile part(path);
  const absl::StatusOr<std::string> sha256 = ReadFile(SidecarOf(part.part_));
  std::error_code error;
  const auto bytes = static_cast<int64_t>(fs::file_size(part.part_, error));
  if (!sha256.ok() || sha256->size() != kSha256Digits || error) return part;
  part.file_.reset(std::fopen(part.part_.c_str(), "ab"));
  if (part.file_ == nullptr) return Failed("open", part.part_);
  part.sha256_ = *sha256;
  part.bytes_ = bytes;
  return part;
}

absl::Status PartFile::Restart(const std::string& sha256) {
  std::error_code ignored;
  fs::remove(SidecarOf(part_), ignored);
  file_.reset(std::fopen(part_.c_str(), "wb"));
  if (file_ == nullptr) return Failed("open", part_);
  bytes_ = 0;
  sha256_ = sha256;
  return WriteFileAtomically(SidecarOf(part_), sha256);
}

void PartFile::Forget() {
  std::error_code ignored;
  file_.reset();
  fs::remove(SidecarOf(part_), ignored);
  fs::remove(part_, ignored);
  bytes_ = 0;
  sha256_.clear();
}

absl::Status PartFile::Append(std::string_view piece) {
  const bool written = std::fwrite(piece.data(), 1, piece.size(), file_.get()) == piece.size() &&
                       std::fflush(file_.get()) == 0;
  if (!written) return Failed("write", part_);
  bytes_ += static_cast<int64_t>(piece.size());
  return absl::OkStatus();
}

absl::Status PartFile::Commit() {
  if (std::fflush(file_.get()) != 0 || fsync(fileno(file_.get())) != 0) {
    return Failed("write", part_);
  }
  DW_ASSIGN_OR_RETURN(const std::string found, Sha256OfFile(part_));
  if (found != sha256_) {
    const std::string wanted = sha256_;
    Forget();
    return absl::DataLossError(
        absl::StrFormat("%s arrived with SHA-256 %s, not %s", path_, found, wanted));
  }
  if (std::rename(part_.c_str(), path_.c_str()) != 0) return Failed("write", path_);
  std::error_code ignored;
  fs::remove(SidecarOf(part_), ignored);
  return SyncFolderOf(path_);
}

}  // namespace deweather
