#include "training/augment.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

namespace deweather {
namespace {

std::vector<float> Planes(int side) {
  std::vector<float> planes(3 * side * side);
  std::iota(planes.begin(), planes.end(), 0.0f);
  return planes;
}

std::vector<float> Applied(int symmetry, int side) {
  std::vector<float> planes = Planes(side);
  ApplySymmetry(symmetry, side, planes);
  return planes;
}

TEST(AugmentTest, EightDifferentArrangementsOfTheSamePixels) {
  for (const int side : {2, 3, 8}) {
    std::set<std::vector<float>> seen;
    for (int symmetry = 0; symmetry < 8; ++symmetry) {
      std::vector<float> planes = Applied(symmetry, side);
      EXPECT_TRUE(seen.insert(planes).second) << symmetry;
      // Channels stay apart.
      const auto plane = static_cast<std::ptrdiff_t>(side * side);
      for (int c = 0; c < 3; ++c) {
        std::multiset<float> have(planes.begin() + c * plane, planes.begin() + (c + 1) * plane);
        EXPECT_EQ(*have.begin(), static_cast<float>(c * plane));
        EXPECT_EQ(*have.rbegin(), static_cast<float>((c + 1) * plane - 1));
      }
    }
  }
}

TEST(AugmentTest, ByHand) {
  const auto first_plane = [](int symmetry) {
    std::vector<float> planes = Applied(symmetry, 2);
    planes.resize(4);
    return planes;
  };
  EXPECT_EQ(first_plane(0), (std::vector<float>{0, 1, 2, 3}));
  EXPECT_EQ(first_plane(1), (std::vector<float>{1, 0, 3, 2}));
  EXPECT_EQ(first_plane(2), (std::vector<float>{2, 3, 0, 1}));
  EXPECT_EQ(first_plane(4), (std::vector<float>{0, 2, 1, 3}));
}

}  // namespace
}  // namespace deweather
