// Noise that was drawn upright, turned to where it falls.

#ifndef DEWEATHER_TRAINING_WEATHER_TURN_H_
#define DEWEATHER_TRAINING_WEATHER_TURN_H_

#include "opencv2/core.hpp"

namespace deweather {

// Side of a square that covers a picture of that size at any angle.
int CoveringSide(cv::Size size);

// The middle of `upright`, a square of CoveringSide, turned by angle_deg: positive falls to the right.
cv::Mat1f Turned(const cv::Mat1f& upright, double angle_deg, cv::Size size);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_WEATHER_TURN_H_
