#include "client/plan.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using Format = v1::RestoreOptions::Format;

constexpr std::array<std::pair<std::string_view, Format>, 7> kExtensions = {
    {{".jpg", v1::RestoreOptions::FORMAT_JPEG},
     {".jpeg", v1::RestoreOptions::FORMAT_JPEG},
     {".png", v1::RestoreOptions::FORMAT_PNG},
     {".webp", v1::RestoreOptions::FORMAT_WEBP},
     {".tif", v1::RestoreOptions::FORMAT_TIFF},
     {".tiff", v1::RestoreOptions::FORMAT_TIFF},
     {".bmp", v1::RestoreOptions::FORMAT_BMP}}};

bool IsFolder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

absl::StatusOr<std::vector<std::string>> PicturesIn(const std::string& folder) {
  std::vector<std::string> pictures;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    const std::string path = entry->path().string();
    if (entry->is_regular_file(ignored) && FormatOf(path).ok()) pictures.push_back(path);
  }
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot read ", folder));
  if (pictures.empty()) {
    return absl::NotFoundError(absl::StrCat("no picture in the folder ", folder));
  }
  std::sort(pictures.begin(), pictures.end());
  return pictures;
}

absl::StatusOr<std::vector<std::string>> Expand(const std::vector<std::string>& inputs) {
  std::vector<std::string> files;
  for (const std::string& input : inputs) {
    if (input == "-" && inputs.size() > 1) {
      return absl::InvalidArgumentError("- (stdin) must be the only input");
    }
    if (!IsFolder(input)) {
      std::error_code ignored;
      if (input != "-" && !fs::exists(input, ignored)) {
        return absl::NotFoundError(absl::StrCat("no file or folder ", input));
      }
      files.push_back(input);
      continue;
    }
    DW_ASSIGN_OR_RETURN(std::vector<std::string> pictures, PicturesIn(input));
    files.insert(files.end(), pictures.begin(), pictures.end());
  }
  return files;
}

absl::StatusOr<PlannedFile> PlanInto(const std::string& folder, const std::string& input) {
  if (input == "-") {
    return absl::InvalidArgumentError(
        absl::StrFormat("stdin has no name: OUT must be a file or -, not the folder %s", folder));
  }
  PlannedFile file{input, (fs::path(folder) / fs::path(input).filename()).string()};
  DW_ASSIGN_OR_RETURN(file.format, FormatOf(file.output));
  return file;
}

absl::StatusOr<PlannedFile> PlanOne(const std::string& output, const std::string& input) {
  PlannedFile file{input, output};
  if (output != "-") {
    DW_ASSIGN_OR_RETURN(file.format, FormatOf(output));
  }
  return file;
}

// Whether the folder that `path` lies in takes a new entry.
absl::Status CheckFolderOf(const std::string& path) {
  // "out/" lies in what "out" lies in.
  const fs::path trimmed = path.ends_with('/') ? fs::path(path).parent_path() : fs::path(path);
  const std::string folder = trimmed.parent_path().empty() ? "." : trimmed.parent_path().string();
  // The last dot makes a file in the place of a folder an error.
  if (access((folder + "/.").c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
}

absl::Status CheckDistinct(const std::vector<PlannedFile>& files) {
  std::map<std::string, std::string> input_of;
  for (const PlannedFile& file : files) {
    const auto [other, is_new] = input_of.emplace(PlaceOf(file.output), file.input);
    if (is_new) continue;
    return absl::InvalidArgumentError(absl::StrFormat("%s and %s would both be written to %s",
                                                      other->second, file.input, file.output));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Format> FormatOf(std::string_view path) {
  const std::string extension = absl::AsciiStrToLower(fs::path(path).extension().string());
  for (const auto& [known, format] : kExtensions) {
    if (extension == known) return format;
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("the extension of %s tells no format; known: jpg, jpeg, png, webp, tif, "
                      "tiff, bmp",
                      path));
}

std::string PlaceOf(const std::string& path) {
  std::error_code error;
  const fs::path whole = fs::absolute(path, error);
  const fs::path place = fs::weakly_canonical(whole, error);
  return (error ? whole.lexically_normal() : place).string();
}

absl::Status CheckWritable(const std::string& path, bool overwrite) {
  std::error_code ignored;
  if (path == "-") return absl::OkStatus();
  if (IsFolder(path)) return absl::InvalidArgumentError(absl::StrCat(path, " is a folder"));
  if (fs::exists(path, ignored) && !overwrite) {
    return absl::AlreadyExistsError(absl::StrCat(path, " exists; --overwrite replaces it"));
  }
  return CheckFolderOf(path);
}

absl::StatusOr<std::vector<PlannedFile>> PlanFiles(const std::vector<std::string>& inputs,
                                                   const std::string& output, bool overwrite) {
  DW_ASSIGN_OR_RETURN(const std::vector<std::string> expanded, Expand(inputs));
  const bool many = inputs.size() > 1 || IsFolder(inputs.front());
  const bool into = many || IsFolder(output) || output.ends_with('/');
  if (many && output == "-") {
    return absl::InvalidArgumentError("several pictures need a folder as OUT, not - (stdout)");
  }
  std::vector<PlannedFile> files;
  for (const std::string& input : expanded) {
    DW_ASSIGN_OR_RETURN(PlannedFile file, into ? PlanInto(output, input) : PlanOne(output, input));
    files.push_back(std::move(file));
  }
  DW_RETURN_IF_ERROR(CheckDistinct(files));
  std::error_code ignored;
  if (into && !fs::exists(output, ignored)) {  // made when the first picture is written
    DW_RETURN_IF_ERROR(CheckFolderOf(fs::path(output).lexically_normal().string()));
    return files;
  }
  for (const PlannedFile& file : files) DW_RETURN_IF_ERROR(CheckWritable(file.output, overwrite));
  return files;
}

}  // namespace deweather
