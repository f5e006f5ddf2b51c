#include "training/datasets/dataset_folder.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "model/image/codec.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr char kFile[] = "dataset.json";

bool IsPicture(const fs::path& name) {
  const std::string extension = name.extension().string();
  return extension.size() > 1 && ParseImageFormat(extension.substr(1)).ok();
}

absl::Status WrongPath(const std::string& path, std::string_view wanted) {
  constexpr size_t kShown = 150;
  return WithReason(
      absl::InvalidArgumentError(absl::StrFormat("path is '%s'; it must be %s",
                                                 absl::CHexEscape(path).substr(0, kShown), wanted)),
      "FILE_PATH");
}

struct Pictures {
  std::set<std::string> stems;
  int64_t count = 0;
  int64_t bytes = 0;
  std::string problem;
};

// As ListPictures and ListPairs of training/dataset.h see a folder.
Pictures PicturesIn(const std::string& dir) {
  Pictures pictures;
  std::error_code error;
  for (fs::directory_iterator entry(dir, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unreadable;
    if (!entry->is_regular_file(unreadable) || !IsPicture(entry->path())) continue;
    ++pictures.count;
    const auto bytes = static_cast<int64_t>(entry->file_size(unreadable));
    if (!unreadable) pictures.bytes += bytes;
    pictures.stems.insert(entry->path().stem().string());
  }
  if (error) pictures.problem = absl::StrCat("its folder cannot be listed: ", error.message());
  if (!error && pictures.count == 0) pictures.problem = "no picture in its folder";
  return pictures;
}

std::string PairsProblem(const Pictures& inputs, const Pictures& truths) {
  for (const Pictures* side : {&inputs, &truths}) {
    if (!side->problem.empty()) return side->problem;
    if (static_cast<int64_t>(side->stems.size()) != side->count) {
      return "two pictures of a folder differ in their extension alone";
    }
  }
  for (const std::string& stem : inputs.stems) {
    if (!truths.stems.contains(stem)) {
      return absl::StrFormat("%s/%s has no partner in %s", kInputSide, stem, kTruthSide);
    }
  }
  return "";
}

std::string_view KindName(DatasetKind kind) {
  return kind == DatasetKind::kPairs ? "pairs" : "clean";
}

bool ReadFields(const json& object, Dataset* dataset) {
  const auto is_count = [&](const char* field) {
    return object.contains(field) && object[field].is_number_unsigned();
  };
  const auto is_text = [&](const char* field) {
    return object.contains(field) && object[field].is_string();
  };
  if (!object.is_object() || !is_text("kind") || !is_text("created_time") ||
      !is_count("pictures") || !is_count("bytes")) {
    return false;
  }
  const std::string kind = object["kind"];
  dataset->kind = kind == KindName(DatasetKind::kPairs) ? DatasetKind::kPairs : DatasetKind::kClean;
  dataset->pictures = object["pictures"];
  dataset->bytes = object["bytes"];
  absl::Time time;
  std::string ignored;
  const std::string created = object["created_time"];
  if (!absl::ParseTime(absl::RFC3339_full, created, &time, &ignored)) return false;
  dataset->create_time = time;
  return kind == KindName(dataset->kind);
}

}  // namespace

bool IsFolder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::vector<std::string> SidesOf(DatasetKind kind) {
  if (kind == DatasetKind::kClean) return {""};
  return {kInputSide, kTruthSide};
}

absl::Status CheckPicturePath(DatasetKind kind, const std::string& path) {
  const size_t slash = path.find('/');
  const std::string side = slash == std::string::npos ? "" : path.substr(0, slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const bool pairs = kind == DatasetKind::kPairs;
  const bool placed = pairs ? side == kInputSide || side == kTruthSide : slash == std::string::npos;
  if (!placed) return WrongPath(path, pairs ? "input/NAME or gt/NAME" : "NAME");
  if (!ValidateName("path", name).ok()) {
    return WrongPath(path,
                     "made of 1 to 64 letters, digits, '.', '_' and '-', not beginning with '.'");
  }
  if (IsPicture(name)) return absl::OkStatus();
  return WrongPath(path, "a picture: .jpg, .jpeg, .png, .webp, .tif, .tiff or .bmp");
}

std::string PictureKey(DatasetKind kind, const std::string& path) {
  return kind == DatasetKind::kPairs ? fs::path(path).replace_extension().string() : path;
}

Dataset CountPictures(const std::string& name, const std::string& dir) {
  Dataset dataset = {.name = name, .kind = DatasetKind::kClean, .dir = dir};
  if (!IsFolder(dir)) {
    dataset.problem = "its folder is gone";
    return dataset;
  }
  const std::string inputs = absl::StrCat(dir, "/", kInputSide);
  const std::string truths = absl::StrCat(dir, "/", kTruthSide);
  if (!IsFolder(inputs) || !IsFolder(truths)) {
    Pictures pictures = PicturesIn(dir);
    dataset.pictures = pictures.count;
    dataset.bytes = pictures.bytes;
    dataset.problem = std::move(pictures.problem);
    return dataset;
  }
  const Pictures input = PicturesIn(inputs);
  const Pictures truth = PicturesIn(truths);
  dataset.kind = DatasetKind::kPairs;
  dataset.pictures = input.count;
  dataset.bytes = input.bytes + truth.bytes;
  dataset.problem = PairsProblem(input, truth);
  return dataset;
}

absl::Status WriteDatasetFile(const Dataset& dataset, const std::string& folder) {
  const absl::Time created = dataset.create_time.value_or(absl::UnixEpoch());
  const json object = {
      {"kind", KindName(dataset.kind)},
      {"pictures", dataset.pictures},
      {"bytes", dataset.bytes},
      {"created_time", absl::FormatTime(absl::RFC3339_sec, created, absl::UTCTimeZone())}};
  return WriteFileAtomically(absl::StrCat(folder, "/", kFile), object.dump(2) + "\n");
}

Dataset ReadDatasetFile(const std::string& name, const std::string& dir) {
  Dataset dataset = {.name = name, .dir = dir};
  const absl::StatusOr<std::string> text = ReadFile(absl::StrCat(dir, "/", kFile));
  if (text.ok() && ReadFields(json::parse(*text, nullptr, false), &dataset)) return dataset;
  dataset = CountPictures(name, dir);
  dataset.problem = absl::StrCat("its ", kFile, " is missing or damaged");
  return dataset;
}

}  // namespace deweather
