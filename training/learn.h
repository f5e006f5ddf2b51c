// One pass of training: what the network makes of a batch of crops, and the gradient of its loss.
//
// Math     total = L_ts + lambda1 L_lb + lambda2 L_uc + lambda3 L_kd     [Eq. 8; Hinton et al. 2015]
//          L_ts = 1/B sum_b w_b (TaskLoss_b + frequency_weight FrequencyLoss_b)
//          L_lb = BalanceLoss, L_uc = UncertaintyLoss; lambda1 balance_weight, lambda2 uncertainty_weight
//          L_kd = 1/B sum_b w_b TaskLoss_b against the teacher's picture; lambda3 distill.weight

#ifndef DEWEATHER_TRAINING_LEARN_H_
#define DEWEATHER_TRAINING_LEARN_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/train_options.h"
#include "model/network.h"
#include "training/loader.h"
#include "training/ranks.h"
#include "training/train_state.h"

namespace deweather {

// Terms are before their weights, and means over ranks but for crop_losses, which are this rank's.
struct PassLoss {
  double total = 0;                      // that is differentiated
  double weighted = 0;                   // L_ts
  double balance = 0;                    // L_lb
  double uncertainty = 0;                // L_uc; 0 where it has no weight, as it is not computed
  double distill = 0;                    // L_kd; 0 without a teacher
  std::vector<double> crop_losses = {};  // [B], of L_ts before w_b
};

struct Teacher {
  Network network;      // frozen
  std::string version;  // of its file
};

// options.distill.teacher, in the run's precision, on `device`; none if that is empty or has no weight: then the
// run at most starts from it. What LoadCheckpoint says; INVALID_ARGUMENT it has no gate for a task of `data`, or
// crops do not fit its patch. Each error names the field.
absl::StatusOr<std::optional<Teacher>> LoadTeacher(const TrainOptions& options,
                                                   at::Device device = at::kCPU);

// Dropout of the router's passes is a function of (options.seed, step, index of the crop in the step).
// Adds the gradient of total / accumulate to the weights', so that the passes of a step make the gradient
// of their mean; batch 8 and batch 4 twice differ by rounding and by BalanceLoss, which is taken over each
// pass. If the total is not finite, no gradient is added. Computes where the weights are. `teacher` may be
// null, and `ranks`: alone. The last pass of a step averages the gradients over ranks. Throws c10::Error.
PassLoss LearnFrom(const TrainOptions& options, const Batch& batch, TrainState& state,
                   const Network* teacher = nullptr, Ranks* ranks = nullptr);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_LEARN_H_
