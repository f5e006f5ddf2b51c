#include "training/resume.h"

#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/base/annotate.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "training/run_fields.h"
#include "training/run_folder.h"

namespace deweather {
namespace {

using Warn = std::function<void(const std::string&)>;

absl::StatusOr<SavedState> ReadCheckpoint(const std::string& path) {
  const std::optional<int64_t> step = StepOf(path);
  if (!step) return absl::DataLossError(absl::StrFormat("'%s' is no name of a checkpoint", path));
  DW_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  absl::StatusOr<SavedState> saved = ParseState(bytes);
  if (!saved.ok()) return Annotate(saved.status(), path);
  if (saved->state.step == *step) return saved;
  return absl::DataLossError(
      absl::StrFormat("'%s' holds the state of step %d", path, saved->state.step));
}

absl::StatusOr<Beginning> GoOn(SavedState saved, const std::string& path, const RunFields& run,
                               const Warn& warn) {
  const absl::StatusOr<std::vector<std::string>> changes = CompareRuns(saved.run, run);
  if (!changes.ok()) {
    return absl::Status(changes.status().code(),
                        absl::StrFormat("cannot resume '%s' with another configuration: %s", path,
                                        changes.status().message()));
  }
  for (const std::string& change : *changes) {
    warn(absl::StrFormat("%s: from here on the run may not be the one that began", change));
  }
  return Beginning{std::move(saved.state), path, {}};
}

// A run writes its first checkpoint before any model: what is there without one would be lost.
absl::Status CheckNoModel(const TrainOptions& options) {
  for (const std::string& path : {ModelPath(options.output_dir, options.name),
                                  BestModelPath(options.output_dir, options.name)}) {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    return absl::AlreadyExistsError(
        absl::StrFormat("'%s' is of an earlier run, whose checkpoints are gone: move it, or name "
                        "another output_dir",
                        path));
  }
  return absl::OkStatus();
}

absl::StatusOr<Beginning> BeginAnew(const TrainOptions& options) {
  const std::string old = options.output_dir + "/state.safetensors";
  std::error_code ignored;
  if (std::filesystem::exists(old, ignored)) {
    return absl::FailedPreconditionError(
        absl::StrFormat("'%s' is of a run of an earlier version, which cannot be resumed: name "
                        "another output_dir, and that run's model as init_from to start from it",
                        old));
  }
  DW_RETURN_IF_ERROR(CheckNoModel(options));
  DW_ASSIGN_OR_RETURN(TrainState state, BeginState(options));
  return Beginning{std::move(state), "", {}};
}

}  // namespace

absl::StatusOr<Beginning> BeginOrResume(const TrainOptions& options, const RunFields& run,
                                        const Warn& warn) {
  DW_ASSIGN_OR_RETURN(const std::vector<std::string> paths, ListCheckpoints(options.output_dir));
  if (paths.empty()) return BeginAnew(options);
  if (!options.resume) {
    return absl::AlreadyExistsError(absl::StrFormat(
        "'%s' is of an earlier run: set resume, or name another output_dir", paths.front()));
  }
  std::vector<std::string> broken, torn;
  for (const std::string& path : paths) {
    absl::StatusOr<SavedState> saved = ReadCheckpoint(path);
    if (absl::IsResourceExhausted(saved.status())) return saved.status();  // no fault of the file
    if (saved.ok()) {
      for (const std::string& reason : broken) warn("checkpoint passed over: " + reason);
      DW_ASSIGN_OR_RETURN(Beginning beginning, GoOn(*std::move(saved), path, run, warn));
      beginning.torn = std::move(torn);
      return beginning;
    }
    if (absl::IsDataLoss(saved.status())) torn.push_back(path);
    broken.emplace_back(saved.status().message());
  }
  return absl::DataLossError(absl::StrFormat("no checkpoint of output_dir '%s' is whole: %s",
                                             options.output_dir, absl::StrJoin(broken, "; ")));
}

}  // namespace deweather
