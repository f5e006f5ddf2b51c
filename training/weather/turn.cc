#include "training/weather/turn.h"

#include <cmath>
#include <numbers>

#include "opencv2/imgproc.hpp"

namespace deweather {

int CoveringSide(cv::Size size) {
  return 4 + static_cast<int>(std::ceil(std::hypot(size.width, size.height)));
}

cv::Mat1f Turned(const cv::Mat1f& upright, double angle_deg, cv::Size size) {
  const double angle = angle_deg * std::numbers::pi / 180;
  const double sin = std::sin(angle), cos = std::cos(angle);
  const double x = 0.5 * size.width, y = 0.5 * size.height, middle = 0.5 * upright.cols;
  const cv::Matx23d turn(cos, -sin, middle - cos * x + sin * y,  //
                         sin, cos, middle - sin * x - cos * y);
  cv::Mat1f turned;
  cv::warpAffine(upright, turned, turn, size, cv::INTER_LINEAR | cv::WARP_INVERSE_MAP,
                 cv::BORDER_REFLECT_101);
  return turned;
}

}  // namespace deweather
