// What a training run is told. A TrainConfig file or message fills it (proto/config).

#ifndef DEWEATHER_MODEL_BASE_TRAIN_OPTIONS_H_
#define DEWEATHER_MODEL_BASE_TRAIN_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/base/model_config.h"

namespace deweather {

// A folder of pictures with weather and a folder of the same names without it.
struct PairedSource {
  std::string input_dir = {};
  std::string truth_dir = {};
  double weight = 1;       // share of the crops, relative to the other sources; > 0
  double loss_weight = 1;  // of the loss of its crops; > 0
  std::string task = {};   // under which its loss is logged; sources may share one
};

// A folder of clean pictures on which weather is put while loading.
struct CleanSource {
  std::string dir;
  double weight = 1;             // share of the crops, relative to the other sources; > 0
  double loss_weight = 1;        // of the loss of its crops; > 0
  std::string weather = "rain";  // see training/weather/weather.h; the task of its crops
  double untouched_share = 0;    // share of this source's crops that stay as they are, [0,1]
};

struct DataOptions {
  std::vector<PairedSource> pairs;
  std::vector<CleanSource> clean;
  int crop_px = 128;               // side of the square crops; a multiple of the model's patch
  bool augment = true;             // flips and turns; pairs are only mirrored, for rain falls down
  int loader_threads = 1;          // that decode and put on weather, beside those that compute
  int prefetch_batches = 2;        // made ahead of the network
  int64_t cache_mebibytes = 1024;  // of decoded pictures kept in memory
  int max_unreadable = 10;         // pictures that are skipped before the run stops
};

// What spreads tokens over the experts (training/loss.h).
enum class BalanceKind { kGshard, kPaper };

// A teacher, whose pictures are learned from beside the truth.
struct DistillOptions {
  std::string teacher = {};  // path of a checkpoint; empty: none
  double weight = 1;         // of the loss against its pictures
};

enum class LossKind { kSmoothL1, kL1, kCharbonnier, kLogMse };

struct OptimizerOptions {  // AdamW
  double learning_rate = 2e-4;
  double min_learning_rate = 1e-6;  // at the end of the cosine
  int64_t warmup_steps = 100;       // linear from 0
  double weight_decay = 0.01;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double clip_norm = 1;  // of the whole gradient; 0: no clipping
};

enum class TrainPrecision { kF32, kBf16 };

struct EvaluateOptions {
  std::vector<std::string> pairs_dirs;  // each holds input/ and gt/; none: no evaluation
  int64_t every_steps = 0;              // 0: only at the end
  int patience = 0;  // evaluations without a better mean PSNR-RGB before the run ends; 0: no matter
};

struct TrainOptions {
  std::string name = "model";
  ModelConfig model;
  DataOptions data;
  int batch = 16;      // crops in one pass of one rank
  int accumulate = 1;  // passes whose gradients make one step
  int64_t steps = 10000;
  absl::Duration max_time = absl::InfiniteDuration();  // stops early, after a checkpoint
  OptimizerOptions optimizer;
  LossKind loss = LossKind::kSmoothL1;
  double frequency_weight = 0;  // of FrequencyLoss beside it; 0: not computed
  BalanceKind balance = BalanceKind::kGshard;
  double balance_weight = 0.01;   // lambda 1, of BalanceLoss; 0: the experts are left alone
  double uncertainty_weight = 0;  // lambda 2, of UncertaintyLoss; 0: not computed
  DistillOptions distill;
  double ema_decay = 0.999;  // 0: the weights themselves are kept
  TrainPrecision precision = TrainPrecision::kF32;
  uint64_t seed = 0;
  std::string device = "auto";  // as LoadOptions::device; a rank of several takes its own GPU
  absl::Duration rank_timeout = absl::Seconds(600);  // of waiting for another rank
  int threads = 0;  // of Torch; 0: one per processor; loader_threads come on top
  int64_t checkpoint_every_steps = 1000;
  int keep_checkpoints = 2;  // the newest; the best model is kept beside them
  int max_bad_steps = 10;    // in a row whose loss or gradient is not finite, before the run stops
  int64_t log_every_steps = 50;
  EvaluateOptions evaluate;
  std::string output_dir;
  std::string init_from;  // a checkpoint whose weights to start from; empty: random
  bool resume = false;    // go on from output_dir's last checkpoint if there is one
};

// INVALID_ARGUMENT, naming the field, its value and its range.
absl::Status Validate(const TrainOptions& options);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_TRAIN_OPTIONS_H_
