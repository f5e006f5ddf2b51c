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

// Of each layer, how many kept places are expert i's: [E] f32, by layer. What ranks add up.
std::vector<at::Tensor> KeptCounts(const std::vector<Gates>& gates);

// How unevenly the tokens of a batch are spread over the experts; mean over layers.
// Math     gshard: E sum_i f_i P_i [Lepikhin et al. 2020, GShard]; 1 when evenly. f_i: share of the kept
//          places that are expert i's, as `counts` say; P_i: mean over tokens of the softmax over all
//          paper: E/N sum_n sum_i v_i(x_n) r_i(x_n) [Eq. 8 and 9]; v_i = 1 for kept experts, r the softmax
//          over all experts: over the kept ones it would sum to 1 and have no gradient. Least, K, where all
//          experts are equally probable, whichever are kept: it makes routers unsure and need not balance
//          (tests/training/collapse_test.cc)
// Shapes   counts: KeptCounts(gates), or their sum over ranks
at::Tensor BalanceLoss(BalanceKind kind, const std::vector<Gates>& gates,
                       const std::vector<at::Tensor>& counts);

// How unsure the routers are of the experts they keep; mean over layers. 0 where no passes were run.
// Math     E/N sum_n sum_i sigma^2_i(x_n) v_i(x_n)                             [Eq. 10 and 11]
at::Tensor UncertaintyLoss(const std::vector<Gates>& gates);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_LOSS_H_
