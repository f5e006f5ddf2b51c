#include "training/dataset.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "model/image/codec.h"
#include "model/image/tiling.h"
#include "training/augment.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

bool IsPicture(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension.size() > 1 && ParseImageFormat(extension.substr(1)).ok();
}

std::map<std::string, std::string> ByStem(const std::vector<std::string>& paths) {
  std::map<std::string, std::string> by_stem;
  for (const std::string& path : paths) by_stem[fs::path(path).stem().string()] = path;
  return by_stem;
}

RgbImage ToInterleaved(const std::vector<float>& planes, int side) {
  const size_t plane = static_cast<size_t>(side) * side;
  RgbImage image{side, side, std::vector<float>(3 * plane)};
  for (size_t i = 0; i < 3 * plane; ++i) image.pixels[i] = planes[i % 3 * plane + i / 3];
  return image;
}

// As a camera would have stored it: clipped, in steps of 1/255.
void StorePlanes(const RgbImage& image, float* planes) {
  const size_t plane = image.pixels.size() / 3;
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    planes[i % 3 * plane + i / 3] =
        std::round(std::clamp(image.pixels[i], 0.0f, 1.0f) * 255.0f) / 255.0f;
  }
}

// A random square of the picture; where the picture is smaller, it is padded by reflection.
TileRect DrawRect(const Image& image, int side, Random& random) {
  const auto offset = [&](int size) {
    return static_cast<int>(random.Below(std::max(size - side, 0) + 1));
  };
  const int x = offset(image.width);
  return {x, offset(image.height), side, side};
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ListPictures(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> paths;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unreadable;  // a broken or looping link is no picture
    if (entry->is_regular_file(unreadable) && IsPicture(entry->path())) {
      paths.push_back(entry->path());
    }
  }
  if (error) {
    return absl::NotFoundError(
        absl::StrFormat("cannot list folder '%s': %s", folder, error.message()));
  }
  if (paths.empty()) {
    return absl::NotFoundError(absl::StrFormat("no picture in folder '%s'", folder));
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

absl::StatusOr<std::vector<PicturePair>> ListPairs(const std::string& input_dir,
                                                   const std::string& truth_dir) {
  DW_ASSIGN_OR_RETURN(const std::vector<std::string> inputs, ListPictures(input_dir));
  DW_ASSIGN_OR_RETURN(const std::vector<std::string> truths, ListPictures(truth_dir));
  const std::map<std::string, std::string> truth_of = ByStem(truths);
  std::vector<PicturePair> pairs;
  for (const std::string& input : inputs) {
    const auto truth = truth_of.find(fs::path(input).stem().string());
    if (truth == truth_of.end()) {
      return absl::NotFoundError(
          absl::StrFormat("'%s' has no picture of its name in '%s'", input, truth_dir));
    }
    pairs.push_back({input, truth->second});
  }
  return pairs;
}

Dataset::Dataset(DataOptions options, uint64_t seed, int64_t cache_bytes)
    : options_(std::move(options)), seed_(seed), cache_left_bytes_(cache_bytes) {}

absl::StatusOr<std::unique_ptr<Dataset>> Dataset::Open(const DataOptions& options, uint64_t seed,
                                                       int64_t cache_bytes) {
  auto dataset = std::unique_ptr<Dataset>(new Dataset(options, seed, cache_bytes));
  DW_RETURN_IF_ERROR(dataset->AddSources());
  return dataset;
}

absl::Status Dataset::AddSources() {
  for (const PairedSource& paired : options_.pairs) {
    Source source;
    source.weight = paired.weight;
    DW_ASSIGN_OR_RETURN(source.pictures, ListPairs(paired.input_dir, paired.truth_dir));
    sources_.push_back(std::move(source));
  }
  for (const CleanSource& clean : options_.clean) {
    Source source;
    source.weight = clean.weight;
    source.clean = true;
    source.untouched_share = clean.untouched_share;
    DW_ASSIGN_OR_RETURN(source.weather, ParseWeather(clean.weather));
    DW_ASSIGN_OR_RETURN(const std::vector<std::string> paths, ListPictures(clean.dir));
    for (const std::string& path : paths) source.pictures.push_back({path, path});
    sources_.push_back(std::move(source));
  }
  if (sources_.empty()) return absl::InvalidArgumentError("data names no source of pictures");
  return absl::OkStatus();
}

const Dataset::Source& Dataset::Draw(Random& random) const {
  double total = 0;
  for (const Source& source : sources_) total += source.weight;
  double at = random.Uniform(0, total);
  for (const Source& source : sources_) {
    at -= source.weight;
    if (at < 0) return source;
  }
  return sources_.back();
}

absl::StatusOr<Dataset::Picture> Dataset::Decode(const std::string& path) {
  {
    const MutexLock lock(mutex_);
    const auto found = cache_.find(path);
    if (found != cache_.end()) return found->second;
  }
  DW_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  absl::StatusOr<Image> image = DecodeImage(bytes, DecodeLimits{});
  if (!image.ok()) {
    return absl::Status(image.status().code(),
                        absl::StrFormat("'%s': %s", path, image.status().message()));
  }
  auto picture = std::make_shared<const Image>(*std::move(image));
  const MutexLock lock(mutex_);
  const auto size = static_cast<int64_t>(picture->samples.size());
  if (size <= cache_left_bytes_ && cache_.emplace(path, picture).second) cache_left_bytes_ -= size;
  return picture;
}

absl::StatusOr<std::pair<Dataset::Picture, Dataset::Picture>> Dataset::DecodePair(
    const PicturePair& pair) {
  DW_ASSIGN_OR_RETURN(Picture input, Decode(pair.input));
  DW_ASSIGN_OR_RETURN(Picture truth, Decode(pair.truth));
  if (input->width != truth->width || input->height != truth->height) {
    return absl::InvalidArgumentError(absl::StrFormat("'%s' is %dx%d but '%s' is %dx%d", pair.input,
                                                      input->width, input->height, pair.truth,
                                                      truth->width, truth->height));
  }
  return std::pair(std::move(input), std::move(truth));
}

absl::Status Dataset::Load(int64_t step, int64_t index, float* input, float* truth) {
  Random random(MixSeed(seed_, static_cast<uint64_t>(step), static_cast<uint64_t>(index)));
  const int side = options_.crop_px;
  const Source& source = Draw(random);
  const PicturePair& pair = source.pictures[random.Below(std::ssize(source.pictures))];
  DW_ASSIGN_OR_RETURN(const auto pictures, DecodePair(pair));

  const TileRect rect = DrawRect(*pictures.first, side, random);
  // A pair is only mirrored: its rain must fall down.
  const int symmetry = options_.augment ? static_cast<int>(random.Below(source.clean ? 8 : 2)) : 0;
  std::vector<float> planes(crop_elements());
  GatherTile(*pictures.second, rect, planes.data());
  ApplySymmetry(symmetry, side, planes);
  std::copy(planes.begin(), planes.end(), truth);

  const bool rains = source.clean && !random.Chance(source.untouched_share);
  if (rains) {
    // Weather comes after the symmetry: rain falls down whichever way the scene was turned.
    DW_ASSIGN_OR_RETURN(const RgbImage rainy,
                        AddWeather(ToInterleaved(planes, side), source.weather, random.Bits()));
    StorePlanes(rainy, input);
    return absl::OkStatus();
  }
  if (!source.clean) {
    GatherTile(*pictures.first, rect, planes.data());
    ApplySymmetry(symmetry, side, planes);
  }
  std::copy(planes.begin(), planes.end(), input);
  return absl::OkStatus();
}

}  // namespace deweather
