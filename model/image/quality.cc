#include "model/image/quality.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

constexpr double kPeak = 255;
constexpr double kIdenticalDb = 100;
constexpr int kWindowPx = 11;
constexpr double kSigma = 1.5;
constexpr double kC1 = (0.01 * kPeak) * (0.01 * kPeak);
constexpr double kC2 = (0.03 * kPeak) * (0.03 * kPeak);
constexpr size_t kPlanes = 4;  // R, G, B, Y

using Pixel = std::array<double, kPlanes>;

uint8_t Sample8(const Image& image, const uint8_t* row, size_t index) {
  if (image.bytes_per_sample == 1) return row[index];
  uint16_t value;
  std::memcpy(&value, row + 2 * index, sizeof(value));
  return static_cast<uint8_t>((value + 128) / 257);
}

Pixel PixelAt(const Image& image, int x, int y) {
  const uint8_t* row = image.row(y);
  const size_t at = static_cast<size_t>(x) * static_cast<size_t>(image.channels);
  const bool grey = image.channels <= 2;
  Pixel pixel;
  for (size_t c = 0; c < 3; ++c) pixel[c] = Sample8(image, row, at + (grey ? 0 : c));
  pixel[3] = 16 + (65.481 * pixel[0] + 128.553 * pixel[1] + 24.966 * pixel[2]) / 255;
  return pixel;
}

// Sums of squared differences over the picture.
Pixel SquaredErrors(const Image& a, const Image& b) {
  Pixel sums = {};
  for (int y = 0; y < a.height; ++y) {
    for (int x = 0; x < a.width; ++x) {
      const Pixel pa = PixelAt(a, x, y);
      const Pixel pb = PixelAt(b, x, y);
      for (size_t c = 0; c < kPlanes; ++c) sums[c] += (pa[c] - pb[c]) * (pa[c] - pb[c]);
    }
  }
  return sums;
}

double Psnr(double mean_squared_error) {
  if (mean_squared_error <= 0) return kIdenticalDb;
  return std::min(kIdenticalDb, 10 * std::log10(kPeak * kPeak / mean_squared_error));
}

using Window = std::array<double, kWindowPx>;

Window GaussianWindow() {
  Window window;
  double sum = 0;
  for (int i = 0; i < kWindowPx; ++i) {
    const int from_centre = i - kWindowPx / 2;
    const double distance = from_centre;
    window[static_cast<size_t>(i)] = std::exp(-distance * distance / (2 * kSigma * kSigma));
    sum += window[static_cast<size_t>(i)];
  }
  for (double& weight : window) weight /= sum;
  return window;
}

// Weighted means of one plane of both pictures in a window.
enum Moment : size_t { kA, kB, kAA, kBB, kAB, kMoments };

// [plane][moment][x], plane by plane so that the window's sums run along memory.
using MomentRow = std::vector<double>;

void FillMoments(const Image& a, const Image& b, int y, MomentRow& row) {
  const size_t width = static_cast<size_t>(a.width);
  for (size_t x = 0; x < width; ++x) {
    const Pixel pa = PixelAt(a, static_cast<int>(x), y);
    const Pixel pb = PixelAt(b, static_cast<int>(x), y);
    for (size_t c = 0; c < kPlanes; ++c) {
      double* moments = row.data() + c * kMoments * width + x;
      moments[kA * width] = pa[c];
      moments[kB * width] = pb[c];
      moments[kAA * width] = pa[c] * pa[c];
      moments[kBB * width] = pb[c] * pb[c];
      moments[kAB * width] = pa[c] * pb[c];
    }
  }
}

// to[x] += weight · from[x]
void AddWeighted(double weight, const double* from, double* to, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] += weight * from[i];
}

double Ssim(double a, double b, double aa, double bb, double ab) {
  const double variances = aa - a * a + bb - b * b;
  const double covariance = ab - a * b;
  return (2 * a * b + kC1) * (2 * covariance + kC2) / ((a * a + b * b + kC1) * (variances + kC2));
}

// Sum of SSIM along a row, per plane. `columns` has been summed down the window's columns.
Pixel SumRow(const MomentRow& columns, const Window& window, size_t width) {
  const size_t positions = width - kWindowPx + 1;
  Pixel sums = {};
  std::array<std::vector<double>, kMoments> m;
  for (size_t c = 0; c < kPlanes; ++c) {
    for (size_t k = 0; k < kMoments; ++k) {
      m[k].assign(positions, 0.0);
      const double* from = columns.data() + (c * kMoments + k) * width;
      for (size_t i = 0; i < kWindowPx; ++i)
        AddWeighted(window[i], from + i, m[k].data(), positions);
    }
    for (size_t x = 0; x < positions; ++x) {
      sums[c] += Ssim(m[kA][x], m[kB][x], m[kAA][x], m[kBB][x], m[kAB][x]);
    }
  }
  return sums;
}

// Mean SSIM per plane: the window is separable, down the columns and then along the row.
Pixel MeanSsim(const Image& a, const Image& b) {
  const Window window = GaussianWindow();
  const size_t width = static_cast<size_t>(a.width);
  const size_t row_size = kPlanes * kMoments * width;
  std::vector<MomentRow> ring(kWindowPx, MomentRow(row_size));
  Pixel sums = {};
  for (size_t y = 0; y < static_cast<size_t>(a.height); ++y) {
    FillMoments(a, b, static_cast<int>(y), ring[y % kWindowPx]);
    if (y + 1 < kWindowPx) continue;
    MomentRow columns(row_size);
    for (size_t i = 0; i < kWindowPx; ++i) {
      AddWeighted(window[i], ring[(y + 1 + i) % kWindowPx].data(), columns.data(), row_size);
    }
    const Pixel row = SumRow(columns, window, width);
    for (size_t c = 0; c < kPlanes; ++c) sums[c] += row[c];
  }
  const double positions = static_cast<double>(width - kWindowPx + 1) * (a.height - kWindowPx + 1);
  for (double& sum : sums) sum /= positions;
  return sums;
}

absl::Status CheckComparable(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height) {
    return absl::InvalidArgumentError(
        absl::StrFormat("pictures of %dx%d and %dx%d pixels cannot be compared", a.width, a.height,
                        b.width, b.height));
  }
  if (a.width < kWindowPx || a.height < kWindowPx) {
    return absl::InvalidArgumentError(
        absl::StrFormat("SSIM needs at least %d pixels a side; the pictures have %dx%d", kWindowPx,
                        a.width, a.height));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Quality> CompareImages(const Image& a, const Image& b) {
  DW_RETURN_IF_ERROR(CheckComparable(a, b));
  const double pixels = static_cast<double>(a.width) * a.height;
  const Pixel errors = SquaredErrors(a, b);
  const Pixel ssim = MeanSsim(a, b);
  return Quality{.psnr_rgb = Psnr((errors[0] + errors[1] + errors[2]) / (3 * pixels)),
                 .psnr_y = Psnr(errors[3] / pixels),
                 .ssim_rgb = (ssim[0] + ssim[1] + ssim[2]) / 3,
                 .ssim_y = ssim[3]};
}

}  // namespace deweather
