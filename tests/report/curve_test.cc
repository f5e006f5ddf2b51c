#include "training/report/curve.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>

#include "model/base/file.h"
#include "model/image/codec.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// A run with these losses at every 10th step.
CurveRun RunWith(const std::vector<double>& losses) {
  CurveRun run{"run", {}};
  for (size_t i = 0; i < losses.size(); ++i) {
    run.records.push_back(
        {static_cast<int64_t>(10 * (i + 1)), {}, {{"loss/task", losses[i]}, {"loss/balance", 1}}});
  }
  return run;
}

std::vector<double> Falling(int count) {
  std::vector<double> losses;
  for (int i = 0; i < count; ++i) losses.push_back(0.02 + 0.1 * std::exp(-5.0 * i / count));
  return losses;
}

using Colour = std::array<int, 3>;
const Colour kBlue = {31, 102, 180};    // of the first series
const Colour kOrange = {226, 110, 20};  // of the second

// Columns of the picture, left to right, that hold pixels of about this colour.
std::vector<int> ColumnsOf(const Image& image, const Colour& colour, int end) {
  std::vector<int> columns;
  for (int x = 0; x < end; ++x) {
    bool found = false;
    for (int y = 0; y < image.height && !found; ++y) {
      const uint8_t* pixel = image.row(y) + 3 * x;
      found = std::abs(pixel[0] - colour[0]) + std::abs(pixel[1] - colour[1]) +
                  std::abs(pixel[2] - colour[2]) <
              12;
    }
    if (found) columns.push_back(x);
  }
  return columns;
}

// Where the panels end to the left of the legend.
constexpr int kPanels = 1200;

int Inked(const Image& image) {
  int inked = 0;
  for (const uint8_t sample : image.samples) inked += sample < 200;
  return inked;
}

TEST(SmoothTest, KeepsConstantsAndGaps) {
  const std::vector<double> smooth = Smooth({2, 2, kNan, 2, 0, -1, 2}, 2, true);
  for (const size_t i : {0, 1, 3, 6}) EXPECT_NEAR(smooth[i], 2, 1e-12);
  for (const size_t i : {2, 4, 5}) EXPECT_TRUE(std::isnan(smooth[i]));
}

TEST(SmoothTest, IsTheGeometricMeanOfNeighbours) {
  const std::vector<double> smooth = Smooth({1, 1, 8, 1, 1, 1}, 1, true);
  EXPECT_NEAR(smooth[0], 1, 1e-12);  // the beginning stays
  for (const size_t i : {1, 2, 3}) EXPECT_NEAR(smooth[i], 2, 1e-12);
  EXPECT_NEAR(smooth[4], 1, 1e-12);
  EXPECT_EQ(Smooth({3, 5, 7}, 0, true)[1], std::exp(std::log(5.0)));
}

TEST(SmoothTest, IsTheMeanOfNeighboursWhereAskedFor) {
  const std::vector<double> smooth = Smooth({-1, -1, 5, -1, kNan, 0}, 1, false);
  EXPECT_EQ(smooth[0], -1);
  for (const size_t i : {1, 2}) EXPECT_EQ(smooth[i], 1);
  EXPECT_EQ(smooth[3], 2);
  EXPECT_TRUE(std::isnan(smooth[4]));
  EXPECT_EQ(smooth[5], 0);
}

TEST(CurveTest, AnyNumberOfPointsIsDrawn) {
  int before = 0;
  for (const int count : {0, 1, 2, 1000}) {
    const Image image = DrawCurve({RunWith(Falling(count))});
    EXPECT_EQ(image.width, 1600);
    EXPECT_EQ(image.height, 1000);
    EXPECT_GT(Inked(image), before) << count;
    before = count < 1 ? 0 : Inked(image) - 200;  // labels differ a little
  }
  EXPECT_GT(Inked(DrawCurve({})), 0);
}

TEST(CurveTest, TermsThatAreNoTasksAreNotDrawn) {
  const CurveRun plain = RunWith(Falling(50));
  CurveRun more = plain;
  for (ScalarRecord& record : more.records) {
    record.values.emplace_back("loss/uncertainty", 0.5);
    record.values.emplace_back("loss/distill", 0.01);
  }
  EXPECT_TRUE(DrawCurve({more}).samples == DrawCurve({plain}).samples);
}

TEST(CurveTest, ManyPointsLookLikeFewer) {
  const Image few = DrawCurve({RunWith(Falling(1000))});
  const Image many = DrawCurve({RunWith(Falling(100'000))});
  EXPECT_NEAR(Inked(many), Inked(few), 0.1 * Inked(few));
  EXPECT_NEAR(ColumnsOf(many, kBlue, kPanels).size(), ColumnsOf(few, kBlue, kPanels).size(), 20);
}

TEST(CurveTest, LineSpansThePanel) {
  const std::vector<int> columns = ColumnsOf(DrawCurve({RunWith(Falling(300))}), kBlue, kPanels);
  ASSERT_GT(columns.size(), 1000u);
  EXPECT_LT(columns.front(), 130);
  EXPECT_EQ(columns.back() - columns.front() + 1, static_cast<int>(columns.size()));
}

TEST(CurveTest, EqualLossesAreALine) {
  for (const double loss : {1e-9, 0.02, 1e6}) {
    const Image image = DrawCurve({RunWith(std::vector<double>(50, loss))});
    EXPECT_GT(ColumnsOf(image, kBlue, kPanels).size(), 1000u) << loss;
  }
}

TEST(CurveTest, NegativeLossesAreDrawnToo) {
  std::vector<double> losses = Falling(300);
  for (double& loss : losses) loss = 10 * std::log10(loss);
  EXPECT_GT(ColumnsOf(DrawCurve({RunWith(losses)}), kBlue, kPanels).size(), 1000u);
}

TEST(CurveTest, LossesAtTheEndsOfADoublesRangeAreAGap) {
  for (const double sign : {1.0, -1.0}) {
    for (const double loss : {5e-324, 1e-310, 1e308}) {
      std::vector<double> losses = Falling(300);
      losses[50] = sign * losses[50];
      losses[100] = sign * loss;
      EXPECT_GT(ColumnsOf(DrawCurve({RunWith(losses)}), kBlue, kPanels).size(), 900u) << loss;
    }
  }
}

// The lowest row that holds this colour.
int LowestRowOf(const Image& image, const Colour& colour) {
  for (int y = image.height - 1; y >= 0; --y) {
    for (int x = 0; x < kPanels; ++x) {
      const uint8_t* pixel = image.row(y) + 3 * x;
      if (pixel[0] == colour[0] && pixel[1] == colour[1] && pixel[2] == colour[2]) return y;
    }
  }
  return -1;
}

TEST(CurveTest, ScaleIsThatOfWhatIsShown) {
  CurveRun run = RunWith(Falling(300));
  for (ScalarRecord& record : run.records) record.values.emplace_back("loss/worse", 0.05);
  run.records[150].values.back().second = 1e-9;  // of this loss only the smoothed line is drawn
  EXPECT_GT(LowestRowOf(DrawCurve({run}), kBlue), 350);
}

TEST(CurveTest, LossesThatAreNotFiniteAreAGap) {
  std::vector<double> losses = Falling(300);
  for (int i = 100; i < 200; ++i) losses[static_cast<size_t>(i)] = kNan;
  losses[150] = std::numeric_limits<double>::infinity();
  const std::vector<int> columns = ColumnsOf(DrawCurve({RunWith(losses)}), kBlue, kPanels);
  int widest = 0;
  for (size_t i = 1; i < columns.size(); ++i)
    widest = std::max(widest, columns[i] - columns[i - 1]);
  EXPECT_NEAR(widest, 380, 60);  // a third of the panel
}

TEST(CurveTest, GapsAmongManyPointsHideNoOthers) {
  std::vector<double> losses = Falling(100'000);
  for (size_t i = 0; i < losses.size(); i += 2) losses[i] = kNan;
  EXPECT_GT(ColumnsOf(DrawCurve({RunWith(losses)}), kBlue, kPanels).size(), 1000u);
}

TEST(CurveTest, NothingThatCanBeDrawnIsAnEmptyPanel) {
  for (const double loss : {kNan, 0.0}) {
    EXPECT_TRUE(ColumnsOf(DrawCurve({RunWith({loss, loss})}), kBlue, kPanels).empty());
  }
}

TEST(CurveTest, EvaluationsHaveAPanel) {
  CurveRun run = RunWith(Falling(100));
  const Image without = DrawCurve({run});
  EXPECT_TRUE(ColumnsOf(without, kOrange, kPanels).empty());
  run.records.push_back(
      {300, {}, {{"evaluation/rain/psnr_rgb", 27}, {"evaluation/snow/psnr_rgb", 24}}});
  run.records.push_back(
      {900, {}, {{"evaluation/rain/psnr_rgb", 31}, {"evaluation/snow/psnr_rgb", 26}}});
  run.records.push_back({900, {}, {{"evaluation/rain/ssim_y", 0.9}}});
  const std::vector<int> columns = ColumnsOf(DrawCurve({run}), kOrange, kPanels);
  ASSERT_FALSE(columns.empty());
  EXPECT_NEAR(columns.back() - columns.front(), 720, 30);  // 600 of 1000 steps
}

TEST(CurveTest, RunsAreSideBySideInOnePicture) {
  const Image image = DrawCurve({RunWith(Falling(100)), RunWith(std::vector<double>(50, 0.05))});
  const size_t first = ColumnsOf(image, kBlue, kPanels).size();
  const size_t second = ColumnsOf(image, kOrange, kPanels).size();
  EXPECT_GT(second, 300u);
  EXPECT_NEAR(second, first / 2, 0.1 * first);
}

TEST(CurveTest, RunsAreNamedByTheirFolder) {
  const std::string folder = NewFolder();
  const std::string line = "{\"step\":3,\"loss/all\":0.5}\n";
  for (const std::string name : {"/log.jsonl", "/other.jsonl"}) {
    ASSERT_TRUE(WriteFileAtomically(folder + name, line).ok());
  }
  EXPECT_EQ(ReadRun(folder + "/log.jsonl")->name, std::filesystem::path(folder).filename());
  EXPECT_EQ(ReadRun(folder + "/other.jsonl")->name, "other");
  EXPECT_EQ(ReadRun(folder + "/other.jsonl")->records.size(), 1u);
  EXPECT_FALSE(ReadRun(folder + "/absent.jsonl").ok());
}

TEST(CurveTest, LongNamesLeaveRoom) {
  CurveRun run = RunWith(Falling(100));
  run.name = std::string(500, 'x');
  EXPECT_GT(ColumnsOf(DrawCurve({run, run}), kOrange, 1000).size(), 700u);
}

TEST(CurveTest, WritesAPng) {
  const std::string path = NewFolder() + "/curve.png";
  ASSERT_TRUE(WriteCurve({RunWith(Falling(10))}, path).ok());
  const absl::StatusOr<Image> image = DecodeImage(ReadFile(path).value(), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->samples, DrawCurve({RunWith(Falling(10))}).samples);
  EXPECT_FALSE(WriteCurve({}, path + "/not/there.png").ok());
}

}  // namespace
}  // namespace deweather
