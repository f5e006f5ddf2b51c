// What drawings of this folder share. All lengths are of a canvas twice as large as the picture, which
// smooths what is drawn.
//
// Threads  thread-safe: functions of their arguments
// Errors   OpenCV's exceptions, but for WriteDrawing

#ifndef DEWEATHER_TRAINING_REPORT_CANVAS_H_
#define DEWEATHER_TRAINING_REPORT_CANVAS_H_

#include <array>
#include <functional>
#include <opencv2/core.hpp>
#include <string>

#include "absl/status/status.h"
#include "model/image/image.h"
#include "training/report/axis.h"

namespace deweather {

inline const cv::Scalar kPaper(255, 255, 255), kInk(40, 44, 52), kGrid(226, 229, 234),
    kFrame(150, 156, 166);
// Far apart, also for most of the colour-blind.
inline const std::array<cv::Scalar, 8> kColours = {
    cv::Scalar(31, 102, 180), cv::Scalar(226, 110, 20), cv::Scalar(34, 140, 76),
    cv::Scalar(196, 44, 60),  cv::Scalar(128, 84, 176), cv::Scalar(20, 150, 170),
    cv::Scalar(140, 90, 60),  cv::Scalar(212, 90, 160)};

// A frame on the canvas with its two scales.
struct Panel {
  cv::Rect frame;
  Axis x;
  Axis y;

  cv::Point2d Place(double at, double value) const;
};

cv::Size TextSize(const std::string& text, double scale);

// `at` is at half the text's height; `align` of its width is left of it.
void DrawText(cv::Mat& canvas, const std::string& text, cv::Point at, double align, double scale);

void DrawSegment(cv::Mat& canvas, cv::Point2d from, cv::Point2d to, const cv::Scalar& colour,
                 int width);

// 8-bit RGB, half as large.
Image Halved(const cv::Mat& canvas);

// What `draw` returns, as a PNG that replaces `path` atomically. INTERNAL it threw a cv::Exception.
absl::Status WriteDrawing(const std::string& path, const std::function<Image()>& draw);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_REPORT_CANVAS_H_
