// How long a network takes, with random weights of a configuration or those of a checkpoint.

#ifndef DEWEATHER_TRAINING_BENCH_H_
#define DEWEATHER_TRAINING_BENCH_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "model/base/load_options.h"
#include "model/base/model_config.h"

namespace deweather {

struct BenchOptions {
  ModelConfig config;
  std::string model;   // a checkpoint's path, instead of `config`
  int size_px = 256;   // side of the tiles; a multiple of the patch
  int batch = 1;       // tiles at a time
  int runs = 10;       // that are counted, after two that are not
  bool train = false;  // forward, backward and the optimiser's step, f32 or bf16
  LoadOptions load;
  int threads = 0;  // of Torch; 0: one per processor
};

struct BenchResult {
  double median_ms_per_tile = 0;
  double min_ms_per_tile = 0;
  int64_t parameters = 0;
  int64_t macs_per_tile = 0;  // convolutions, linear layers and attention
  std::string device;         // that was computed on
  std::string precision;      // that was computed in
  int threads = 0;
};

// INVALID_ARGUMENT an option out of range; what LoadRestorer says of `model`.
absl::StatusOr<BenchResult> RunBench(const BenchOptions& options);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_BENCH_H_
