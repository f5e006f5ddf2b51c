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

std::array<double, kWindowPx> GaussianWindow() {
  std::array<double, kWindowPx> window;
  double sum = 0;
  for (int i = 0; i < kWindowPx; ++i) {
    const double distance = i - kWindowPx / 2;
    window[static_cast<size_t>(i)] = std::exp(-distance * distance / (2 * kSigma * kSigma));
    sum += window[static_cast<size_t>(i)];
  }
  for (double& weight : window) weight /= sum;
  return window;
}

// Weighted sums of one plane of both pictures in a window.
struct Moments {
  double a = 0, b = 0, aa = 0, bb = 0, ab = 0;

  void Add(double weight, const Moments& m) {
    a += weight * m.a;
    b += weight * m.b;
    aa += weight * m.aa;
    bb += weight * m.bb;
    ab += weight * m.ab;
  }
};

double Ssim(const Moments& m) {
  const double variance_a = m.aa - m.a * m.a;
  const double variance_b = m.bb - m.b * m.b;
  const double covariance = m.ab - m.a * m.b;
  return (2 * m.a * m.b + kC1) * (2 * covariance + kC2) /
         ((m.a * m.a + m.b * m.b + kC1) * (variance_a + variance_b + kC2));
}

using MomentRow = std::vector<std::array<Moments, kPlanes>>;  // [width]

// Adds one row of both pictures, times its weight in the window's column.
void AddRow(const Image& a, const Image& b, int y, double weight, MomentRow& columns) {
  for (int x = 0; x < a.width; ++x) {
    const Pixel pa = PixelAt(a, x, y);
    const Pixel pb = PixelAt(b, x, y);
    for (size_t c = 0; c < kPlanes; ++c) {
      columns[static_cast<size_t>(x)][c].Add(
          weight, {pa[c], pb[c], pa[c] * pa[c], pb[c] * pb[c], pa[c] * pb[c]});
    }
  }
}

// Mean SSIM per plane: the window is separable, down the columns and then along the row.
Pixel MeanSsim(const Image& a, const Image& b) {
  const std::array<double, kWindowPx> window = GaussianWindow();
  const size_t columns = static_cast<size_t>(a.width - kWindowPx + 1);
  const int rows = a.height - kWindowPx + 1;
  Pixel sums = {};
  for (int y = 0; y < rows; ++y) {
    MomentRow row(static_cast<size_t>(a.width));
    for (int i = 0; i < kWindowPx; ++i) AddRow(a, b, y + i, window[static_cast<size_t>(i)], row);
    for (size_t x = 0; x < columns; ++x) {
      for (size_t c = 0; c < kPlanes; ++c) {
        Moments moments;
        for (size_t i = 0; i < kWindowPx; ++i) moments.Add(window[i], row[x + i][c]);
        sums[c] += Ssim(moments);
      }
    }
  }
  for (double& sum : sums) sum /= static_cast<double>(columns) * rows;
  return sums;
}

absl::Status CheckComparable(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height) {
    return absl::InvalidArgumentError(
        absl::StrFormat("pictures of %dx%d and %dx%d pixels cannot be compared", a.width, a.height,
                        b.width, b.height));
  }
  if (a.width < kWindowPx || a.height < kWindowPx) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "SSIM needs at least %d pixels a side; the pictures have %dx%d", kWindowPx, a.width,
        a.height));
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
