// RGB profiles that are a curve per channel and a matrix, as those of cameras, phones and monitors
// are: converted by table, ten times as fast as lcms's pipeline of floats. Private to this folder.
//
// Math     linear = curve(own);  sRGB = encode(M · linear), M: own primaries → sRGB's, both at D50
// Shapes   interleaved floats [n][3]
// Threads  thread-safe once made

#ifndef DEWEATHER_MODEL_IMAGE_MATRIX_PROFILE_H_
#define DEWEATHER_MODEL_IMAGE_MATRIX_PROFILE_H_

#include <array>
#include <optional>
#include <string_view>
#include <vector>

namespace deweather {

using Matrix3 = std::array<std::array<float, 3>, 3>;

// A function on [0,1], sampled evenly and interpolated.
using CurveTable = std::vector<float>;

struct MatrixProfile {
  // From device values to linear light, sampled evenly; back, sampled evenly in the square root of
  // light, where every such curve is nearly straight.
  std::array<CurveTable, 3> own_to_linear;
  std::array<CurveTable, 3> root_to_own;
  CurveTable srgb_to_linear;
  CurveTable root_to_srgb;
  Matrix3 to_srgb = {};
  Matrix3 from_srgb = {};

  // Clipped to [0,1]. `in` and `out` must not overlap.
  void ToSrgb(const float* in, float* out, int n) const;
  void FromSrgb(const float* in, float* out, int n) const;
};

// Nothing for a profile of another kind, or with curves or primaries that cannot be inverted.
std::optional<MatrixProfile> ReadMatrixProfile(std::string_view icc_profile);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_MATRIX_PROFILE_H_
