#include "training/report/line_plot.h"

#include <algorithm>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "training/report/axis.h"
#include "training/report/canvas.h"

namespace deweather {
namespace {

// Lengths are of the canvas.
constexpr int kWidth = 1040, kHeight = 780;  // of a plot
constexpr int kLeft = 150, kTop = 90, kRight = 40, kBottom = 140;
constexpr double kTextScale = 1.1;

cv::Scalar Colour(size_t line) { return kColours[line % kColours.size()]; }

Panel PanelOf(const LinePlot& plot) {
  double least = 0, most = 0;  // 0 is on the axis
  for (const PlotLine& line : plot.lines) {
    const auto [low, high] = std::minmax_element(line.values.begin(), line.values.end());
    least = std::min(least, *low);
    most = std::max(most, *high);
  }
  return {{kLeft, kTop, kWidth - kLeft - kRight, kHeight - kTop - kBottom},
          {plot.x.front(), plot.x.back(), false},
          {least, most > least ? 1.05 * most : least + 1, false}};
}

void DrawGrid(cv::Mat& canvas, const LinePlot& plot, const Panel& panel) {
  const cv::Rect& f = panel.frame;
  for (const Tick& tick : Ticks(panel.x, 8)) {
    const double x = panel.Place(tick.value, panel.y.begin).x;
    DrawSegment(canvas, cv::Point2d(x, f.y), cv::Point2d(x, f.br().y), kGrid, 2);
    DrawText(canvas, tick.label, cv::Point2d(x, f.br().y + 35), 0.5, kTextScale);
  }
  for (const Tick& tick : Ticks(panel.y, 6)) {
    const double y = panel.Place(panel.x.begin, tick.value).y;
    DrawSegment(canvas, cv::Point2d(f.x, y), cv::Point2d(f.br().x, y), kGrid, 2);
    DrawText(canvas, tick.label, cv::Point2d(f.x - 15, y), 1, kTextScale);
  }
  cv::rectangle(canvas, f, kFrame, 2);
  DrawText(canvas, plot.title, {f.x, f.y - 40}, 0, kTextScale);
  DrawText(canvas, plot.x_title, {f.x + f.width / 2, f.br().y + 95}, 0.5, kTextScale);
}

// In the lower left corner.
void DrawLegend(cv::Mat& canvas, const LinePlot& plot, const Panel& panel) {
  int y = panel.frame.br().y - 40 * static_cast<int>(plot.lines.size());
  for (size_t i = 0; i < plot.lines.size(); ++i, y += 40) {
    const double x = panel.frame.x + 20;
    DrawSegment(canvas, cv::Point2d(x, y), cv::Point2d(x + 60, y), Colour(i), 6);
    DrawText(canvas, plot.lines[i].label, cv::Point2d(x + 75, y), 0, kTextScale);
  }
}

void DrawPlot(cv::Mat canvas, const LinePlot& plot, bool legend) {
  const Panel panel = PanelOf(plot);
  DrawGrid(canvas, plot, panel);
  for (size_t line = plot.lines.size(); line-- > 0;) {  // the first on top
    const std::vector<double>& values = plot.lines[line].values;
    for (size_t i = 1; i < values.size(); ++i) {
      DrawSegment(canvas, panel.Place(plot.x[i - 1], values[i - 1]),
                  panel.Place(plot.x[i], values[i]), Colour(line), 6);
    }
  }
  if (legend) DrawLegend(canvas, plot, panel);
}

}  // namespace

Image DrawPlots(const std::vector<LinePlot>& plots) {
  const int count = static_cast<int>(plots.size()), columns = std::min(count, 2);
  cv::Mat canvas((count + 1) / 2 * kHeight, columns * kWidth, CV_8UC3, kPaper);
  for (int i = 0; i < count; ++i) {
    const cv::Rect place(i % 2 * kWidth, i / 2 * kHeight, kWidth, kHeight);
    DrawPlot(canvas(place), plots[static_cast<size_t>(i)], /*legend=*/i == 0);
  }
  return Halved(canvas);
}

absl::Status WritePlots(const std::vector<LinePlot>& plots, const std::string& path) {
  return WriteDrawing(path, [&] { return DrawPlots(plots); });
}

}  // namespace deweather
