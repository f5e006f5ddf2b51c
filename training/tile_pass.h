// What a model is told beside the tiles of one picture, where no server does it.
//
// Threads  pure functions

#ifndef DEWEATHER_TRAINING_TILE_PASS_H_
#define DEWEATHER_TRAINING_TILE_PASS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/image/tiling.h"
#include "model/restorer.h"
#include "training/evaluation.h"

namespace deweather {

// Index of `task` in a model's tasks; -1 where it has none. INVALID_ARGUMENT an unknown one, and
// lists those there are.
absl::StatusOr<int> FindTask(const std::vector<std::string>& tasks, const std::string& task);

// Index of the gate that a set's pictures get: that of `task`, if it is empty of the set's name; -1 of a
// model that has one for all. INVALID_ARGUMENT an unknown one.
absl::StatusOr<int> TaskOf(const RestorerSpec& model, const PairSet& set, const std::string& task);

// TaskOf of every model and set. INVALID_ARGUMENT also a `task` where no model has any.
absl::Status CheckTasks(const std::vector<Restorer>& models, const std::vector<PairSet>& sets,
                        const std::string& task);

// Keys and tasks of the tiles from `first` on, `count` of them. A tile's passes are a function of its
// place in the picture, the same as the server's at seed 0.
ForwardOptions OptionsFor(const TileGrid& grid, int first, int count, int task);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_TILE_PASS_H_
