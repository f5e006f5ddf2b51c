#include "training/report/canvas.h"

#include <opencv2/imgproc.hpp>

#include "absl/strings/str_cat.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "model/image/codec.h"

namespace deweather {
namespace {

constexpr int kOversampling = 2;
constexpr int kTextWeight = 2;
constexpr int kFont = cv::FONT_HERSHEY_SIMPLEX;

}  // namespace

cv::Point2d Panel::Place(double at, double value) const {
  return {frame.x + x.Place(at) * frame.width, frame.y + (1 - y.Place(value)) * frame.height};
}

cv::Size TextSize(const std::string& text, double scale) {
  int base = 0;
  return cv::getTextSize(text, kFont, scale, kTextWeight, &base);
}

void DrawText(cv::Mat& canvas, const std::string& text, cv::Point at, double align, double scale) {
  const cv::Size size = TextSize(text, scale);
  const cv::Point corner(at.x - static_cast<int>(align * size.width), at.y + size.height / 2);
  cv::putText(canvas, text, corner, kFont, scale, kInk, kTextWeight, cv::LINE_AA);
}

void DrawSegment(cv::Mat& canvas, cv::Point2d from, cv::Point2d to, const cv::Scalar& colour,
                 int width) {
  constexpr int kShift = 4;  // sixteenths of a pixel
  const auto fixed = [](cv::Point2d p) { return cv::Point(p * (1 << kShift)); };
  cv::line(canvas, fixed(from), fixed(to), colour, width, cv::LINE_AA, kShift);
}

Image Halved(const cv::Mat& canvas) {
  cv::Mat small;
  cv::resize(canvas, small, canvas.size() / kOversampling, 0, 0, cv::INTER_AREA);
  Image image;
  image.width = small.cols;
  image.height = small.rows;
  image.samples.assign(small.data, small.data + small.total() * small.elemSize());
  return image;
}

absl::Status WriteDrawing(const std::string& path, const std::function<Image()>& draw) {
  try {
    DW_ASSIGN_OR_RETURN(const std::string png, EncodeImage(draw(), {.format = ImageFormat::kPng}));
    return WriteFileAtomically(path, png);
  } catch (const cv::Exception& error) {
    return absl::InternalError(absl::StrCat("cannot draw '", path, "': ", error.what()));
  }
}

}  // namespace deweather
