#include "client/dataset_plan.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/output.h"
#include "client/plan.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr char kInput[] = "input/";
constexpr char kTruth[] = "gt/";

// What lies directly in a folder, by name; what is hidden goes to the plan.
absl::StatusOr<std::vector<fs::directory_entry>> EntriesOf(const std::string& folder,
                                                           DatasetPlan* plan) {
  std::vector<fs::directory_entry> entries;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    entries.push_back(*entry);
  }
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot read ", folder));
  std::sort(entries.begin(), entries.end());
  std::erase_if(entries, [plan](const fs::directory_entry& entry) {
    const bool hidden = entry.path().filename().string().starts_with('.');
    if (hidden) plan->hidden.push_back(entry.path().string());
    return hidden;
  });
  return entries;
}

// The pictures of `folder`, which stand below `prefix` in the data set.
absl::Status AddPictures(const std::string& folder, const std::string& prefix, DatasetPlan* plan) {
  DW_ASSIGN_OR_RETURN(const std::vector<fs::directory_entry> entries, EntriesOf(folder, plan));
  if (entries.empty()) return absl::InvalidArgumentError(absl::StrCat(folder, " is empty"));
  for (const fs::directory_entry& entry : entries) {
    const std::string source = entry.path().string(), name = entry.path().filename().string();
    std::error_code error;
    if (!entry.is_regular_file(error)) {
      return absl::InvalidArgumentError(absl::StrCat(OneLine(source), " is no file"));
    }
    DW_RETURN_IF_ERROR(ValidateName(absl::StrCat("the name of ", OneLine(source)), name));
    DW_RETURN_IF_ERROR(FormatOf(source).status());
    const auto bytes = static_cast<int64_t>(entry.file_size(error));
    if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot read ", source));
    plan->pictures.push_back({prefix + name, source, bytes});
    plan->bytes += bytes;
  }
  return absl::OkStatus();
}

absl::Status CheckPairs(const std::string& folder, const DatasetPlan& plan) {
  std::set<std::string> paths;
  for (const PlannedPicture& picture : plan.pictures) paths.insert(picture.path);
  for (const std::string& path : paths) {
    const size_t slash = path.find('/') + 1;
    const std::string partner = (path.starts_with(kInput) ? kTruth : kInput) + path.substr(slash);
    if (paths.contains(partner)) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("%s/%s has no partner %s", folder, path, partner));
  }
  return absl::OkStatus();
}

absl::Status AddPairs(const std::string& folder, DatasetPlan* plan) {
  DW_ASSIGN_OR_RETURN(const std::vector<fs::directory_entry> entries, EntriesOf(folder, plan));
  for (const fs::directory_entry& entry : entries) {
    const std::string name = entry.path().filename().string() + "/";
    if (name == kInput || name == kTruth) continue;
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: pairs lie in input/ and gt/, and nothing beside", OneLine(entry.path().string())));
  }
  for (const char* const side : {kTruth, kInput}) {
    DW_RETURN_IF_ERROR(AddPictures((fs::path(folder) / side).parent_path().string(), side, plan));
  }
  return CheckPairs(folder, *plan);
}

bool Holds(const std::string& folder, const char* side) {
  std::error_code ignored;
  return fs::is_directory(fs::path(folder) / side, ignored);
}

absl::StatusOr<v1::Dataset::Kind> KindOf(const std::string& folder, v1::Dataset::Kind wanted) {
  const bool input = Holds(folder, kInput), truth = Holds(folder, kTruth);
  if (!input && !truth) {
    return wanted == v1::Dataset::KIND_UNSPECIFIED ? v1::Dataset::KIND_CLEAN : wanted;
  }
  if (wanted == v1::Dataset::KIND_CLEAN) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s holds %s, as pairs do; clean pictures lie in one folder", folder,
                        input ? kInput : kTruth));
  }
  if (input && truth) return v1::Dataset::KIND_PAIRS;
  return absl::InvalidArgumentError(absl::StrFormat("%s holds %s without %s; pairs need both",
                                                    folder, input ? kInput : kTruth,
                                                    input ? kTruth : kInput));
}

}  // namespace

absl::StatusOr<DatasetPlan> PlanDataset(const std::string& folder, v1::Dataset::Kind kind) {
  DatasetPlan plan;
  DW_ASSIGN_OR_RETURN(plan.kind, KindOf(folder, kind));
  if (plan.kind == v1::Dataset::KIND_PAIRS) {
    DW_RETURN_IF_ERROR(AddPairs(folder, &plan));
  } else {
    DW_RETURN_IF_ERROR(AddPictures(folder, "", &plan));
  }
  return plan;
}

}  // namespace deweather
