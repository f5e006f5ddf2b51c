#include "model/image/rgb_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace deweather {
namespace {

// Below, at and above what vectors and runs hold.
constexpr std::array<size_t, 9> kCounts = {1, 2, 15, 31, 64, 97, 256, 257, 1000};

std::vector<uint8_t> RandomRow(size_t count) {
  std::mt19937 random(static_cast<uint32_t>(count));
  std::vector<uint8_t> row(3 * count);
  for (uint8_t& sample : row) sample = static_cast<uint8_t>(random());
  return row;
}

std::vector<float> RandomPlanes(size_t count) {
  std::mt19937 random(static_cast<uint32_t>(count));
  std::uniform_real_distribution<float> value(-0.5f, 1.5f);
  std::vector<float> planes(3 * count);
  for (float& sample : planes) sample = value(random);
  return planes;
}

uint8_t Mixed(uint8_t own, float restored, float strength) {
  const float from = static_cast<float>(own) / 255;
  volatile const float change = strength * (restored - from);  // rounded by itself
  return static_cast<uint8_t>(std::clamp(from + change, 0.0f, 1.0f) * 255 + 0.5f);
}

template <typename Sample>
void ExpectPlanesComeApartAndTogether(size_t count) {
  std::vector<Sample> row(3 * count);
  std::iota(row.begin(), row.end(), Sample{7});
  std::vector<Sample> planes(3 * count), again(3 * count);
  SplitPlanes(row.data(), count, &planes[0], &planes[count], &planes[2 * count]);
  for (size_t i = 0; i < 3 * count; ++i) ASSERT_EQ(planes[i % 3 * count + i / 3], row[i]) << i;
  JoinPlanes(&planes[0], &planes[count], &planes[2 * count], count, again.data());
  EXPECT_EQ(again, row);
}

TEST(RgbRowsTest, PlanesComeApartAndTogether) {
  for (const size_t count : kCounts) {
    ExpectPlanesComeApartAndTogether<uint8_t>(count);
    ExpectPlanesComeApartAndTogether<uint16_t>(count);
  }
}

TEST(RgbRowsTest, SplitsToTheBit) {
  for (const size_t count : kCounts) {
    const std::vector<uint8_t> row = RandomRow(count);
    std::vector<float> planes(3 * count + 1, -1);
    SplitRgb(row.data(), count, &planes[0], &planes[count], &planes[2 * count]);
    for (size_t i = 0; i < 3 * count; ++i) {
      ASSERT_EQ(planes[i % 3 * count + i / 3], static_cast<float>(row[i]) / 255) << count;
    }
    EXPECT_EQ(planes.back(), -1) << "written beyond the end";
  }
}

TEST(RgbRowsTest, MixesToTheBit) {
  for (const size_t count : kCounts) {
    const std::vector<float> planes = RandomPlanes(count);
    for (const float strength : {0.0f, 0.3f, 1.0f}) {
      const std::vector<uint8_t> row = RandomRow(count);
      std::vector<uint8_t> mixed = row;
      MixRgb(&planes[0], &planes[count], &planes[2 * count], strength, count, mixed.data());
      for (size_t i = 0; i < row.size(); ++i) {
        ASSERT_EQ(mixed[i], Mixed(row[i], planes[i % 3 * count + i / 3], strength)) << i;
      }
    }
  }
}

TEST(RgbRowsTest, WhatWasSplitIsMixedBack) {
  std::vector<uint8_t> row(3 * 256);
  for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<uint8_t>(i / 3);
  std::array<std::array<float, 256>, 3> planes;
  SplitRgb(row.data(), 256, planes[0].data(), planes[1].data(), planes[2].data());
  for (const uint8_t before : {0, 100, 255}) {
    std::vector<uint8_t> mixed(row.size(), before);
    MixRgb(planes[0].data(), planes[1].data(), planes[2].data(), 1, 256, mixed.data());
    EXPECT_EQ(mixed, row);
  }
}

TEST(RgbRowsTest, SwapsRedAndBlue) {
  for (const size_t count : kCounts) {
    const std::vector<uint8_t> row = RandomRow(count);
    std::vector<uint8_t> swapped(row.size() + 1, 7);
    SwapRedAndBlue(row.data(), count, swapped.data());
    for (size_t i = 0; i < row.size(); ++i) ASSERT_EQ(swapped[i], row[i + 2 - 2 * (i % 3)]);
    EXPECT_EQ(swapped.back(), 7) << "written beyond the end";
  }
}

TEST(RgbRowsTest, AddsWeightedToTheBit) {
  for (const size_t count : kCounts) {
    const std::vector<float> values = RandomPlanes(count);  // the first third: values, then weights
    const float* const weights = &values[count];
    std::vector<float> sum(&values[2 * count], &values[2 * count] + count);
    sum.push_back(-1);
    const std::vector<float> before = sum;
    AddWeighted(values.data(), weights, 0.7f, count, sum.data());
    for (size_t i = 0; i < count; ++i) {
      volatile const float weighted = 0.7f * weights[i] * values[i];  // rounded by itself
      ASSERT_EQ(sum[i], before[i] + weighted);
    }
    EXPECT_EQ(sum.back(), -1) << "written beyond the end";
  }
}

TEST(RgbRowsTest, FindsWhatIsNotFinite) {
  for (const size_t count : kCounts) {
    std::vector<float> values(count, -std::numeric_limits<float>::max());
    EXPECT_TRUE(AllFinite(values.data(), count));
    for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      for (const size_t at : {size_t{0}, count / 2, count - 1}) {
        std::vector<float> broken = values;
        broken[at] = bad;
        EXPECT_FALSE(AllFinite(broken.data(), count)) << at << " of " << count;
      }
    }
  }
}

}  // namespace
}  // namespace deweather
