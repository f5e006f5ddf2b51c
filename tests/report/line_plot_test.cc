#include "training/report/line_plot.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "model/base/file.h"
#include "model/image/codec.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

LinePlot Falling(double from) {
  return {"title", "x", {0, 0.5, 0.95}, {{"first", {from, 1, 0.5}}, {"second", {2, 2, 2}}}};
}

// The picture's pixels of the first line's colour in columns [begin, end), as a mean row; -1: none.
double MeanRow(const Image& image, int begin, int end) {
  double sum = 0;
  int count = 0;
  for (int y = 0; y < image.height; ++y) {
    for (int x = begin; x < end; ++x) {
      const uint8_t* p = &image.samples[3 * static_cast<size_t>(y * image.width + x)];
      if (p[0] != 31 || p[1] != 102 || p[2] != 180) continue;
      sum += y;
      ++count;
    }
  }
  return count > 0 ? sum / count : -1;
}

TEST(LinePlotTest, LinesFallFromLeftToRight) {
  const Image image = DrawPlots({Falling(4)});
  EXPECT_EQ(image.width, 520);
  EXPECT_EQ(image.height, 390);
  const double left = MeanRow(image, 80, 140), right = MeanRow(image, 400, 500);
  EXPECT_GT(left, 50);
  EXPECT_GT(right, left + 100);
}

TEST(LinePlotTest, TwoInARow) {
  const Image image = DrawPlots({Falling(4), Falling(9), Falling(0)});
  EXPECT_EQ(image.width, 1040);
  EXPECT_EQ(image.height, 780);
  EXPECT_GT(MeanRow(image, 520, 1040), 0);
}

TEST(LinePlotTest, IsWrittenAsAPng) {
  const std::string path = NewFolder() + "/plot.png";
  ASSERT_TRUE(WritePlots({Falling(4)}, path).ok());
  EXPECT_EQ(DecodeImage(ReadFile(path).value(), {})->samples, DrawPlots({Falling(4)}).samples);
  EXPECT_FALSE(WritePlots({Falling(4)}, path + "/no").ok());
}

}  // namespace
}  // namespace deweather
