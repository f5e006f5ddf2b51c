#include "model/image/matrix_profile.h"

#include <lcms2.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

namespace deweather {
namespace {

// A multiple of 255 intervals: 8-bit values fall on samples.
constexpr int kIntervals = 255 * 32;

struct CloseProfile {
  void operator()(void* profile) const { cmsCloseProfile(profile); }
};
using Profile = std::unique_ptr<void, CloseProfile>;
using ToneCurve = std::unique_ptr<cmsToneCurve, decltype(&cmsFreeToneCurve)>;

using Matrix3d = std::array<std::array<double, 3>, 3>;

// Everything a profile says about device values and XYZ.
struct Shaper {
  Matrix3d to_xyz = {};
  std::array<const cmsToneCurve*, 3> curves = {};  // owned by the profile
};

std::optional<Shaper> ReadShaper(cmsHPROFILE profile) {
  constexpr cmsTagSignature kColorants[] = {cmsSigRedColorantTag, cmsSigGreenColorantTag,
                                            cmsSigBlueColorantTag};
  constexpr cmsTagSignature kCurves[] = {cmsSigRedTRCTag, cmsSigGreenTRCTag, cmsSigBlueTRCTag};
  // A table takes precedence over the matrix.
  if (!cmsIsMatrixShaper(profile) || cmsIsTag(profile, cmsSigAToB0Tag) ||
      cmsIsTag(profile, cmsSigAToB1Tag) || cmsIsTag(profile, cmsSigDToB1Tag)) {
    return std::nullopt;
  }
  Shaper shaper;
  for (size_t c = 0; c < 3; ++c) {
    const auto* xyz = static_cast<const cmsCIEXYZ*>(cmsReadTag(profile, kColorants[c]));
    shaper.curves[c] = static_cast<const cmsToneCurve*>(cmsReadTag(profile, kCurves[c]));
    if (xyz == nullptr || shaper.curves[c] == nullptr) return std::nullopt;
    shaper.to_xyz[0][c] = xyz->X;
    shaper.to_xyz[1][c] = xyz->Y;
    shaper.to_xyz[2][c] = xyz->Z;
  }
  return shaper;
}

std::optional<Matrix3d> Inverse(const Matrix3d& m) {
  const auto cofactor = [&m](size_t r, size_t c) {
    const size_t r1 = (r + 1) % 3, r2 = (r + 2) % 3, c1 = (c + 1) % 3, c2 = (c + 2) % 3;
    return m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1];
  };
  const double determinant =
      m[0][0] * cofactor(0, 0) + m[0][1] * cofactor(0, 1) + m[0][2] * cofactor(0, 2);
  if (!(std::fabs(determinant) > 1e-6)) return std::nullopt;
  Matrix3d inverse;
  for (size_t r = 0; r < 3; ++r) {
    for (size_t c = 0; c < 3; ++c) inverse[c][r] = cofactor(r, c) / determinant;
  }
  return inverse;
}

Matrix3 Product(const Matrix3d& a, const Matrix3d& b) {
  Matrix3 product = {};
  for (size_t r = 0; r < 3; ++r) {
    for (size_t c = 0; c < 3; ++c) {
      product[r][c] = static_cast<float>(a[r][0] * b[0][c] + a[r][1] * b[1][c] + a[r][2] * b[2][c]);
    }
  }
  return product;
}

template <typename Function>
CurveTable Tabulate(Function function) {
  CurveTable table;
  for (int i = 0; i <= kIntervals; ++i) {
    table.push_back(static_cast<float>(function(static_cast<float>(i) / kIntervals)));
  }
  return table;
}

CurveTable TabulateCurve(const cmsToneCurve* curve) {
  return Tabulate([curve](float value) { return cmsEvalToneCurveFloat(curve, value); });
}

// Empty when the curve cannot be inverted.
CurveTable TabulateInverse(const cmsToneCurve* curve) {
  if (!cmsIsToneCurveMonotonic(curve) || cmsIsToneCurveDescending(curve)) return {};
  const ToneCurve inverse(cmsReverseToneCurve(curve), &cmsFreeToneCurve);
  if (inverse == nullptr) return {};
  return Tabulate([&](float root) { return cmsEvalToneCurveFloat(inverse.get(), root * root); });
}

// IEC 61966-2-1.
float SrgbToLinear(float value) {
  return value <= 0.04045f ? value / 12.92f : std::pow((value + 0.055f) / 1.055f, 2.4f);
}

float LinearToSrgb(float light) {
  return light <= 0.0031308f ? light * 12.92f : 1.055f * std::pow(light, 1 / 2.4f) - 0.055f;
}

bool AllFinite(const CurveTable& table) {
  return !table.empty() &&
         std::all_of(table.begin(), table.end(), [](float v) { return std::isfinite(v); });
}

float Clip(float value) { return value > 0 ? std::min(value, 1.0f) : 0.0f; }  // NaN becomes 0

// REQUIRES: value in [0,1].
float Lookup(const CurveTable& table, float value) {
  const float place = value * kIntervals;
  const int below = std::min(static_cast<int>(place), kIntervals - 1);
  const float* sample = table.data() + below;
  return sample[0] + (place - static_cast<float>(below)) * (sample[1] - sample[0]);
}

float Light(const Matrix3& matrix, size_t row, const float* in) {
  return matrix[row][0] * in[0] + matrix[row][1] * in[1] + matrix[row][2] * in[2];
}

}  // namespace

void MatrixProfile::ToSrgb(const float* in, float* out, int n) const {
  for (int i = 0; i < n; ++i, in += 3, out += 3) {
    float light[3];
    for (size_t c = 0; c < 3; ++c) light[c] = Lookup(own_to_linear[c], Clip(in[c]));
    for (size_t c = 0; c < 3; ++c) {
      out[c] = Clip(Lookup(root_to_srgb, std::sqrt(Clip(Light(to_srgb, c, light)))));
    }
  }
}

void MatrixProfile::FromSrgb(const float* in, float* out, int n) const {
  for (int i = 0; i < n; ++i, in += 3, out += 3) {
    float light[3];
    for (size_t c = 0; c < 3; ++c) light[c] = Lookup(srgb_to_linear, Clip(in[c]));
    for (size_t c = 0; c < 3; ++c) {
      out[c] = Clip(Lookup(root_to_own[c], std::sqrt(Clip(Light(from_srgb, c, light)))));
    }
  }
}

std::optional<MatrixProfile> ReadMatrixProfile(std::string_view icc_profile) {
  const Profile own(
      cmsOpenProfileFromMem(icc_profile.data(), static_cast<cmsUInt32Number>(icc_profile.size())));
  const Profile srgb(cmsCreate_sRGBProfile());
  if (own == nullptr || srgb == nullptr) return std::nullopt;
  const std::optional<Shaper> from = ReadShaper(own.get());
  const std::optional<Shaper> to = ReadShaper(srgb.get());
  if (!from.has_value() || !to.has_value()) return std::nullopt;
  const std::optional<Matrix3d> own_inverse = Inverse(from->to_xyz);
  const std::optional<Matrix3d> srgb_inverse = Inverse(to->to_xyz);
  if (!own_inverse.has_value() || !srgb_inverse.has_value()) return std::nullopt;
  MatrixProfile profile;
  profile.to_srgb = Product(*srgb_inverse, from->to_xyz);
  profile.from_srgb = Product(*own_inverse, to->to_xyz);
  profile.srgb_to_linear = Tabulate(SrgbToLinear);
  profile.root_to_srgb = Tabulate([](float root) { return LinearToSrgb(root * root); });
  for (size_t c = 0; c < 3; ++c) {
    profile.own_to_linear[c] = TabulateCurve(from->curves[c]);
    profile.root_to_own[c] = TabulateInverse(from->curves[c]);
    if (!AllFinite(profile.own_to_linear[c]) || !AllFinite(profile.root_to_own[c])) {
      return std::nullopt;
    }
  }
  return profile;
}

}  // namespace deweather
