#include "training/dataset.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "model/base/random_key.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"
#include "model/image/codec.h"
#include "model/image/tiling.h"
#include "training/augment.h"
#include "training/tools.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr int kUntouchedTask = 0;
constexpr size_t kBeginning = 65536;  // bytes of a file that nearly always hold all of its header

bool IsPicture(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension.size() > 1 && ParseImageFormat(extension.substr(1)).ok();
}

absl::StatusOr<std::map<std::string, std::string>> ByStem(const std::vector<std::string>& paths) {
  std::map<std::string, std::string> by_stem;
  for (const std::string& path : paths) {
    const auto [other, added] = by_stem.emplace(fs::path(path).stem().string(), path);
    if (added) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("'%s' and '%s' have the same name", other->second, path));
  }
  return by_stem;
}

absl::StatusOr<ImageInfo> ReadInfo(const std::string& path, bool whole) {
  std::string bytes(kBeginning, '\0');
  if (whole) {
    DW_ASSIGN_OR_RETURN(bytes, ReadFile(path));
  } else {
    std::ifstream file(path, std::ios::binary);
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    bytes.resize(static_cast<size_t>(file.gcount()));
  }
  return ReadImageInfo(bytes, DecodeLimits{});
}

absl::Status DifferentSizes(const PicturePair& pair, int input_width, int input_height,
                            int truth_width, int truth_height) {
  return absl::InvalidArgumentError(absl::StrFormat("'%s' is %dx%d but '%s' is %dx%d", pair.input,
                                                    input_width, input_height, pair.truth,
                                                    truth_width, truth_height));
}

// By the files' beginnings; where those say anything but "equal", by the whole headers, which may
// turn a picture.
absl::Status CheckSizes(const PicturePair& pair) {
  for (const bool whole : {false, true}) {
    const absl::StatusOr<ImageInfo> input = ReadInfo(pair.input, whole);
    const absl::StatusOr<ImageInfo> truth = ReadInfo(pair.truth, whole);
    const bool known = input.ok() && truth.ok();
    if (known && input->width == truth->width && input->height == truth->height) break;
    if (known && whole) {
      return DifferentSizes(pair, input->width, input->height, truth->width, truth->height);
    }
  }
  return absl::OkStatus();
}

std::string TaskOf(const PairedSource& pairs) { return pairs.task.empty() ? "pairs" : pairs.task; }

RgbImage ToInterleaved(const std::vector<float>& planes, int side) {
  const size_t plane = static_cast<size_t>(side) * side;
  RgbImage image{side, side, std::vector<float>(3 * plane)};
  for (size_t c = 0; c < 3; ++c) {
    for (size_t i = 0; i < plane; ++i) image.pixels[3 * i + c] = planes[c * plane + i];
  }
  return image;
}

// As a camera would have stored it: clipped, in steps of 1/255.
void StorePlanes(const RgbImage& image, float* planes) {
  const size_t plane = image.pixels.size() / 3;
  for (size_t c = 0; c < 3; ++c) {
    for (size_t i = 0; i < plane; ++i) {
      const float value = std::clamp(image.pixels[3 * i + c], 0.0f, 1.0f);
      planes[c * plane + i] = static_cast<float>(static_cast<int>(value * 255.0f + 0.5f)) / 255.0f;
    }
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
  DW_RETURN_IF_ERROR(ByStem(inputs).status());
  DW_ASSIGN_OR_RETURN(const auto truth_of, ByStem(truths));
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

std::vector<std::string> SourceTasks(const DataOptions& data) {
  std::vector<std::string> tasks;
  for (const PairedSource& paired : data.pairs) tasks.push_back(TaskOf(paired));
  for (const CleanSource& clean : data.clean) tasks.push_back(clean.weather);
  return tasks;
}

Dataset::Dataset(DataOptions options, uint64_t seed)
    : options_(std::move(options)),
      seed_(seed),
      cache_left_bytes_(options_.cache_mebibytes << 20) {}

absl::StatusOr<std::unique_ptr<Dataset>> Dataset::Open(const DataOptions& options, uint64_t seed) {
  auto dataset = std::unique_ptr<Dataset>(new Dataset(options, seed));
  DW_RETURN_IF_ERROR(dataset->AddSources());
  return dataset;
}

int Dataset::Task(const std::string& name) {
  const auto found = std::find(tasks_.begin(), tasks_.end(), name);
  if (found != tasks_.end()) return static_cast<int>(found - tasks_.begin());
  tasks_.push_back(name);
  return static_cast<int>(tasks_.size() - 1);
}

absl::Status Dataset::AddPairs(const PairedSource& paired) {
  Source source;
  source.weight = paired.weight;
  const std::string task = TaskOf(paired);
  source.note = {Task(task), paired.loss_weight, task};
  DW_ASSIGN_OR_RETURN(source.pictures, ListPairs(paired.input_dir, paired.truth_dir));
  for (const PicturePair& pair : source.pictures) DW_RETURN_IF_ERROR(CheckSizes(pair));
  sources_.push_back(std::move(source));
  return absl::OkStatus();
}

absl::Status Dataset::AddClean(const CleanSource& clean) {
  Source source;
  source.weight = clean.weight;
  source.note = {Task(clean.weather), clean.loss_weight, clean.weather};
  source.clean = true;
  source.untouched_share = clean.untouched_share;
  DW_ASSIGN_OR_RETURN(source.weather, ParseWeather(clean.weather));
  DW_ASSIGN_OR_RETURN(const std::vector<std::string> paths, ListPictures(clean.dir));
  for (const std::string& path : paths) source.pictures.push_back({path, path});
  sources_.push_back(std::move(source));
  return absl::OkStatus();
}

absl::Status Dataset::AddSources() {
  Task("clean");  // kUntouchedTask
  for (const PairedSource& paired : options_.pairs) DW_RETURN_IF_ERROR(AddPairs(paired));
  for (const CleanSource& clean : options_.clean) DW_RETURN_IF_ERROR(AddClean(clean));
  if (sources_.empty()) return absl::InvalidArgumentError("data names no source of pictures");
  return absl::OkStatus();
}

std::string Dataset::Fingerprint() const {
  std::string names;
  for (const Source& source : sources_) {
    for (const PicturePair& pair : source.pictures) {
      names += fs::path(pair.input).filename().string() + '/';
      if (!source.clean) names += fs::path(pair.truth).filename().string() + '/';
    }
    names += '/';
  }
  return Sha256Hex(names).substr(0, 16);
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

absl::Status Dataset::Skip(const std::string& path, const absl::Status& reason) {
  const MutexLock lock(mutex_);
  if (!unreadable_.insert(path).second) return absl::OkStatus();
  untold_.emplace_back(reason.message());
  const auto count = static_cast<int>(unreadable_.size());
  if (count <= options_.max_unreadable) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%d pictures cannot be read; data.max_unreadable is %d; the last is %s",
                      count, options_.max_unreadable, reason.message()));
}

std::vector<std::string> Dataset::TakeSkipped() {
  const MutexLock lock(mutex_);
  return std::exchange(untold_, {});
}

absl::StatusOr<Dataset::Picture> Dataset::Decode(const std::string& path) {
  {
    const MutexLock lock(mutex_);
    const auto found = cache_.find(path);
    if (found != cache_.end()) return found->second;
    if (unreadable_.contains(path)) return nullptr;
  }
  absl::StatusOr<Image> image = DecodeFile(path);
  if (absl::IsResourceExhausted(image.status())) return image.status();  // no fault of the file
  if (!image.ok()) {
    DW_RETURN_IF_ERROR(Skip(path, image.status()));
    return nullptr;
  }
  auto picture = std::make_shared<const Image>(*std::move(image));
  const MutexLock lock(mutex_);
  const auto size = static_cast<int64_t>(picture->samples.size());
  if (size <= cache_left_bytes_ && cache_.emplace(path, picture).second) cache_left_bytes_ -= size;
  return picture;
}

absl::StatusOr<Dataset::PicturesOfPair> Dataset::DecodePair(const PicturePair& pair) {
  PicturesOfPair pictures;
  DW_ASSIGN_OR_RETURN(pictures.first, Decode(pair.input));
  DW_ASSIGN_OR_RETURN(pictures.second, Decode(pair.truth));
  if (!pictures.first || !pictures.second) return PicturesOfPair();
  const Image &input = *pictures.first, &truth = *pictures.second;
  if (input.width == truth.width && input.height == truth.height) return pictures;
  return DifferentSizes(pair, input.width, input.height, truth.width, truth.height);
}

absl::StatusOr<Dataset::PicturesOfPair> Dataset::DecodeFrom(const Source& source, int64_t first) {
  const int64_t count = std::ssize(source.pictures);
  for (int64_t i = 0; i < count; ++i) {
    DW_ASSIGN_OR_RETURN(PicturesOfPair pictures, DecodePair(source.pictures[(first + i) % count]));
    if (pictures.first) return pictures;
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("no picture in folder '%s' can be read",
                      fs::path(source.pictures.front().input).parent_path().string()));
}

absl::StatusOr<CropNote> Dataset::Load(int64_t step, int64_t index, float* input, float* truth) {
  Random random(CropKey(seed_, step, index));
  const int side = options_.crop_px;
  const Source& source = Draw(random);
  const int64_t first = random.Below(std::ssize(source.pictures));
  DW_ASSIGN_OR_RETURN(const PicturesOfPair pictures, DecodeFrom(source, first));

  const TileRect rect = DrawRect(*pictures.first, side, random);
  // A pair is only mirrored: its rain must fall down.
  const int symmetry = options_.augment ? static_cast<int>(random.Below(source.clean ? 8 : 2)) : 0;
  std::vector<float> planes(crop_elements());
  GatherTile(*pictures.second, rect, planes.data());
  ApplySymmetry(symmetry, side, planes);
  std::copy(planes.begin(), planes.end(), truth);

  const bool untouched = source.clean && random.Chance(source.untouched_share);
  if (source.clean && !untouched) {
    // Weather comes after the symmetry: rain falls down whichever way the scene was turned.
    DW_ASSIGN_OR_RETURN(const RgbImage rainy,
                        AddWeather(ToInterleaved(planes, side), source.weather, random.Bits()));
    StorePlanes(rainy, input);
    return source.note;
  }
  if (!source.clean) {
    GatherTile(*pictures.first, rect, planes.data());
    ApplySymmetry(symmetry, side, planes);
  }
  std::copy(planes.begin(), planes.end(), input);
  CropNote note = source.note;
  if (untouched) note.task = kUntouchedTask;
  return note;
}

}  // namespace deweather
