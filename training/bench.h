// How long a network takes, with random weights of a configuration or those of a checkpoint, and how
// much of a training run's speed is lost to loading.

#ifndef DEWEATHER_TRAINING_BENCH_H_
#define DEWEATHER_TRAINING_BENCH_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/load_options.h"
#include "model/base/model_config.h"
#include "model/base/train_options.h"
#include "model/machine_peak.h"
#include "training/rank_place.h"
#include "training/stage_cost.h"

namespace deweather {

struct BenchOptions {
  ModelConfig config;
  std::string model;   // a checkpoint's path, instead of `config`
  int size_px = 256;   // side of the tiles; a multiple of the patch
  int batch = 1;       // tiles at a time
  int runs = 10;       // that are counted, after two that are not
  bool train = false;  // a step of a run with random weights: loss, gradients, AdamW, average
  std::optional<TrainOptions> run = std::nullopt;  // whose step, network, crops and batch; no data
  LoadOptions load;                                // precision auto of a step: the run's
  int threads = 0;                                 // of Torch; 0: the run's, or one per processor
  RankPlace place = {};                            // of a step's: gradients are averaged over ranks
  // Of inference: file to write before timing, safetensors: every weight under its name, `tiles`, and
  // `restored`, what becomes of them [B,3,H,W]. For other programs to compute the same from.
  std::string save = "";
  bool verify = true;   // of inference; without, its memory is that of inference alone
  bool stages = false;  // of inference: also times its stages, and what the machine reaches at best
};

struct TimedStage {
  StageCost cost;  // of a batch
  double milliseconds = 0;
};

struct BenchResult {
  double median_ms_per_tile = 0;
  double min_ms_per_tile = 0;
  std::vector<double> run_ms = {};  // of every counted run, in order
  int64_t parameters = 0;
  int64_t macs_per_tile = 0;  // convolutions, linear layers and attention
  std::string device;         // that was computed on
  std::string precision;      // that was computed in
  int threads = 0;
  int batch = 0;
  int size_px = 0;
  // Of inference: how far the first tile is from what the network makes of it in f32 the way training
  // computes it, alone: ||x - y|| / ||y - its mean||.
  double distance = 0;
  double minor_faults_per_run = 0;  // pages mapped anew, mean over the counted runs
  int64_t resident_bytes_first = 0,
          resident_bytes_last = 0;  // after the first and last counted run
  int64_t peak_resident_bytes = 0;
  int64_t peak_device_bytes = 0;  // of a GPU
  MachinePeak peak = {};          // with `stages`
  std::vector<TimedStage> stages = {};
};

// INVALID_ARGUMENT an option out of range; INTERNAL inference computes something else than training does;
// what LoadRestorer says of `model`.
absl::StatusOr<BenchResult> RunBench(const BenchOptions& options);

// Of each round: steps on batches as a run loads them, then as many on one batch that is there.
struct LoadingRound {
  double loading_steps_per_second = 0;
  double cached_steps_per_second = 0;
};

// The real data set, loader and steps of a run; nothing is saved. What is not counted at the start of
// either half: the steps on what was loaded ahead, and those in which the loader loads ahead again.
// INVALID_ARGUMENT steps or rounds that are not positive; what Dataset::Open and Load say.
absl::StatusOr<std::vector<LoadingRound>> RunLoadingBench(const TrainOptions& options, int rounds,
                                                          int steps);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_BENCH_H_
