#include "training/tile_pass.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/base/random_key.h"
#include "model/base/status_macros.h"

namespace deweather {

absl::StatusOr<int> FindTask(const std::vector<std::string>& tasks, const std::string& task) {
  if (tasks.empty()) return -1;
  const auto found = std::find(tasks.begin(), tasks.end(), task);
  if (found != tasks.end()) return static_cast<int>(found - tasks.begin());
  return absl::InvalidArgumentError(
      absl::StrFormat("unknown task '%s'; known: %s", task, absl::StrJoin(tasks, ", ")));
}

absl::StatusOr<int> TaskOf(const RestorerSpec& model, const PairSet& set, const std::string& task) {
  const absl::StatusOr<int> index = FindTask(model.tasks, task.empty() ? set.name : task);
  if (index.ok()) return index;
  return absl::InvalidArgumentError(
      absl::StrFormat("set '%s', model '%s': %s", set.name, model.name, index.status().message()));
}

absl::Status CheckTasks(const std::vector<Restorer>& models, const std::vector<PairSet>& sets,
                        const std::string& task) {
  const bool any = std::any_of(models.begin(), models.end(),
                               [](const Restorer& model) { return !model.spec.tasks.empty(); });
  if (!any && !task.empty()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("task '%s' of models that have one gate for all tasks", task));
  }
  for (const Restorer& model : models) {
    for (const PairSet& set : sets) DW_RETURN_IF_ERROR(TaskOf(model.spec, set, task).status());
  }
  return absl::OkStatus();
}

ForwardOptions OptionsFor(const TileGrid& grid, int first, int count, int task) {
  ForwardOptions options;
  for (int i = first; i < first + count; ++i) {
    const TileRect rect = grid.tile(i);
    options.keys.push_back(TileKey(/*seed=*/0, rect.x, rect.y));
    if (task >= 0) options.tasks.push_back(task);
  }
  return options;
}

}  // namespace deweather
