#include "model/image/jpeg_quality.h"

#include <algorithm>
#include <cstdlib>

namespace deweather {
namespace {

// ITU-T T.81, table K.1: luma steps at quality 50, natural order.
constexpr int kLumaSteps[64] = {
    16, 11, 10, 16, 24,  40,  51,  61,  12, 12, 14, 19, 26,  58,  60,  55,   //
    14, 13, 16, 24, 40,  57,  69,  56,  14, 17, 22, 29, 51,  87,  80,  62,   //
    18, 22, 37, 56, 68,  109, 103, 77,  24, 35, 55, 64, 81,  104, 113, 92,   //
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99};  //

// What jpeg_set_quality(quality, force_baseline) makes of a step.
int StepAt(int step, int quality) {
  const int percent = quality < 50 ? 5000 / quality : 200 - 2 * quality;
  return std::clamp((step * percent + 50) / 100, 1, 255);
}

}  // namespace

int EstimateJpegQuality(const uint16_t* table) {
  int best_quality = 1;
  int least_difference = -1;
  for (int quality = 100; quality >= 1; --quality) {
    int difference = 0;
    for (int i = 0; i < 64; ++i) difference += std::abs(table[i] - StepAt(kLumaSteps[i], quality));
    if (least_difference < 0 || difference < least_difference) {
      least_difference = difference;
      best_quality = quality;
    }
  }
  return best_quality;
}

}  // namespace deweather
