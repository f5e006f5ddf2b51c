// One pass of training: what the network makes of a batch of crops, and the gradient of its loss.

#ifndef DEWEATHER_TRAINING_LEARN_H_
#define DEWEATHER_TRAINING_LEARN_H_

#include <vector>

#include "model/base/train_options.h"
#include "training/loader.h"
#include "training/train_state.h"

namespace deweather {

struct PassLoss {
  double total = 0;                 // that is differentiated
  double weighted = 0;              // of it, the crops' part: a mean over them
  double balance = 0;               // BalanceLoss, before its weight
  std::vector<double> crop_losses;  // [B], before their weights
};

// Math     total = 1/B sum_b w_b (TaskLoss_b + frequency_weight FrequencyLoss_b)
//                  + balance_weight BalanceLoss
// Adds the gradient of total / accumulate to the weights', so that the passes of a step make the gradient
// of their mean; batch 8 and batch 4 twice differ by rounding and by BalanceLoss, which is taken over each
// pass. If the total is not finite, no gradient is added. Throws c10::Error.
PassLoss LearnFrom(const TrainOptions& options, const Batch& batch, TrainState& state);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_LEARN_H_
