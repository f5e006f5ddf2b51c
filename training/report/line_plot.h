// Lines over a common scale, for people to look at.
//
// Threads  thread-safe: functions of their arguments

#ifndef DEWEATHER_TRAINING_REPORT_LINE_PLOT_H_
#define DEWEATHER_TRAINING_REPORT_LINE_PLOT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/image/image.h"

namespace deweather {

struct PlotLine {
  std::string label;
  std::vector<double> values;  // one for each of the plot's `x`
};

struct LinePlot {
  std::string title;
  std::string x_title;
  std::vector<double> x;  // ascending, at least two
  std::vector<PlotLine> lines;
};

// 8-bit RGB, two plots in a row, 520x390 pixels each; the first one's legend is that of all.
// REQUIRES: at least one plot, finite values.
Image DrawPlots(const std::vector<LinePlot>& plots);

// DrawPlots as a PNG that replaces `path` atomically.
absl::Status WritePlots(const std::vector<LinePlot>& plots, const std::string& path);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_REPORT_LINE_PLOT_H_
