#include "training/tile_pass.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/base/random_key.h"

namespace deweather {

absl::StatusOr<int> FindTask(const std::vector<std::string>& tasks, const std::string& task) {
  if (tasks.empty()) return -1;
  const auto found = std::find(tasks.begin(), tasks.end(), task);
  if (found != tasks.end()) return static_cast<int>(found - tasks.begin());
  return absl::InvalidArgumentError(
      absl::StrFormat("unknown task '%s'; known: %s", task, absl::StrJoin(tasks, ", ")));
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
