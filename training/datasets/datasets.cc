#include "training/datasets/datasets.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "training/datasets/dataset_folder.h"
#include "training/datasets/datasets_state.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kCountAgain = absl::Minutes(1);

// Those of data sets; what an upload left that a crash ended is removed.
absl::StatusOr<std::vector<std::string>> SweepAndList(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::error_code ignored;
    if (name.starts_with(kUploadPrefix)) {
      fs::remove_all(entry->path(), ignored);
    } else if (ValidateName("name", name).ok() && entry->is_directory(ignored)) {
      names.push_back(name);
    }
  }
  if (!error) return names;
  return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot list folder '", folder, "'"));
}

absl::Status CheckDisk(const std::string& folder, int64_t more, int64_t min_free) {
  DW_ASSIGN_OR_RETURN(const int64_t free, FreeBytes(folder));
  if (free - more >= min_free) return absl::OkStatus();
  return WithReason(absl::ResourceExhaustedError(absl::StrFormat(
                        "the disk has %d bytes free; %d more would leave fewer than the %d of "
                        "datasets.min_free_bytes",
                        free, more, min_free)),
                    "DISK_FULL");
}

// An upload whose folder somebody removed.
Dataset WithoutFolder(Dataset dataset) {
  if (dataset.problem.empty() && !IsFolder(dataset.dir)) dataset.problem = "its folder is gone";
  return dataset;
}

absl::StatusOr<std::string> Absolute(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (!error) return absolute.string();
  return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot tell where '", path, "' is"));
}

}  // namespace

Dataset Datasets::State::Registered(const std::string& name, const std::string& dir,
                                    absl::Time now) {
  {
    const MutexLock lock(mutex);
    const Counted& last = registered[name];
    const bool fresh = last.time <= now && now - last.time < kCountAgain;
    if (fresh && last.dataset.problem.empty() && IsFolder(dir)) return last.dataset;
  }
  Dataset dataset = CountPictures(name, dir);  // may take a while: under no lock
  dataset.registered = true;
  const MutexLock lock(mutex);
  registered[name] = {dataset, now};
  return dataset;
}

absl::StatusOr<Dataset> Datasets::State::Get(const std::string& name, absl::Time now) {
  std::vector<std::string> known;
  for (const RegisteredDataset& entry : options.registered) {
    if (entry.name == name) return Registered(name, entry.dir, now);
    known.push_back(entry.name);
  }
  const MutexLock lock(mutex);
  const auto found = uploaded.find(name);
  if (found != uploaded.end()) return found->second;
  for (const auto& [other, dataset] : uploaded) known.push_back(other);
  std::sort(known.begin(), known.end());
  return WithReason(
      absl::NotFoundError(absl::StrFormat("no data set '%s'; known: %s", name, ShownNames(known))),
      "UNKNOWN_DATASET");
}

absl::Status Datasets::State::TakeName(const std::string& name) {
  const auto exists = [&name](std::string_view what) {
    return WithReason(
        absl::AlreadyExistsError(absl::StrFormat("data set '%s' %s; it never changes", name, what)),
        "DATASET_EXISTS");
  };
  const bool is_registered =
      std::any_of(options.registered.begin(), options.registered.end(),
                  [&name](const RegisteredDataset& entry) { return entry.name == name; });
  if (is_registered) return exists("is registered");
  std::error_code ignored;
  const MutexLock lock(mutex);
  if (uploaded.contains(name) || fs::exists(absl::StrCat(folder, "/", name), ignored)) {
    return exists("is there already");
  }
  if (!under_way.insert(name).second) return exists("is being uploaded by another call");
  return absl::OkStatus();
}

absl::Status Datasets::State::Reserve(int64_t more) {
  DW_RETURN_IF_ERROR(CheckDisk(folder, more, options.min_free_bytes));
  const MutexLock lock(mutex);
  if (more <= options.max_bytes - bytes && options.max_bytes > 0) {
    bytes += more;
    return absl::OkStatus();
  }
  return WithReason(absl::ResourceExhaustedError(absl::StrFormat(
                        "uploads hold %d bytes; %d more would be over the %d of datasets.max_bytes",
                        bytes, more, options.max_bytes)),
                    "DATASET_QUOTA");
}

void Datasets::State::Release(const std::string& name, int64_t reserved) {
  const MutexLock lock(mutex);
  under_way.erase(name);
  bytes -= reserved;
}

void Datasets::State::Add(const Dataset& dataset) {
  const MutexLock lock(mutex);
  under_way.erase(dataset.name);
  uploaded[dataset.name] = dataset;
}

Datasets::Datasets(std::shared_ptr<State> state) : state_(std::move(state)) {}

absl::StatusOr<std::unique_ptr<Datasets>> Datasets::Open(const std::string& folder,
                                                         const DatasetOptions& options) {
  DW_ASSIGN_OR_RETURN(const std::string path, Absolute(folder));
  DW_RETURN_IF_ERROR(MakeFolder(path));
  DW_ASSIGN_OR_RETURN(const std::vector<std::string> names, SweepAndList(path));
  DatasetOptions absolute = options;
  for (RegisteredDataset& entry : absolute.registered) {
    DW_ASSIGN_OR_RETURN(entry.dir, Absolute(entry.dir));
  }
  auto state = std::make_shared<State>(path, std::move(absolute));
  for (const std::string& name : names) {
    Dataset dataset = ReadDatasetFile(name, absl::StrCat(path, "/", name));
    const MutexLock lock(state->mutex);
    state->bytes += dataset.bytes;
    state->uploaded[name] = std::move(dataset);
  }
  return std::unique_ptr<Datasets>(new Datasets(std::move(state)));
}

std::vector<Dataset> Datasets::List(absl::Time now) const {
  std::map<std::string, Dataset> by_name;
  for (const RegisteredDataset& entry : state_->options.registered) {
    by_name.emplace(entry.name, state_->Registered(entry.name, entry.dir, now));
  }
  {
    const MutexLock lock(state_->mutex);
    by_name.insert(state_->uploaded.begin(), state_->uploaded.end());
  }
  std::vector<Dataset> datasets;
  for (auto& [name, dataset] : by_name) datasets.push_back(WithoutFolder(std::move(dataset)));
  return datasets;
}

absl::StatusOr<Dataset> Datasets::Find(const std::string& name, absl::Time now) const {
  DW_ASSIGN_OR_RETURN(Dataset dataset, state_->Get(name, now));
  dataset = WithoutFolder(std::move(dataset));
  if (dataset.problem.empty()) return dataset;
  return WithReason(absl::FailedPreconditionError(
                        absl::StrFormat("data set '%s' cannot be used: %s", name, dataset.problem)),
                    "DATASET_UNUSABLE");
}

}  // namespace deweather
