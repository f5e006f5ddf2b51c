// The folder that a run writes to, and which checkpoints are kept there.
//
// Layout   DIR/.lock                                 held by the run that writes there
//          DIR/NAME.safetensors                      the newest averaged weights
//          DIR/NAME-best.safetensors                 the best of all evaluations
//          DIR/NAME-best-STEP.safetensors            the best by sets that are measured no more
//          DIR/checkpoints/step-000000010.safetensors   a state (training/train_state.h) and its step
//          *.partial.<16 hex digits>                 a file in the making; one that a killed run left is
//                                                    never read, and removed by the next
// Each appears whole or not at all (WriteFileAtomically).
// Threads  one run at a time, which the lock sees to

#ifndef DEWEATHER_TRAINING_RUN_FOLDER_H_
#define DEWEATHER_TRAINING_RUN_FOLDER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deweather {

std::string ModelPath(const std::string& dir, const std::string& name);
std::string BestModelPath(const std::string& dir, const std::string& name);
std::string BestModelPath(const std::string& dir, const std::string& name, int64_t step);
std::string CheckpointPath(const std::string& dir, int64_t step);

// The step in the name of a checkpoint; nothing for any other name.
std::optional<int64_t> StepOf(const std::string& path);

// Keeps other runs out, of this process and of others, for as long as it lives.
class RunLock {
 public:
  // Makes the folder if need be. FAILED_PRECONDITION another run holds it, naming the lock's file.
  static absl::StatusOr<RunLock> Take(const std::string& dir);
  ~RunLock();

  RunLock(RunLock&& other) noexcept;
  RunLock& operator=(RunLock&&) = delete;

 private:
  explicit RunLock(int file) : file_(file) {}
  int file_;  // -1: moved from
};

// What killed runs left half written. REQUIRES: the lock is held.
absl::Status RemovePartialFiles(const std::string& dir);

// Every .safetensors file of DIR/checkpoints, the newest step first; then, under other names, those that
// are no checkpoints. REQUIRES: there is a folder; RunLock makes it.
absl::StatusOr<std::vector<std::string>> ListCheckpoints(const std::string& dir);

// Writes the checkpoint of `step`, then removes the torn ones, which it replaces, and older ones but for
// the `keep` newest. Others of later steps are left.
absl::Status AddCheckpoint(const std::string& dir, int64_t step, std::string_view bytes, int keep,
                           const std::vector<std::string>& torn = {});

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_RUN_FOLDER_H_
