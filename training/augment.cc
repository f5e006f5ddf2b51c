#include "training/augment.h"

#include <algorithm>
#include <utility>

namespace deweather {
namespace {

void Mirror(int side, float* plane) {
  for (int y = 0; y < side; ++y) std::reverse(plane + y * side, plane + (y + 1) * side);
}

void Flip(int side, float* plane) {
  for (int y = 0; y < side / 2; ++y) {
    std::swap_ranges(plane + y * side, plane + (y + 1) * side, plane + (side - 1 - y) * side);
  }
}

void Transpose(int side, float* plane) {
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < y; ++x) std::swap(plane[y * side + x], plane[x * side + y]);
  }
}

}  // namespace

void ApplySymmetry(int symmetry, int side, std::vector<float>& planes) {
  for (int channel = 0; channel < 3; ++channel) {
    float* plane = planes.data() + static_cast<size_t>(channel) * side * side;
    if (symmetry & 1) Mirror(side, plane);
    if (symmetry & 2) Flip(side, plane);
    if (symmetry & 4) Transpose(side, plane);
  }
}

}  // namespace deweather
