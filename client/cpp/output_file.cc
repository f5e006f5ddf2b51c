#include "client/cpp/output_file.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "client/cpp/link.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"

namespace deweather {

namespace fs = std::filesystem;

std::string FileToReplace(const std::string& path) {
  std::error_code error;
  const fs::file_status there = fs::status(path, error);
  if (fs::exists(there) && !fs::is_regular_file(there)) {
    Throw(absl::FailedPreconditionError(absl::StrCat(path, " is no regular file")));
  }
  if (!fs::is_symlink(fs::symlink_status(path, error))) return path;
  const fs::path named = fs::exists(there)
                             ? fs::canonical(path, error)
                             : fs::path(path).parent_path() / fs::read_symlink(path, error);
  if (error) Throw(DiskError(error.value(), absl::StrCat("cannot write ", path)));
  return named.string();
}

OutputFile::OutputFile(const std::string& path)
    : path_(FileToReplace(path)), part_(UniqueName(path_ + ".part-")) {}

OutputFile::~OutputFile() {
  std::error_code ignored;
  fs::remove(part_, ignored);
}

absl::Status OutputFile::Begin() {
  file_.reset(std::fopen(part_.c_str(), "wb"));
  return file_ != nullptr ? absl::OkStatus() : Failed();
}

absl::Status OutputFile::Append(std::string_view piece) {
  const bool written = std::fwrite(piece.data(), 1, piece.size(), file_.get()) == piece.size();
  return written ? absl::OkStatus() : Failed();
}

absl::Status OutputFile::Commit() {
  if (std::fflush(file_.get()) != 0 || fsync(fileno(file_.get())) != 0) return Failed();
  DW_RETURN_IF_ERROR(deweather::Rename(part_, path_));
  return SyncFolderOf(path_);
}

absl::Status OutputFile::Failed() const {
  return DiskError(errno, absl::StrCat("cannot write ", path_));
}

}  // namespace deweather
