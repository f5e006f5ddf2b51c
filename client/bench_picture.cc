#include "client/bench_picture.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "model/image/codec.h"

namespace deweather {
namespace {

constexpr int64_t kMaxVariants = 4;
// A large picture takes seconds to encode; it comes in fewer variants.
constexpr int64_t kPixelsOfAllVariants = 4'000'000;

int64_t VariantsOf(const MixPart& part) {
  const int64_t pixels = int64_t{part.width_px} * part.height_px;
  return std::clamp<int64_t>(kPixelsOfAllVariants / pixels, 1, kMaxVariants);
}

uint8_t Sample(double value) {
  return static_cast<uint8_t>(std::lround(std::clamp(value, 0., 255.)));
}

// Sines of all columns or rows: a product of two of them is a texture.
std::vector<double> Wave(int length, double period_px, double phase) {
  std::vector<double> wave(static_cast<size_t>(length));
  for (size_t i = 0; i < wave.size(); ++i) {
    wave[i] = std::sin(static_cast<double>(i) * 2 * M_PI / period_px + phase);
  }
  return wave;
}

absl::StatusOr<std::string> MakeFile(const MixPart& part, int variant, ImageFormat format) {
  EncodeOptions options;
  options.format = format;
  return EncodeImage(MakePicture(part.width_px, part.height_px, variant), options);
}

absl::Status About(const MixPart& part, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(part.name, ": ", status.message()));
}

absl::Status AddMade(const MixPart& part, size_t index, ImageFormat format,
                     std::vector<BenchPicture>* pictures) {
  for (int variant = 0; variant < VariantsOf(part); ++variant) {
    absl::StatusOr<std::string> file = MakeFile(part, variant, format);
    if (!file.ok()) return About(part, file.status());
    pictures->push_back({index, *std::move(file)});
  }
  return absl::OkStatus();
}

}  // namespace

Image MakePicture(int width_px, int height_px, int variant) {
  Image image;
  image.width = width_px;
  image.height = height_px;
  image.samples.resize(image.row_bytes() * static_cast<size_t>(height_px));
  const std::vector<double> across = Wave(width_px, 23.7, variant);
  const std::vector<double> down = Wave(height_px, 17.3, 2. * variant);
  for (int y = 0; y < height_px; ++y) {
    uint8_t* sample = image.row(y);
    const double from_top = static_cast<double>(y) / height_px;
    for (int x = 0; x < width_px; ++x) {
      const double from_left = static_cast<double>(x) / width_px;
      const double texture =
          24 * across[static_cast<size_t>(x)] * down[static_cast<size_t>(y)] + 4 * variant;
      *sample++ = Sample(200 * from_left + texture + 20);
      *sample++ = Sample(200 * from_top + texture + 20);
      *sample++ = Sample(100 * (2 - from_left - from_top) + texture + 20);
    }
  }
  return image;
}

absl::StatusOr<std::vector<BenchPicture>> LoadPictures(const std::vector<MixPart>& mix,
                                                       ImageFormat format) {
  std::vector<BenchPicture> pictures;
  for (size_t i = 0; i < mix.size(); ++i) {
    if (mix[i].made()) {
      DW_RETURN_IF_ERROR(AddMade(mix[i], i, format, &pictures));
    } else {
      DW_ASSIGN_OR_RETURN(std::string bytes, ReadFile(mix[i].name));
      pictures.push_back({i, std::move(bytes)});
    }
  }
  return pictures;
}

}  // namespace deweather
