#include "client/jobs_download.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/diagnose.h"
#include "client/fetch.h"
#include "client/output.h"
#include "client/part_file.h"
#include "client/plan.h"
#include "client/stop_signal.h"
#include "client/transfer.h"
#include "deweather/v1/training.grpc.pb.h"
#include "model/base/file.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using StubInterface = v1::TrainingService::StubInterface;

struct Fetched {
  std::string output;
  int64_t bytes = 0;
  std::string sha256;
  bool was_there = false;
};

// A failed download, with the server's reason if it is the server's.
struct Failure {
  absl::Status status;
  std::string reason;
};

// Whether `path` holds what the server would send: asked for the rest of it, it has none.
bool IsThere(StubInterface& stub, v1::DownloadArtifactRequest request, const std::string& path,
             Fetched* fetched) {
  const absl::StatusOr<std::string> sha256 = Sha256OfFile(path);
  std::error_code error;
  const auto bytes = static_cast<int64_t>(fs::file_size(path, error));
  if (!sha256.ok() || error) return false;
  request.set_offset(bytes);
  request.set_sha256(*sha256);
  grpc::ClientContext context;
  SetDeadline({}, context);
  const auto stream = stub.DownloadArtifact(&context, request);
  v1::ArtifactChunk chunk;
  const bool same = stream->Read(&chunk) && chunk.bytes() == bytes && chunk.sha256() == *sha256;
  context.TryCancel();
  stream->Finish();
  *fetched = {path, bytes, *sha256, true};
  return same;
}

absl::Status CopyToStdout(const std::string& path) {
  DW_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  return WriteStdout(bytes);
}

// What one run of the command knows.
struct Download {
  const DownloadFlags& flags;
  StubInterface& stub;
  const std::atomic<bool>& stop;
};

// Fetches one file to `path`.
std::optional<Failure> FetchTo(const Download& download, const std::string& name,
                               const std::string& path, Fetched* fetched) {
  absl::StatusOr<PartFile> part = PartFile::Open(path);
  if (!part.ok()) return Failure{part.status(), ""};
  v1::DownloadArtifactRequest request;
  request.set_id(download.flags.id);
  request.set_name(name);
  const RetryOptions retry = PatientWith(download.flags.server);
  TransferProgress progress;
  const auto tell = [&](int64_t done, int64_t total) { progress.Tell(name, done, total); };
  const grpc::Status status = Fetch(download.stub, retry, download.stop, request, tell, &*part);
  if (!status.ok()) {
    const Failure stopped = {absl::CancelledError("the same command goes on with it"), ""};
    return download.stop ? stopped
                         : Failure{Explained(download.flags.server, status), ReasonOf(status)};
  }
  *fetched = {path, part->bytes(), part->sha256()};
  const absl::Status committed = part->Commit();
  return committed.ok() ? std::nullopt : std::optional<Failure>({committed, ""});
}

// stdout gets the whole file or nothing.
std::optional<Failure> FetchToStdout(const Download& download, const std::string& name,
                                     Fetched* fetched) {
  std::error_code error;
  const std::string path =
      UniqueName((fs::temp_directory_path(error) / "deweather-download-").string());
  std::optional<Failure> failure = FetchTo(download, name, path, fetched);
  if (!failure) {
    const absl::Status copied = CopyToStdout(path);
    if (!copied.ok()) failure = Failure{copied, ""};
  }
  for (const char* const rest : {"", ".part", ".part.sha256"}) fs::remove(path + rest, error);
  return failure;
}

std::optional<Failure> FetchOne(const Download& download, const std::string& name,
                                Fetched* fetched) {
  if (download.flags.output == "-") return FetchToStdout(download, name, fetched);
  const absl::StatusOr<std::string> path = OutputOf(download.flags, name);
  if (!path.ok()) return Failure{path.status(), ""};
  std::error_code ignored;
  fs::create_directories(fs::path(*path).parent_path(), ignored);
  v1::DownloadArtifactRequest request;
  request.set_id(download.flags.id);
  request.set_name(name);
  if (fs::is_regular_file(*path, ignored) && IsThere(download.stub, request, *path, fetched)) {
    return std::nullopt;
  }
  const absl::Status writable = CheckWritable(*path, download.flags.overwrite);
  if (!writable.ok()) return Failure{writable, ""};
  return FetchTo(download, name, *path, fetched);
}

json FetchedJson(const std::string& name, const Fetched& fetched) {
  return {{"name", name},
          {"output", fetched.output},
          {"bytes", fetched.bytes},
          {"sha256", fetched.sha256}};
}

std::string FetchedLine(const std::string& name, const Fetched& fetched) {
  return absl::StrFormat("%s -> %s  %d bytes%s\n", OneLine(name), fetched.output, fetched.bytes,
                         fetched.was_there ? ", was there" : "");
}

int RunOne(const Download& download) {
  const DownloadFlags& flags = download.flags;
  Fetched fetched;
  const std::optional<Failure> failure = FetchOne(download, flags.name, &fetched);
  if (failure) return FailCall(failure->status, flags.json, failure->reason);
  if (flags.json) PrintJson(FetchedJson(flags.name, fetched));
  if (!flags.json && flags.output != "-") absl::PrintF("%s", FetchedLine(flags.name, fetched));
  return 0;
}

// Goes on after a file that fails.
int RunAll(const Download& download) {
  v1::ListCheckpointsRequest request;
  request.set_id(download.flags.id);
  v1::ListCheckpointsResponse response;
  grpc::ClientContext context;
  SetDeadline(download.flags.server, context);
  const grpc::Status status = download.stub.ListCheckpoints(&context, request, &response);
  if (!status.ok()) return FailCall(download.flags.server, status, download.flags.json);
  json files = json::array();
  int failed = 0;
  for (const v1::Artifact& artifact : response.artifacts()) {
    if (download.stop) break;
    Fetched fetched;
    const std::optional<Failure> failure = FetchOne(download, artifact.name(), &fetched);
    failed += failure ? 1 : 0;
    if (failure) {
      FailCall(failure->status, false, "", OneLine(artifact.name()));
      files.push_back(
          {{"name", artifact.name()}, {"error", ErrorJson(failure->status, failure->reason)}});
    } else {
      files.push_back(FetchedJson(artifact.name(), fetched));
      if (!download.flags.json) absl::PrintF("%s", FetchedLine(artifact.name(), fetched));
    }
  }
  const int done = static_cast<int>(files.size()) - failed;
  if (download.flags.json) PrintJson({{"files", files}, {"downloaded", done}, {"failed", failed}});
  return done == response.artifacts_size() ? 0 : 1;
}

absl::Status CheckUsage(const DownloadFlags& flags) {
  if (flags.all == !flags.name.empty()) {
    return absl::InvalidArgumentError("either NAME or --all says what to download");
  }
  if (flags.output != "-") return absl::OkStatus();
  if (flags.all) return absl::InvalidArgumentError("--all needs a folder, not - (stdout)");
  if (flags.json) {
    return absl::InvalidArgumentError("--json and the file cannot both go to stdout");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> OutputOf(const DownloadFlags& flags, const std::string& artifact) {
  const fs::path name = flags.all ? fs::path(artifact) : fs::path(artifact).filename();
  for (const fs::path& part : name) {
    if (part != ".." && part != "." && !part.empty() && !part.is_absolute()) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("'%s' leads out of the folder", OneLine(artifact)));
  }
  if (name.empty()) return absl::InvalidArgumentError("a file without a name");
  std::error_code ignored;
  const bool folder = flags.all || flags.output.empty() || flags.output.ends_with('/') ||
                      fs::is_directory(flags.output, ignored);
  if (!folder) return flags.output;
  return (fs::path(flags.output) / name).string();
}

int RunJobsDownload(const DownloadFlags& flags) {
  const absl::Status usage = CheckUsage(flags);
  if (!usage.ok()) return FailLocally(usage, flags.json);
  const auto stub = v1::TrainingService::NewStub(OpenChannel(flags.server));
  const Download download = {flags, *stub, StopOnSignal()};
  return flags.all ? RunAll(download) : RunOne(download);
}

}  // namespace deweather
