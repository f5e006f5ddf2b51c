// The options that make a run what it is, as text: what a checkpoint remembers of them, so that a run is
// not resumed as another one.

#ifndef DEWEATHER_TRAINING_RUN_FIELDS_H_
#define DEWEATHER_TRAINING_RUN_FIELDS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/train_options.h"

namespace deweather {

// Of a teacher that is learned from.
struct TeacherNote {
  std::string version = {};  // of its file; empty: there is none
  bool has_tasks = false;
};

// By the names of a TrainConfig. Not among them, as they change no weight: output_dir, resume, device,
// rank_timeout, the tasks of pairs where neither model nor teacher has any, how much is loaded ahead, kept or
// skipped, and when to log, save and measure. What came later, from model.experts_by_block on, is among them only where
// it is not the default: checkpoints from before have none of it.
// REQUIRES: options.threads is what the run computes with, not 0.
std::map<std::string, std::string> DescribeRun(const TrainOptions& options,
                                               const TeacherNote& teacher = {});

// What all ranks must have alike: `run`, but for what may differ from machine to machine, the kind of the device
// ("cpu"), as ranks on others could not talk, and what says when they wait for each other.
std::map<std::string, std::string> AlikeOnRanks(const TrainOptions& options,
                                                const std::string& device_kind,
                                                std::map<std::string, std::string> run);

// FAILED_PRECONDITION, naming each field with its old and its new value, if the two are not the same
// run. Returns a line for each difference that a run may go on with: `steps` and `max_time`, which bend
// the schedule; `threads` and `ranks` (absent: 1), which change what is summed in which order; other pictures in
// the folders; folders of data, init_from and distill.teacher, which may have been moved.
absl::StatusOr<std::vector<std::string>> CompareRuns(
    const std::map<std::string, std::string>& before,
    const std::map<std::string, std::string>& now);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_RUN_FIELDS_H_
