#include "training/jobs/job_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "training/jobs/job.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

// As training/run_folder.h lays the folder of a run out.
constexpr std::string_view kCheckpoints = "run/checkpoints/";
constexpr std::string_view kCheckpointPrefix = "step-";

constexpr size_t kMostArtifacts = 10000;  // a program may write what it likes
constexpr int kMostLevels = 8;

bool IsRegular(const std::string& path, struct stat* info) {
  return lstat(path.c_str(), info) == 0 && S_ISREG(info->st_mode);
}

// The step of "run/checkpoints/step-000000010.safetensors".
std::optional<int64_t> StepOf(std::string_view name) {
  const std::string_view begin = kCheckpoints;
  if (!name.starts_with(begin) || !name.ends_with(kWeightsExtension)) return std::nullopt;
  name.remove_prefix(begin.size());
  name.remove_suffix(kWeightsExtension.size());
  if (!name.starts_with(kCheckpointPrefix)) return std::nullopt;
  name.remove_prefix(kCheckpointPrefix.size());
  int64_t step = 0;
  const bool digits = name.size() >= 9 && name.find_first_not_of("0123456789") == name.npos;
  if (!digits || !absl::SimpleAtoi(std::string(name), &step)) return std::nullopt;
  return step;
}

ArtifactKind KindOf(const std::string& name) {
  const fs::path path(name);
  const std::string file = path.filename().string(), folder = path.parent_path().string();
  const std::string extension = path.extension().string();
  if (StepOf(name)) return ArtifactKind::kCheckpoint;
  if (folder == "run" && extension == kWeightsExtension) return ArtifactKind::kModel;
  if (name == "config.textproto") return ArtifactKind::kConfig;
  if (name == "log.txt" || name == "log.txt.1" || extension == ".jsonl" ||
      file.starts_with("events.out.tfevents.")) {
    return ArtifactKind::kLog;
  }
  const bool picture = extension == ".png" || extension == ".jpg" || extension == ".jpeg";
  return picture ? ArtifactKind::kPicture : ArtifactKind::kOther;
}

// A part of an artifact's name: not hidden, and nothing in the making.
bool IsShown(std::string_view part) {
  return !part.empty() && part.front() != '.' && part.find(kPartialMark) == part.npos;
}

absl::Status Unknown(const std::string& id, const std::string& name) {
  return WithReason(absl::NotFoundError(absl::StrFormat("job '%s' has no file '%s'", id, name)),
                    "UNKNOWN_ARTIFACT");
}

absl::Status CheckId(const std::string& id) {
  if (IsJobId(id)) return absl::OkStatus();
  return absl::InvalidArgumentError("id is not made of 12 lower-case letters and digits");
}

// Of a file's name: the parts between its slashes. Whether they are shown is another matter.
absl::StatusOr<std::vector<std::string>> PartsOf(const std::string& name) {
  std::vector<std::string> parts = absl::StrSplit(name, '/');
  const bool plain = std::none_of(parts.begin(), parts.end(), [](const std::string& part) {
    return part.empty() || part == "." || part == ".." || part.find('\0') != part.npos;
  });
  if (plain) return parts;
  return absl::InvalidArgumentError("name is not a path of plain names within the job's folder");
}

// What `part` is in an open folder, which is closed; no link is followed, and no pipe waited for. -1: it
// cannot be opened.
int Descend(int folder, const std::string& part, int flags) {
  if (folder < 0) return -1;
  const int next =
      openat(folder, part.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags);
  const int error = errno;
  close(folder);
  errno = error;
  return next;
}

// errno of a name that leads to nothing that callers may have.
bool IsNothing(int error) {
  return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG ||
         error == ENXIO;
}

absl::Time ToTime(const struct timespec& time) { return absl::TimeFromTimespec(time); }

std::optional<Artifact> ArtifactAt(const fs::path& folder, const fs::path& path) {
  struct stat info = {};
  if (!IsRegular(path.string(), &info)) return std::nullopt;
  Artifact artifact{.name = path.lexically_relative(folder).string()};
  artifact.kind = KindOf(artifact.name);
  artifact.bytes = info.st_size;
  artifact.update_time = ToTime(info.st_mtim);
  artifact.step = StepOf(artifact.name);
  return artifact;
}

// Checkpoints, models, the rest.
bool ComesBefore(const Artifact& a, const Artifact& b) {
  const auto order = [](const Artifact& one) {
    const int rank = one.kind == ArtifactKind::kCheckpoint ? 0
                     : one.kind == ArtifactKind::kModel    ? 1
                                                           : 2;
    return std::tuple(rank, -one.step.value_or(0), std::string_view(one.name));
  };
  return order(a) < order(b);
}

}  // namespace

std::string JobStorePath(const std::string& jobs) { return absl::StrCat(jobs, "/jobs.db"); }

std::string JobFolder(const std::string& jobs, const std::string& id) {
  return absl::StrCat(jobs, "/", id);
}

std::string JobConfigPath(const std::string& jobs, const std::string& id) {
  return absl::StrCat(JobFolder(jobs, id), "/config.textproto");
}

std::string JobLogPath(const std::string& jobs, const std::string& id) {
  return absl::StrCat(JobFolder(jobs, id), "/log.txt");
}

std::string JobRunFolder(const std::string& jobs, const std::string& id) {
  return absl::StrCat(JobFolder(jobs, id), "/run");
}

absl::StatusOr<std::vector<Artifact>> ListArtifacts(const std::string& jobs,
                                                    const std::string& id) {
  DW_RETURN_IF_ERROR(CheckId(id));
  const std::string folder = JobFolder(jobs, id);
  std::vector<Artifact> artifacts;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error), end;
  while (!error && entry != end && artifacts.size() < kMostArtifacts) {
    const fs::path& path = entry->path();
    const bool shown = IsShown(path.filename().string());
    if (!shown || entry.depth() + 1 >= kMostLevels) entry.disable_recursion_pending();
    std::optional<Artifact> artifact;
    if (shown) artifact = ArtifactAt(folder, path);
    if (artifact) artifacts.push_back(*std::move(artifact));
    entry.increment(error);
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot list '", folder, "'"));
  }
  std::sort(artifacts.begin(), artifacts.end(), ComesBefore);
  return artifacts;
}

absl::StatusOr<int> OpenArtifact(const std::string& jobs, const std::string& id,
                                 const std::string& name) {
  DW_RETURN_IF_ERROR(CheckId(id));
  DW_ASSIGN_OR_RETURN(const std::vector<std::string> parts, PartsOf(name));
  if (!std::all_of(parts.begin(), parts.end(), IsShown)) return Unknown(id, name);
  int file = Descend(open(jobs.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), id, O_DIRECTORY);
  for (size_t i = 0; i < parts.size(); ++i) {
    file = Descend(file, parts[i], i + 1 < parts.size() ? O_DIRECTORY : 0);
  }
  if (file < 0 && IsNothing(errno)) return Unknown(id, name);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open '", name, "'"));
  struct stat info = {};
  if (fstat(file, &info) == 0 && S_ISREG(info.st_mode)) return file;
  close(file);
  return Unknown(id, name);
}

std::optional<std::string> NewestCheckpoint(const std::string& jobs, const std::string& id) {
  const absl::StatusOr<std::vector<Artifact>> artifacts = ListArtifacts(jobs, id);
  if (!artifacts.ok() || artifacts->empty() ||
      artifacts->front().kind != ArtifactKind::kCheckpoint) {
    return std::nullopt;
  }
  return absl::StrCat(JobFolder(jobs, id), "/", artifacts->front().name);
}

std::optional<std::string> ResultModel(const std::string& jobs, const std::string& id,
                                       const std::string& model) {
  for (const std::string_view end : {"-best", ""}) {
    std::string path = absl::StrCat(JobRunFolder(jobs, id), "/", model, std::string(end),
                                    std::string(kWeightsExtension));
    struct stat info = {};
    if (IsRegular(path, &info)) return path;
  }
  return std::nullopt;
}

int64_t FolderBytes(const std::string& folder) {
  int64_t bytes = 0;
  std::set<std::pair<dev_t, ino_t>> seen;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    struct stat info = {};
    if (!IsRegular(entry->path().string(), &info)) continue;
    const bool first = info.st_nlink < 2 || seen.emplace(info.st_dev, info.st_ino).second;
    if (first) bytes += info.st_size;
  }
  return bytes;
}

}  // namespace deweather
