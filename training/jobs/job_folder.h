// The folder of a job, and what of it callers may have.
//
// Layout   JOBS/jobs.db                     the store
//          JOBS/ID/config.textproto         what the program reads: data sets as folders, output_dir set
//          JOBS/ID/log.txt, log.txt.1       what it printed (job_log.h)
//          JOBS/ID/run/                     its output_dir: checkpoints, models, log.jsonl, curve.png, sheets
//          JOBS is DATA/jobs of a data folder.
// Threads  thread-safe: functions of the files
// Errors   NOT_FOUND (UNKNOWN_ARTIFACT) · INVALID_ARGUMENT a name that leads elsewhere

#ifndef DEWEATHER_TRAINING_JOBS_JOB_FOLDER_H_
#define DEWEATHER_TRAINING_JOBS_JOB_FOLDER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace deweather {

// As training/run_folder.h names weights, and files in the making.
inline constexpr std::string_view kWeightsExtension = ".safetensors";
inline constexpr std::string_view kPartialMark = ".partial.";

std::string JobStorePath(const std::string& jobs);
std::string JobFolder(const std::string& jobs, const std::string& id);
std::string JobConfigPath(const std::string& jobs, const std::string& id);
std::string JobLogPath(const std::string& jobs, const std::string& id);
std::string JobRunFolder(const std::string& jobs, const std::string& id);

enum class ArtifactKind { kOther, kCheckpoint, kModel, kLog, kPicture, kConfig };

struct Artifact {
  // A path within the job's folder: "run/checkpoints/step-000001000.safetensors".
  std::string name = {};
  ArtifactKind kind = ArtifactKind::kOther;
  int64_t bytes = 0;
  absl::Time update_time = absl::InfinitePast();
  std::optional<int64_t> step = {};  // of a checkpoint
};

// The newest checkpoint first, then models, then the others by name. Links, locks and files in the making
// are none. Empty: there is no folder yet.
absl::StatusOr<std::vector<Artifact>> ListArtifacts(const std::string& jobs, const std::string& id);

// Opens one of them for reading: the descriptor is the caller's. What it reads is one file even if it
// is replaced meanwhile.
absl::StatusOr<int> OpenArtifact(const std::string& jobs, const std::string& id,
                                 const std::string& name);

// The newest checkpoint of a job, by its path; nothing: it has none.
std::optional<std::string> NewestCheckpoint(const std::string& jobs, const std::string& id);

// The best model of a job that has ended, else its newest, by path; nothing: it has none.
std::optional<std::string> ResultModel(const std::string& jobs, const std::string& id,
                                       const std::string& model);

// Bytes of all files in the folder; hard links count once.
int64_t FolderBytes(const std::string& folder);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_JOBS_JOB_FOLDER_H_
