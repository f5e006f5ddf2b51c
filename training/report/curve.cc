#include "training/report/curve.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <limits>
#include <map>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "training/report/axis.h"
#include "training/report/canvas.h"
#include "training/report/json_lines.h"

namespace deweather {
namespace {

constexpr int kWidth = 3200, kHeight = 2000;
constexpr int kLeftMargin = 220, kTopMargin = 110, kBottomMargin = 150, kGap = 130;
constexpr double kTextScale = 1.4;
// Of the legends: a row's height, the length of its piece of line, the space around it.
constexpr int kRow = 58, kSwatch = 80, kPad = 30;

const double kNan = std::numeric_limits<double>::quiet_NaN();

// --- What is drawn ------------------------------------------------------------------------------

struct Series {
  std::string label;
  cv::Scalar colour;
  std::vector<double> steps;
  std::vector<double> values;  // NaN: a gap
  bool main = false;           // the first of its run
};

// Of all crops or of a task's.
bool IsLoss(const std::string& name) {
  return name.rfind("loss/", 0) == 0 && name != "loss/balance" && name != "loss/uncertainty" &&
         name != "loss/distill";
}

constexpr std::string_view kEvaluation = "evaluation", kPsnr = "/psnr_rgb";

bool IsEvaluation(const std::string& name) {
  return name.rfind(kEvaluation, 0) == 0 && name.size() >= kEvaluation.size() + kPsnr.size() &&
         name.compare(name.size() - kPsnr.size(), kPsnr.size(), kPsnr) == 0;
}

// "task" of "loss/task", "rain" of "evaluation/rain/psnr_rgb".
std::string ShortName(const std::string& name) {
  if (!IsEvaluation(name)) return name.substr(name.find('/') + 1);
  const size_t begin = kEvaluation.size() + 1, end = name.size() - kPsnr.size();
  return end > begin ? name.substr(begin, end - begin) : "all";
}

// The series of one run whose names `wanted` picks, in the order of the names.
std::vector<Series> SeriesOf(const CurveRun& run, bool (*wanted)(const std::string&)) {
  std::map<std::string, Series> found;
  for (const ScalarRecord& record : run.records) {
    for (const auto& [name, value] : record.values) {
      if (!wanted(name)) continue;
      Series& series = found[name];
      series.label = ShortName(name);
      series.steps.push_back(static_cast<double>(record.step));
      series.values.push_back(std::isfinite(value) ? value : kNan);
    }
  }
  std::vector<Series> all;
  for (auto& [name, series] : found) all.push_back(std::move(series));
  if (!all.empty()) all[0].main = true;
  return all;
}

// The series of all runs, labelled and coloured so that they can be told apart.
std::vector<Series> SeriesOf(const std::vector<CurveRun>& runs,
                             bool (*wanted)(const std::string&)) {
  std::vector<Series> all;
  for (const CurveRun& run : runs) {
    std::vector<Series> its = SeriesOf(run, wanted);
    for (Series& series : its) {
      if (runs.size() > 1) {
        series.label = its.size() > 1 ? absl::StrCat(run.name, " ", series.label) : run.name;
      }
      series.colour = kColours[all.size() % kColours.size()];
      all.push_back(std::move(series));
    }
  }
  return all;
}

// What has a place on an axis; the bounds keep scales and ticks clear of the ends of a double's range.
bool HasPlace(double value, bool logarithmic) {
  constexpr double kLeast = 1e-100, kMost = 1e100;
  return std::abs(value) <= kMost && (!logarithmic || value >= kLeast);
}

double LastFinite(const std::vector<double>& values) {
  const auto found = std::find_if(values.rbegin(), values.rend(),
                                  [](double value) { return std::isfinite(value); });
  return found == values.rend() ? kNan : *found;
}

// --- Canvas -------------------------------------------------------------------------------------

// A line of a legend.
struct Entry {
  std::string text;
  cv::Scalar colour;
};

// Where the panels are.
struct Frames {
  cv::Rect losses;
  cv::Rect evaluations;
};

Frames PlaceFrames(int legend_width, bool both) {
  const int width = kWidth - kLeftMargin - kPad - legend_width;
  const int height = kHeight - kTopMargin - kBottomMargin;
  const int upper = both ? (height - kGap) * 3 / 5 : height;
  const int lower = kTopMargin + upper + kGap;
  return {{kLeftMargin, kTopMargin, width, upper},
          {kLeftMargin, lower, width, kTopMargin + height - lower}};
}

// A line through the finite points; one without finite neighbours is a dot.
void DrawLine(cv::Mat& canvas, const std::vector<cv::Point2d>& points, const cv::Scalar& colour,
              int width) {
  const auto finite = [&](size_t i) { return i < points.size() && std::isfinite(points[i].y); };
  for (size_t i = 0; i < points.size(); ++i) {
    if (!finite(i)) continue;
    if (finite(i + 1)) {
      DrawSegment(canvas, points[i], points[i + 1], colour, width);
    } else if (i == 0 || !finite(i - 1)) {
      cv::circle(canvas, points[i], width + 4, colour, cv::FILLED, cv::LINE_AA);
    }
  }
}

// Where there are many points in a column of the canvas, its first, lowest, highest and last.
std::vector<cv::Point2d> Thin(const std::vector<cv::Point2d>& points) {
  std::vector<cv::Point2d> thin;
  for (size_t begin = 0, end = 0; begin < points.size(); begin = end) {
    const double column = std::floor(points[begin].x);
    size_t low = begin, high = begin;
    for (end = begin; end < points.size() && std::floor(points[end].x) == column; ++end) {
      if (std::isfinite(points[end].y) != std::isfinite(points[begin].y)) break;
      if (points[end].y < points[low].y) low = end;
      if (points[end].y > points[high].y) high = end;
    }
    std::array<size_t, 4> kept = {begin, low, high, end - 1};
    std::sort(kept.begin(), kept.end());
    const auto last = std::unique(kept.begin(), kept.end());
    for (auto i = kept.begin(); i != last; ++i) thin.push_back(points[*i]);
  }
  return thin;
}

std::vector<cv::Point2d> PlaceAll(const Panel& panel, const Series& series) {
  std::vector<cv::Point2d> points;
  for (size_t i = 0; i < series.values.size(); ++i) {
    const double value = series.values[i];
    const bool shown = HasPlace(value, panel.y.logarithmic);
    cv::Point2d point = panel.Place(series.steps[i], shown ? value : panel.y.end);
    if (!shown) point.y = kNan;
    points.push_back(point);
  }
  return Thin(points);
}

cv::Scalar Pale(const cv::Scalar& colour) { return colour * 0.3 + kPaper * 0.7; }

// --- Panels -------------------------------------------------------------------------------------

Axis StepAxis(const std::vector<Series>& losses, const std::vector<Series>& evaluations) {
  double last = 1;
  for (const auto* all : {&losses, &evaluations}) {
    for (const Series& series : *all) last = std::max(last, series.steps.back());
  }
  return {0, last * 1.01, false};
}

Axis ValueAxis(const std::vector<Series>& all, bool logarithmic) {
  double least = std::numeric_limits<double>::infinity(), most = -least;
  for (const Series& series : all) {
    for (const double value : series.values) {
      if (!HasPlace(value, logarithmic)) continue;
      least = std::min(least, value);
      most = std::max(most, value);
    }
  }
  return least <= most ? AxisOver(least, most, logarithmic) : AxisOver(0.1, 1, logarithmic);
}

void DrawGrid(cv::Mat& canvas, const Panel& panel, const std::string& title, bool name_steps) {
  const cv::Rect& f = panel.frame;
  for (const Tick& tick : Ticks(panel.x, 10)) {
    const double x = panel.Place(tick.value, panel.y.begin).x;
    DrawSegment(canvas, cv::Point2d(x, f.y), cv::Point2d(x, f.br().y), kGrid, 2);
    if (name_steps) DrawText(canvas, tick.label, cv::Point2d(x, f.br().y + 40), 0.5, kTextScale);
  }
  for (const Tick& tick : Ticks(panel.y, 6)) {
    const double y = panel.Place(0, tick.value).y;
    DrawSegment(canvas, cv::Point2d(f.x, y), cv::Point2d(f.br().x, y), kGrid,
                tick.label.empty() ? 1 : 2);
    DrawText(canvas, tick.label, cv::Point2d(f.x - 20, y), 1, kTextScale);
  }
  cv::rectangle(canvas, f, kFrame, 2);
  DrawText(canvas, title, {f.x, f.y - 40}, 0, kTextScale);
  if (name_steps) DrawText(canvas, "step", {f.x + f.width / 2, f.br().y + 105}, 0.5, kTextScale);
}

// A line of the legend for each series, with its last value.
std::vector<Entry> Legend(const std::vector<Series>& all, const char* format) {
  std::vector<Entry> legend;
  for (const Series& series : all) {
    const double last = LastFinite(series.values);
    legend.push_back(
        {absl::StrCat(series.label, "  ", std::isnan(last) ? "-" : cv::format(format, last)),
         series.colour});
  }
  return legend;
}

int LegendWidth(const std::vector<Entry>& legend) {
  int width = 0;
  for (const Entry& entry : legend) width = std::max(width, TextSize(entry.text, kTextScale).width);
  return std::min(width + kSwatch + 3 * kPad, kWidth / 3);
}

// Beside the panel, so that it hides no line.
void DrawLegend(cv::Mat& canvas, const Panel& panel, const std::vector<Entry>& legend) {
  const int x = panel.frame.br().x + kPad;
  int y = panel.frame.y + kRow / 2;
  for (const Entry& entry : legend) {
    if (y > panel.frame.br().y) return;
    DrawSegment(canvas, cv::Point2d(x, y), cv::Point2d(x + kSwatch, y), entry.colour, 8);
    DrawText(canvas, entry.text, cv::Point(x + kSwatch + kPad, y), 0, kTextScale);
    y += kRow;
  }
}

std::vector<Series> Smoothed(std::vector<Series> all, bool geometric) {
  for (Series& series : all) {
    const int reach = static_cast<int>(series.values.size() / 40);
    series.values = Smooth(series.values, reach, geometric);
  }
  return all;
}

// A loss in decibels may be negative, and then has no place on a logarithmic scale.
bool HasNegative(const std::vector<Series>& all) {
  return std::any_of(all.begin(), all.end(), [](const Series& series) {
    return std::any_of(series.values.begin(), series.values.end(), [](double v) { return v < 0; });
  });
}

// What DrawLosses shows.
std::vector<Series> Shown(const std::vector<Series>& losses, std::vector<Series> smoothed) {
  std::copy_if(losses.begin(), losses.end(), std::back_inserter(smoothed),
               [](const Series& series) { return series.main; });
  return smoothed;
}

void DrawLosses(cv::Mat& canvas, const Panel& panel, const std::vector<Series>& losses,
                const std::vector<Series>& smoothed) {
  for (const Series& series : losses) {
    if (series.main) DrawLine(canvas, PlaceAll(panel, series), Pale(series.colour), 3);
  }
  for (const Series& series : smoothed) {
    DrawLine(canvas, PlaceAll(panel, series), series.colour, series.main ? 7 : 4);
  }
}

void DrawEvaluations(cv::Mat& canvas, const Panel& panel, const std::vector<Series>& evaluations) {
  for (const Series& series : evaluations) {
    const std::vector<cv::Point2d> points = PlaceAll(panel, series);
    DrawLine(canvas, points, series.colour, 5);
    for (const cv::Point2d& point : points) {
      if (std::isfinite(point.y)) {
        cv::circle(canvas, point, 9, series.colour, cv::FILLED, cv::LINE_AA);
      }
    }
  }
}

std::string Title(const std::vector<CurveRun>& runs) {
  if (runs.size() != 1) return absl::StrCat(runs.size(), " runs");
  const int64_t step = runs[0].records.empty() ? 0 : runs[0].records.back().step;
  return absl::StrFormat("%s  step %d", runs[0].name, step);
}

// Means over at most `reach` neighbours to either side, NaN where `values` is.
std::vector<double> MovingMean(const std::vector<double>& values, int reach) {
  std::vector<double> sums = {0}, counts = {0};
  for (const double value : values) {
    sums.push_back(sums.back() + (std::isnan(value) ? 0 : value));
    counts.push_back(counts.back() + (std::isnan(value) ? 0 : 1));
  }
  std::vector<double> means;
  const auto size = static_cast<int64_t>(values.size());
  for (int64_t i = 0; i < size; ++i) {
    // No further forward than back: the steep beginning is not drawn down.
    const int64_t back = std::min<int64_t>(reach, i);
    const auto begin = static_cast<size_t>(i - back);
    const auto end = static_cast<size_t>(std::min(i + back + 1, size));
    const bool gap = std::isnan(values[static_cast<size_t>(i)]);
    means.push_back(gap ? kNan : (sums[end] - sums[begin]) / (counts[end] - counts[begin]));
  }
  return means;
}

}  // namespace

std::vector<double> Smooth(const std::vector<double>& values, int reach, bool geometric) {
  std::vector<double> smooth;
  for (const double value : values) {
    const bool kept = std::isfinite(value) && (!geometric || value > 0);
    smooth.push_back(!kept ? kNan : (geometric ? std::log(value) : value));
  }
  smooth = MovingMean(MovingMean(smooth, reach - reach / 2), reach / 2);
  for (double& value : smooth) value = geometric ? std::exp(value) : value;
  return smooth;
}

Image DrawCurve(const std::vector<CurveRun>& runs) {
  const std::vector<Series> losses = SeriesOf(runs, IsLoss);
  const bool logarithmic = !HasNegative(losses);
  const std::vector<Series> smoothed = Smoothed(losses, logarithmic);
  const std::vector<Series> evaluations = SeriesOf(runs, IsEvaluation);
  const std::vector<Entry> upper = Legend(smoothed, "%.4g"), lower = Legend(evaluations, "%.2f dB");
  const Frames frames =
      PlaceFrames(std::max(LegendWidth(upper), LegendWidth(lower)), !evaluations.empty());
  const Axis steps = StepAxis(losses, evaluations);
  cv::Mat canvas(kHeight, kWidth, CV_8UC3, kPaper);
  DrawText(canvas, Title(runs), {frames.losses.br().x, kTopMargin - 40}, 1, kTextScale);
  const Panel above{frames.losses, steps, ValueAxis(Shown(losses, smoothed), logarithmic)};
  DrawGrid(canvas, above, "loss, as it was and smoothed", evaluations.empty());
  DrawLosses(canvas, above, losses, smoothed);
  DrawLegend(canvas, above, upper);
  if (!evaluations.empty()) {
    const Panel below{frames.evaluations, steps, ValueAxis(evaluations, false)};
    DrawGrid(canvas, below, "PSNR (RGB), dB", true);
    DrawEvaluations(canvas, below, evaluations);
    DrawLegend(canvas, below, lower);
  }
  return Halved(canvas);
}

absl::StatusOr<CurveRun> ReadRun(const std::string& log) {
  DW_ASSIGN_OR_RETURN(std::vector<ScalarRecord> records, ReadJsonLines(log));
  const std::filesystem::path path(log);
  const bool usual = path.filename() == "log.jsonl" && path.has_parent_path();
  const std::filesystem::path name = usual ? path.parent_path().filename() : path.stem();
  return CurveRun{name.string(), std::move(records)};
}

absl::Status WriteCurve(const std::vector<CurveRun>& runs, const std::string& path) {
  return WriteDrawing(path, [&] { return DrawCurve(runs); });
}

}  // namespace deweather
