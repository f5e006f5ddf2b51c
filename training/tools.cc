#include "training/tools.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/annotate.h"
#include "model/base/file.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/image/codec.h"
#include "model/import.h"
#include "model/parameters.h"
#include "model/version_store.h"
#include "training/report/sheet.h"

namespace deweather {
namespace {

bool IsFolder(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

std::string SourceOf(const std::string& path) {
  return absl::StrFormat("import of %s", std::filesystem::path(path).filename().string());
}

// Eight bits, colour; all else as in `like`, but for a profile of grey.
Image FromRgb(const RgbImage& rgb, const Image& like) {
  Image image = like;
  image.width = rgb.width;
  image.height = rgb.height;
  if (like.channels < 3) image.icc_profile.clear();
  image.channels = 3;
  image.bytes_per_sample = 1;
  image.samples.resize(rgb.pixels.size());
  std::transform(rgb.pixels.begin(), rgb.pixels.end(), image.samples.begin(), [](float value) {
    return static_cast<uint8_t>(std::lround(std::clamp(value, 0.0f, 1.0f) * 255.0f));
  });
  return image;
}

// --- the contact sheet ---

constexpr int kSheetColumns = 4;
constexpr int kSheetSide = 640;  // of the picture that gets the weather, px

RgbImage Middle(const RgbImage& image, int side) {
  const int width = std::min(image.width, side), height = std::min(image.height, side);
  return Cut(image, (image.width - width) / 2, (image.height - height) / 2, width, height);
}

absl::StatusOr<SheetCell> Cell(const RgbImage& picture, std::string caption) {
  SheetCell cell;
  cell.caption = std::move(caption);
  DW_ASSIGN_OR_RETURN(cell.picture,
                      Thumbnail(FromRgb(picture, Image{}), SheetCellPx(kSheetColumns)));
  return cell;
}

// The clean picture and those with weather, as many to a row as fit.
absl::Status AddRows(const RgbImage& clean, Weather weather, const ContactSheetOptions& options,
                     std::vector<SheetRow>& rows) {
  const std::string name(Name(weather));
  rows.emplace_back();
  DW_ASSIGN_OR_RETURN(SheetCell first, Cell(clean, "clean"));
  rows.back().cells.push_back(std::move(first));
  for (int i = 0; i < options.count; ++i) {
    const uint64_t seed = options.seed + static_cast<uint64_t>(i);
    DW_ASSIGN_OR_RETURN(const RgbImage picture, AddWeather(clean, weather, seed));
    DW_ASSIGN_OR_RETURN(SheetCell cell, Cell(picture, absl::StrFormat("%s, seed %d", name, seed)));
    if (rows.back().cells.size() == kSheetColumns) rows.emplace_back();
    rows.back().cells.push_back(std::move(cell));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImportedModel> ImportFile(const std::string& source, const std::string& destination,
                                         const std::string& name) {
  if (!name.empty()) DW_RETURN_IF_ERROR(ValidateName("name", name));
  DW_ASSIGN_OR_RETURN(std::string file, ReadFile(source));
  const absl::StatusOr<CheckpointFile> ours = ToCheckpoint(std::move(file), name);
  if (!ours.ok()) return Annotate(ours.status(), source);
  const absl::StatusOr<Checkpoint> checkpoint = ParseCheckpoint(ours->bytes);
  if (!checkpoint.ok()) return Annotate(checkpoint.status(), source);
  const std::string& model = checkpoint->config.name;
  if (!IsFolder(destination)) {
    DW_RETURN_IF_ERROR(WriteFileAtomically(destination, ours->bytes));
    return ImportedModel{destination, model, checkpoint->version, true, ours->unused};
  }
  DW_ASSIGN_OR_RETURN(
      const AddedVersion version,
      AddVersion(destination + "/models", model, ours->bytes, SourceOf(source), absl::Now()));
  return ImportedModel{version.path, model, checkpoint->version, version.added, ours->unused};
}

absl::StatusOr<Inspection> InspectFile(const std::string& path) {
  DW_ASSIGN_OR_RETURN(Checkpoint checkpoint, LoadCheckpoint(path));
  return Inspection{checkpoint.config, checkpoint.version, std::move(checkpoint.metadata)};
}

absl::StatusOr<NetworkCost> CostOf(const ModelConfig& config, int size_px) {
  DW_RETURN_IF_ERROR(Validate(config));
  if (size_px < config.patch || size_px > 4096 || size_px % config.patch != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "size is %d; it must be a multiple of the patch, %d, at most 4096", size_px, config.patch));
  }
  const Macs macs = CountMacs(config, size_px, size_px);
  return NetworkCost{CountParameters(config), macs.layers, macs.attention};
}

absl::StatusOr<Image> DecodeFile(const std::string& path) {
  DW_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  absl::StatusOr<Image> image = DecodeImage(bytes, DecodeLimits{});
  if (!image.ok()) return Annotate(image.status(), path);
  return image;
}

RgbImage ToRgb(const Image& image) {
  const auto pixels = static_cast<size_t>(image.width) * image.height;
  RgbImage rgb{image.width, image.height, std::vector<float>(3 * pixels)};
  const bool grey = image.channels < 3;
  for (size_t i = 0; i < 3 * pixels; ++i) {
    const size_t sample = i / 3 * image.channels + (grey ? 0 : i % 3);
    if (image.bytes_per_sample == 1) {
      rgb.pixels[i] = static_cast<float>(image.samples[sample]) / 255.0f;
    } else {
      uint16_t value;
      std::memcpy(&value, image.samples.data() + 2 * sample, sizeof(value));
      rgb.pixels[i] = static_cast<float>(value) / 65535.0f;
    }
  }
  return rgb;
}

RgbImage Cut(const RgbImage& image, int x, int y, int width, int height) {
  RgbImage cut{width, height, {}};
  for (int row = y; row < y + height; ++row) {
    const auto begin = image.pixels.begin() + (int64_t{row} * image.width + x) * 3;
    cut.pixels.insert(cut.pixels.end(), begin, begin + int64_t{3} * width);
  }
  return cut;
}

absl::Status SynthesizeFile(const std::string& source, const std::string& destination,
                            Weather weather, uint64_t seed) {
  EncodeOptions encode;
  DW_ASSIGN_OR_RETURN(encode.format, FormatOf(destination));
  DW_ASSIGN_OR_RETURN(const Image clean, DecodeFile(source));
  DW_ASSIGN_OR_RETURN(const RgbImage rgb, AddWeather(ToRgb(clean), weather, seed));
  DW_ASSIGN_OR_RETURN(const std::string encoded, EncodeImage(FromRgb(rgb, clean), encode));
  return WriteFileAtomically(destination, encoded);
}

absl::Status SynthesizeSheet(const std::string& source, const std::string& destination,
                             const ContactSheetOptions& options) {
  DW_RETURN_IF_ERROR(CheckPicturePath(destination));
  if (options.count < 1 || options.count > 48) {
    return absl::InvalidArgumentError(
        absl::StrFormat("count is %d; it must be 1 to 48", options.count));
  }
  DW_ASSIGN_OR_RETURN(const Image image, DecodeFile(source));
  const RgbImage clean = Middle(ToRgb(image), kSheetSide);
  std::vector<SheetRow> rows;
  for (const Weather weather : kWeathers) {
    if (options.weather.value_or(weather) != weather) continue;
    DW_RETURN_IF_ERROR(AddRows(clean, weather, options, rows));
  }
  return WriteSheet(destination, rows);
}

}  // namespace deweather
