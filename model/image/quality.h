// How close two pictures are: PSNR and SSIM on RGB and on luma, 8 bits.
//
// Math     PSNR = 10 log10(255² / MSE), at most 100 dB (identical pictures)
//          Y = 16 + 65.481 R + 128.553 G + 24.966 B with R, G, B in [0,1]   (BT.601, not rounded)
//          SSIM: 11×11 Gaussian window, σ = 1.5, K = (0.01, 0.03), population covariance, mean over
//          the positions where the window lies inside the picture and over the channels
// Threads  thread-safe

#ifndef DEWEATHER_MODEL_IMAGE_QUALITY_H_
#define DEWEATHER_MODEL_IMAGE_QUALITY_H_

#include "absl/status/statusor.h"
#include "model/image/image.h"

namespace deweather {

struct Quality {
  double psnr_rgb = 0;
  double psnr_y = 0;
  double ssim_rgb = 0;
  double ssim_y = 0;
};

// 16-bit samples are rounded to 8 bits, grey counts as R = G = B, alpha and profiles are ignored.
// INVALID_ARGUMENT when the sizes differ (both named) or a side is under 11 px.
absl::StatusOr<Quality> CompareImages(const Image& a, const Image& b);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_QUALITY_H_
