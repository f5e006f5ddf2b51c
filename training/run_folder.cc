#include "training/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kSuffix = ".safetensors";
constexpr std::string_view kPartial = ".partial.";
constexpr size_t kUniqueDigits = 16;

std::string CheckpointsDir(const std::string& dir) { return dir + "/checkpoints"; }

absl::StatusOr<std::vector<fs::path>> FilesOf(const std::string& folder) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unreadable;
    if (entry->is_regular_file(unreadable)) files.push_back(entry->path());
  }
  if (!error) return files;
  return absl::FailedPreconditionError(
      absl::StrFormat("cannot list folder '%s': %s", folder, error.message()));
}

// As WriteFileAtomically names what it has not finished.
bool IsPartial(const std::string& name) {
  const size_t at = name.rfind(kPartial);
  return at != name.npos && name.size() == at + kPartial.size() + kUniqueDigits &&
         name.find_first_not_of("0123456789abcdef", at + kPartial.size()) == name.npos;
}

}  // namespace

std::string ModelPath(const std::string& dir, const std::string& name) {
  return absl::StrFormat("%s/%s.safetensors", dir, name);
}

std::string BestModelPath(const std::string& dir, const std::string& name) {
  return absl::StrFormat("%s/%s-best.safetensors", dir, name);
}

std::string BestModelPath(const std::string& dir, const std::string& name, int64_t step) {
  return absl::StrFormat("%s/%s-best-%d.safetensors", dir, name, step);
}

std::string CheckpointPath(const std::string& dir, int64_t step) {
  return absl::StrFormat("%s/%s%09d%s", CheckpointsDir(dir), kPrefix, step, kSuffix);
}

std::optional<int64_t> StepOf(const std::string& path) {
  const std::string name = fs::path(path).filename().string();
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  const std::string digits =
      name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  int64_t step = 0;
  if (digits.size() < 9 || digits.find_first_not_of("0123456789") != digits.npos ||
      !absl::SimpleAtoi(digits, &step)) {
    return std::nullopt;
  }
  return step;
}

absl::StatusOr<RunLock> RunLock::Take(const std::string& dir) {
  std::error_code error;
  fs::create_directories(CheckpointsDir(dir), error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrFormat("cannot make output_dir '%s': %s", dir, error.message()));
  }
  const std::string path = dir + "/.lock";
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrFormat("cannot open '%s'", path));
  RunLock lock(file);
  if (flock(file, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("cannot lock '%s'", path));
  }
  return absl::FailedPreconditionError(
      absl::StrFormat("another run writes to output_dir '%s': it holds '%s'", dir, path));
}

RunLock::RunLock(RunLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}

RunLock::~RunLock() {
  if (file_ >= 0) close(file_);
}

absl::Status RemovePartialFiles(const std::string& dir) {
  for (const std::string& folder : {dir, CheckpointsDir(dir)}) {
    DW_ASSIGN_OR_RETURN(const std::vector<fs::path> files, FilesOf(folder));
    for (const fs::path& file : files) {
      std::error_code ignored;  // it is in nobody's way
      if (IsPartial(file.filename().string())) fs::remove(file, ignored);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListCheckpoints(const std::string& dir) {
  DW_ASSIGN_OR_RETURN(const std::vector<fs::path> files, FilesOf(CheckpointsDir(dir)));
  std::vector<std::string> paths;
  for (const fs::path& file : files) {
    if (file.extension() == kSuffix) paths.push_back(file.string());
  }
  std::sort(paths.begin(), paths.end(), [](const std::string& a, const std::string& b) {
    return std::pair(StepOf(a).value_or(-1), a) > std::pair(StepOf(b).value_or(-1), b);
  });
  return paths;
}

absl::Status AddCheckpoint(const std::string& dir, int64_t step, std::string_view bytes, int keep,
                           const std::vector<std::string>& torn) {
  DW_RETURN_IF_ERROR(WriteFileAtomically(CheckpointPath(dir, step), bytes));
  for (const std::string& path : torn) {
    std::error_code ignored;  // it is in nobody's way
    if (StepOf(path) != step) fs::remove(path, ignored);
  }
  DW_ASSIGN_OR_RETURN(const std::vector<std::string> paths, ListCheckpoints(dir));
  int kept = 0;
  for (const std::string& path : paths) {
    const int64_t other = StepOf(path).value_or(step + 1);
    std::error_code ignored;  // it is removed next time
    if (other <= step && ++kept > keep) fs::remove(path, ignored);
  }
  return absl::OkStatus();
}

}  // namespace deweather
