#include "client/restore_command.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/call_headers.h"
#include "client/diagnose.h"
#include "client/heat_map.h"
#include "client/output.h"
#include "client/plan.h"
#include "client/report.h"
#include "client/restore_picture.h"
#include "deweather/v1/restoration.grpc.pb.h"
#include "model/base/file.h"
#include "model/base/mutex.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

using Stub = v1::RestorationService::Stub;

// Keeps a server busy while files are read and written; each has the whole --timeout.
constexpr size_t kInFlight = 2;

absl::StatusOr<std::string> ReadInput(const std::string& path) {
  if (path == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  return ReadFile(path);
}

absl::Status WriteOutput(const std::string& path, std::string_view bytes, bool overwrite) {
  if (path == "-") return WriteStdout(bytes);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code ignored;
  if (!folder.empty()) std::filesystem::create_directory(folder, ignored);
  DW_RETURN_IF_ERROR(CheckWritable(path, overwrite));
  return WriteFileAtomically(path, bytes);
}

struct OutputFile {
  std::string path;
  std::string_view bytes;
};

// Where one fails, those before it are removed, but for what replaced an older file: that stays.
absl::Status WriteAll(const std::vector<OutputFile>& files, bool overwrite) {
  std::error_code ignored;
  std::vector<std::string> made;
  for (const OutputFile& file : files) {
    const bool is_new = file.path != "-" && !std::filesystem::exists(file.path, ignored);
    const absl::Status status = WriteOutput(file.path, file.bytes, overwrite);
    if (status.ok() && is_new) made.push_back(file.path);
    if (status.ok()) continue;
    for (const std::string& path : made) std::filesystem::remove(path, ignored);
    return status;
  }
  return absl::OkStatus();
}

absl::Status WriteOutputs(const RestoreFlags& flags, Outcome& outcome) {
  const v1::RestoreResponse& response = outcome.response;
  HeatMap heat;
  std::vector<OutputFile> files;
  if (!flags.expert_map.empty()) {
    if (response.expert_map().empty()) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "model %s routes no tokens: there is no expert map", response.model().name()));
    }
    files.push_back({flags.expert_map, response.expert_map()});
  }
  if (!flags.uncertainty.empty()) {
    DW_ASSIGN_OR_RETURN(heat, DrawHeatMap(response.uncertainty_map(), response.width_px(),
                                          response.height_px(), response.routing().unit_px()));
    outcome.uncertainty = heat.scale;
    files.push_back({flags.uncertainty, heat.png});
  }
  // What went to stdout cannot be taken back, so that nothing else is written before it did.
  const bool piped = outcome.file.output == "-";
  files.insert(piped ? files.begin() : files.end(),
               OutputFile{outcome.file.output, response.image()});
  return WriteAll(files, flags.overwrite);
}

v1::RestoreOptions OptionsOf(const RestoreFlags& flags, const PlannedFile& file) {
  v1::RestoreOptions options;
  options.set_model(flags.model);
  options.set_format(file.format);
  options.set_quality(flags.quality);
  options.set_metadata_policy(flags.metadata == "strip"
                                  ? v1::RestoreOptions::METADATA_POLICY_STRIP
                                  : v1::RestoreOptions::METADATA_POLICY_PRESERVE);
  if (flags.strength) options.set_strength(*flags.strength);
  options.set_expert_map(!flags.expert_map.empty());
  options.set_uncertainty_map(!flags.uncertainty.empty());
  options.set_seed(flags.seed);
  options.set_task(flags.task);
  options.set_priority(flags.priority == "background" ? v1::RestoreOptions::PRIORITY_BACKGROUND
                                                      : v1::RestoreOptions::PRIORITY_NORMAL);
  return options;
}

// Tells on stderr how far the work is: a line that is written over on a terminal, else one line a
// file. Errors always stay.
//
// Threads  thread-safe
class Progress {
 public:
  Progress(size_t files, bool quiet)
      : files_(files), quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

  // Of one picture among several the line would flicker.
  void Tiles(const PlannedFile& file, int done, int tiles) {
    if (!terminal_ || quiet_ || files_ > 1) return;
    const MutexLock lock(mutex_);
    Print(absl::StrFormat("\r\033[K%s: %d of %d tiles", file.input, done, tiles));
  }

  void Add(const Outcome& outcome) {
    const MutexLock lock(mutex_);
    ++finished_;
    const char* const clear = terminal_ ? "\r\033[K" : "";
    if (!outcome.status.ok()) {
      const std::string& input = outcome.file.input;
      Print(absl::StrCat(clear, ErrorLine(outcome.status, input == "-" ? "stdin" : input), "\n"));
    } else if (!quiet_) {
      const bool last = !terminal_ || files_ == 1;
      Print(absl::StrCat(clear, SummaryLine(outcome), last ? "\n" : ""));
    }
    if (terminal_ && !quiet_ && files_ > 1) {
      Print(absl::StrFormat("%s%d of %d pictures%s", clear, finished_, files_,
                            finished_ == files_ ? "\n" : ""));
    }
  }

 private:
  static void Print(const std::string& text) { std::fputs(text.c_str(), stderr); }

  const size_t files_;
  const bool quiet_;
  const bool terminal_;
  Mutex mutex_;
  size_t finished_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Fills the response; all tries together have the whole --timeout, and one id.
grpc::Status Restore(Stub& stub, const RestoreFlags& flags, std::string image, Progress& progress,
                     Outcome* outcome) {
  v1::RestoreRequest request;
  request.set_image(std::move(image));
  *request.mutable_options() = OptionsOf(flags, outcome->file);
  outcome->request_id = NewRequestId();
  const PictureCall call = {.deadline = absl::Now() + flags.server.timeout,
                            .request_id = outcome->request_id};
  const auto tell = [&](int done, int tiles) { progress.Tiles(outcome->file, done, tiles); };
  return RestorePicture(stub, call, request, tell, &outcome->response);
}

// Fills all of `outcome` but its file and time.
void RestoreFile(Stub& stub, const RestoreFlags& flags, Progress& progress, Outcome* outcome) {
  absl::StatusOr<std::string> bytes = ReadInput(outcome->file.input);
  outcome->status = bytes.status();
  if (!bytes.ok()) return;
  const grpc::Status status = Restore(stub, flags, *std::move(bytes), progress, outcome);
  outcome->status = Explained(flags.server, status);
  outcome->reason = ReasonOf(status);
  if (absl::IsDeadlineExceeded(outcome->status) && outcome->reason != "STREAM_IDLE") {
    outcome->status = absl::DeadlineExceededError(absl::StrFormat(
        "not done after %s; --timeout allows more", absl::FormatDuration(flags.server.timeout)));
  }
  if (status.ok()) outcome->status = WriteOutputs(flags, *outcome);
  outcome->response.clear_image();
  outcome->response.clear_expert_map();
  outcome->response.clear_uncertainty_map();
}

std::vector<Outcome> RestoreAll(const RestoreFlags& flags, std::vector<PlannedFile> files) {
  const std::unique_ptr<Stub> stub =
      v1::RestorationService::NewStub(OpenChannel(flags.server, {.all_servers = true}));
  std::vector<Outcome> outcomes(files.size());
  Progress progress(files.size(), flags.json);
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < outcomes.size(); i = next++) {
      const absl::Time start = absl::Now();
      outcomes[i].file = std::move(files[i]);
      RestoreFile(*stub, flags, progress, &outcomes[i]);
      outcomes[i].elapsed = absl::Now() - start;
      progress.Add(outcomes[i]);
    }
  };
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < std::min(kInFlight, outcomes.size()); ++i) threads.emplace_back(work);
  threads.clear();  // joins
  return outcomes;
}

// Of a map beside the picture. `taken` holds the places of what is read and of what else is written.
absl::Status CheckMap(const char* flag, const std::string& path, bool overwrite, size_t pictures,
                      std::set<std::string>& taken) {
  if (path.empty()) return absl::OkStatus();
  if (path == "-") return absl::InvalidArgumentError(absl::StrCat(flag, " needs a file"));
  if (pictures > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " is one file: restore one picture at a time"));
  }
  const absl::StatusOr<v1::RestoreOptions::Format> format = FormatOf(path);
  if (!format.ok() || *format != v1::RestoreOptions::FORMAT_PNG) {
    return absl::InvalidArgumentError(absl::StrCat(flag, " is a PNG; '", path, "' is no .png"));
  }
  if (!taken.insert(PlaceOf(path)).second) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " and the input or another output are the same file, '", path, "'"));
  }
  return CheckWritable(path, overwrite);
}

absl::StatusOr<std::vector<PlannedFile>> Plan(const RestoreFlags& flags) {
  if (flags.json && flags.output == "-") {
    return absl::InvalidArgumentError("--json and the picture cannot both go to stdout");
  }
  DW_ASSIGN_OR_RETURN(std::vector<PlannedFile> files,
                      PlanFiles(flags.inputs, flags.output, flags.overwrite));
  std::set<std::string> taken;
  for (const PlannedFile& file : files) {
    taken.insert(PlaceOf(file.input));
    taken.insert(PlaceOf(file.output));
  }
  DW_RETURN_IF_ERROR(
      CheckMap("--expert-map", flags.expert_map, flags.overwrite, files.size(), taken));
  DW_RETURN_IF_ERROR(
      CheckMap("--uncertainty", flags.uncertainty, flags.overwrite, files.size(), taken));
  return files;
}

void PrintRouting(const std::vector<Outcome>& outcomes, std::FILE* where) {
  for (const Outcome& outcome : outcomes) {
    if (!outcome.status.ok()) continue;
    absl::FPrintF(where, "%s\n%s", outcome.file.input,
                  RoutingTable(outcome.response.routing(), outcome.uncertainty));
  }
}

}  // namespace

int RunRestore(const RestoreFlags& flags) {
  absl::StatusOr<std::vector<PlannedFile>> files = Plan(flags);
  if (!files.ok()) return FailLocally(files.status(), flags.json);
  const std::vector<Outcome> outcomes = RestoreAll(flags, *std::move(files));
  if (flags.json) {
    PrintJson(ToJson(outcomes));
  } else if (flags.routing) {
    PrintRouting(outcomes, flags.output == "-" ? stderr : stdout);
  }
  const bool all = std::all_of(outcomes.begin(), outcomes.end(),
                               [](const Outcome& outcome) { return outcome.status.ok(); });
  return all ? 0 : 1;
}

}  // namespace deweather
