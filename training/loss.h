// How far a restored crop is from the truth.

#ifndef DEWEATHER_TRAINING_LOSS_H_
#define DEWEATHER_TRAINING_LOSS_H_

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/base/train_options.h"
#include "model/router.h"

namespace deweather {

// Math     smooth_l1: mean of e²/2 where |e| < 1, |e| - 1/2 elsewhere (the authors')
//          l1: mean |e|;  charbonnier: mean of sqrt(e² + 1e-6)
//          log_mse: log(mean e² + 2e-3), PSNR but for a factor, levelling off at 27 dB: a picture
//          counts no more for being far off [Chen et al. 2021, HINet]
// Shapes   both [B,3,H,W] -> [B], one a picture
at::Tensor TaskLoss(LossKind kind, const at::Tensor& restored, const at::Tensor& truth);

// How far the spectra are apart [Cho et al. 2021, MIMO-UNet, Eq. 4].
// Math     mean of |Re F(e)| + |Im F(e)|, F the orthonormal 2-D Fourier transform of a channel
// Shapes   as above
at::Tensor FrequencyLoss(const at::Tensor& restored, const at::Tensor& truth);

// How unevenly the tokens of a batch are spread over the experts; 1 when evenly.
// Math     mean over layers of E sum_i f_i P_i [Lepikhin et al. 2020, GShard]; f_i: share of the kept
//          places that are expert i's, P_i: mean over tokens of the softmax over all experts
// Deviates from the paper's Eq. 8, which over kept gates sums to a constant.
at::Tensor BalanceLoss(const std::vector<Gates>& gates);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_LOSS_H_
