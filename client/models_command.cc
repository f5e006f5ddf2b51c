#include "client/models_command.h"

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "client/diagnose.h"
#include "client/output.h"
#include "client/pages.h"
#include "client/transfer.h"
#include "deweather/v1/model.grpc.pb.h"
#include "model/base/file.h"
#include "model/base/sha256.h"

namespace deweather {
namespace {

using nlohmann::json;
using Stub = v1::ModelService::Stub;

json VersionJson(const v1::Model::Version& version) {
  return {{"version", version.version()},
          {"create_time", TimeText(version.create_time())},
          {"bytes", version.bytes()},
          {"source", version.source()}};
}

// "0123456789ab 5%"; empty: none is on trial.
std::string CanaryText(const v1::Model& model) {
  if (model.canary_version().empty()) return "";
  return absl::StrFormat("%s %g%%", model.canary_version(), model.canary_percent());
}

using Tasks = google::protobuf::RepeatedPtrField<std::string>;

// "rain, snow"; empty: there is one gate for all.
std::string TasksText(const Tasks& tasks) { return absl::StrJoin(tasks, ", "); }

json TasksJson(const Tasks& tasks) { return std::vector<std::string>(tasks.begin(), tasks.end()); }

// Where requests need another task than the live version's: "; its tasks: rain, snow".
std::string CanaryTasksText(const v1::Model& model) {
  const std::string tasks = TasksText(model.canary_tasks());
  if (tasks == TasksText(model.tasks())) return "";
  return absl::StrCat("; its tasks: ", tasks.empty() ? "none" : tasks);
}

// "default  tasks: rain, snow".
std::string NotesText(const v1::Model& model) {
  std::vector<std::string> notes;
  if (model.is_default()) notes.push_back("default");
  if (!model.tasks().empty()) notes.push_back("tasks: " + TasksText(model.tasks()));
  return absl::StrJoin(notes, "  ");
}

// Calls one method of the service, whose reply is a model, and prints that. `change` names what the
// method does to the model; empty: nothing.
template <typename Request>
int CallAndPrint(const ModelsFlags& flags, const Request& request,
                 grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, v1::Model*),
                 std::string_view change = "") {
  const std::unique_ptr<Stub> stub = v1::ModelService::NewStub(OpenChannel(flags.server));
  grpc::ClientContext context;
  SetDeadline(flags.server, context);
  v1::Model model;
  const grpc::Status status = (stub.get()->*method)(&context, request, &model);
  if (!status.ok()) {
    return FailCall(
        change.empty() ? Explained(flags.server, status) : ChangeError(flags, change, status),
        flags.json, ReasonOf(status));
  }
  if (flags.json) {
    PrintJson(ModelJson(model));
  } else {
    absl::PrintF("%s", ModelText(model));
  }
  return 0;
}

// The first message of an import.
v1::ImportModelRequest StartOf(const ModelsFlags& flags, const std::string& bytes) {
  v1::ImportModelRequest request;
  v1::ImportModelRequest::Start& start = *request.mutable_start();
  start.set_name(flags.name);
  start.set_bytes(static_cast<int64_t>(bytes.size()));
  start.set_sha256(Sha256Hex(bytes));
  const std::string file = std::filesystem::path(flags.file).filename().string();
  start.set_origin(flags.origin.empty() && IsUtf8(file) ? file : flags.origin);
  return request;
}

// A server that has answered already takes no more: its answer comes with the end of the call.
grpc::Status Import(const ModelsFlags& flags, const std::string& bytes,
                    v1::ImportModelResponse* response) {
  const std::unique_ptr<Stub> stub = v1::ModelService::NewStub(OpenChannel(flags.server));
  grpc::ClientContext context;
  SetDeadline(flags.server, context);
  const auto writer = stub->ImportModel(&context, response);
  v1::ImportModelRequest request = StartOf(flags, bytes);
  TransferProgress progress;
  size_t sent = 0;
  const auto send = [&](std::string_view piece) {
    sent += piece.size();
    progress.Tell(flags.file, static_cast<int64_t>(sent), static_cast<int64_t>(bytes.size()));
    request.set_chunk(std::string(piece));
    return writer->Write(request);
  };
  if (writer->Write(request) && SendInChunks(bytes, send)) writer->WritesDone();
  return writer->Finish();
}

}  // namespace

int RunModelsList(const ModelsFlags& flags) {
  const std::unique_ptr<Stub> stub = v1::ModelService::NewStub(OpenChannel(flags.server));
  std::vector<v1::Model> models;
  const auto take = [&](const v1::ListModelsResponse& response) {
    models.insert(models.end(), response.models().begin(), response.models().end());
    return true;
  };
  const grpc::Status status =
      ReadPages(flags.server, *stub, &Stub::ListModels, v1::ListModelsRequest(), take);
  if (!status.ok()) return FailCall(flags.server, status, flags.json);
  if (flags.json) {
    PrintJson({{"models", ListJson(models, ModelJson)}});
  } else {
    absl::PrintF("%s", ModelsTable(models));
  }
  return 0;
}

int RunModelsGet(const ModelsFlags& flags) {
  v1::GetModelRequest request;
  request.set_name(flags.name);
  return CallAndPrint(flags, request, &Stub::GetModel);
}

int RunModelsPromote(const ModelsFlags& flags) {
  const absl::StatusOr<v1::PromoteModelRequest> request = PromotionOf(flags);
  if (!request.ok()) return FailLocally(request.status(), flags.json);
  return CallAndPrint(flags, *request, &Stub::PromoteModel, "promotion");
}

int RunModelsRollback(const ModelsFlags& flags) {
  v1::RollbackModelRequest request;
  request.set_name(flags.name);
  return CallAndPrint(flags, request, &Stub::RollbackModel, "rollback");
}

int RunModelsDelete(const ModelsFlags& flags) {
  const std::unique_ptr<Stub> stub = v1::ModelService::NewStub(OpenChannel(flags.server));
  grpc::ClientContext context;
  SetDeadline(flags.server, context);
  v1::DeleteVersionRequest request;
  request.set_name(flags.name);
  request.set_version(flags.version);
  v1::DeleteVersionResponse response;
  const grpc::Status status = stub->DeleteVersion(&context, request, &response);
  if (!status.ok()) return FailCall(flags.server, status, flags.json);
  if (flags.json) {
    PrintJson({{"name", flags.name}, {"deleted", flags.version}});
  } else {
    absl::PrintF("deleted %s %s\n", flags.name, flags.version);
  }
  return 0;
}

int RunModelsImport(const ModelsFlags& flags) {
  const absl::StatusOr<std::string> bytes = ReadFile(flags.file);
  if (!bytes.ok()) return FailLocally(bytes.status(), flags.json);
  v1::ImportModelResponse response;
  const grpc::Status status = Import(flags, *bytes, &response);
  if (!status.ok()) return FailCall(flags.server, status, flags.json);
  const std::vector<std::string> unused(response.unused_tensors().begin(),
                                        response.unused_tensors().end());
  if (flags.json) {
    PrintJson({{"name", response.name()},
               {"version", response.version()},
               {"added", response.added()},
               {"unused_tensors", unused}});
    return 0;
  }
  for (const std::string& tensor : unused) absl::PrintF("unused: %s\n", OneLine(tensor));
  absl::PrintF("model %s version %s%s\n", response.name(), response.version(),
               response.added() ? "" : ", was there");
  return 0;
}

absl::StatusOr<v1::PromoteModelRequest> PromotionOf(const ModelsFlags& flags) {
  if (flags.version.empty() == flags.job.empty()) {
    return absl::InvalidArgumentError("either NAME VERSION or --job ID says what to promote");
  }
  if (!flags.job.empty() && !flags.name.empty()) {
    return absl::InvalidArgumentError("a job knows the name of its model: --job goes without NAME");
  }
  const double canary = flags.canary_percent.value_or(1);
  if (!(canary > 0 && canary < 100)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("--canary is %g; it must be above 0 and below 100 percent", canary));
  }
  if (flags.max_regression_db && flags.evaluate.empty()) {
    return absl::InvalidArgumentError("--max-regression needs --evaluate");
  }
  v1::PromoteModelRequest request;
  request.set_name(flags.name);
  flags.job.empty() ? request.set_version(flags.version) : request.set_job(flags.job);
  if (flags.canary_percent) request.set_canary_percent(canary);
  if (flags.no_evaluate || !flags.evaluate.empty()) {
    request.mutable_evaluation()->set_dataset(flags.evaluate);
  }
  if (flags.max_regression_db) {
    request.mutable_evaluation()->set_max_regression_db(*flags.max_regression_db);
  }
  return request;
}

absl::Status ChangeError(const ModelsFlags& flags, std::string_view change,
                         const grpc::Status& error) {
  if (error.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED) {
    return Explained(flags.server, error);
  }
  return absl::DeadlineExceededError(absl::StrFormat(
      "no answer after %s; the %s may go on: deweather models %s shows what is live",
      absl::FormatDuration(flags.server.timeout), change,
      flags.name.empty() ? "list" : "get " + flags.name));
}

std::string ModelsTable(const std::vector<v1::Model>& models) {
  std::string table = absl::StrFormat("%-24s %-12s  %-12s  %-17s  %8s  %-25s  %s\n", "MODEL",
                                      "LIVE", "PREVIOUS", "CANARY", "VERSIONS", "SINCE", "NOTES");
  for (const v1::Model& model : models) {
    const std::string notes = NotesText(model);
    absl::StrAppendFormat(&table, "%-24s %-12s  %-12s  %-17s  %8d  %s%s%s\n", model.name(),
                          OrDash(model.live_version()), OrDash(model.previous_version()),
                          OrDash(CanaryText(model)), model.versions_size(),
                          model.has_live_time() ? TimeText(model.live_time()) : "-",
                          notes.empty() ? "" : "  ", notes);
  }
  return table;
}

std::string ModelText(const v1::Model& model) {
  std::string text =
      absl::StrFormat("model     %s%s\nlive      %s\nprevious  %s\n", model.name(),
                      model.is_default() ? " (default)" : "", OrDash(model.live_version()),
                      OrDash(model.previous_version()));
  if (!model.canary_version().empty()) {
    absl::StrAppendFormat(&text, "canary    %s of the requests%s\n", CanaryText(model),
                          CanaryTasksText(model));
  }
  if (model.has_live_time()) {
    absl::StrAppendFormat(&text, "since     %s\ntiles     %d px, overlap %d px\n",
                          TimeText(model.live_time()), model.tile_px(), model.overlap_px());
  }
  if (model.layers() > 0) {
    absl::StrAppendFormat(&text, "experts   %d of %d, in %d layers\n", model.kept(),
                          model.experts(), model.layers());
  }
  if (!model.tasks().empty()) absl::StrAppend(&text, "tasks     ", TasksText(model.tasks()), "\n");
  for (const v1::Model::Version& version : model.versions()) {
    absl::StrAppendFormat(&text, "version   %s  %s  %d bytes  %s\n", version.version(),
                          TimeText(version.create_time()), version.bytes(), version.source());
  }
  return text;
}

json ModelJson(const v1::Model& model) {
  json versions = json::array();
  for (const v1::Model::Version& version : model.versions()) {
    versions.push_back(VersionJson(version));
  }
  json object = {{"name", model.name()},
                 {"live_version", OrNull(model.live_version())},
                 {"previous_version", OrNull(model.previous_version())},
                 {"canary_version", OrNull(model.canary_version())},
                 {"canary_percent", model.canary_percent()},
                 {"canary_tasks", TasksJson(model.canary_tasks())},
                 {"is_default", model.is_default()},
                 {"versions", versions}};
  if (model.has_live_time()) {
    object["live_time"] = TimeText(model.live_time());
    object["tile_px"] = model.tile_px();
    object["overlap_px"] = model.overlap_px();
    object["multiple_px"] = model.multiple_px();
    object["layers"] = model.layers();
    object["experts"] = model.experts();
    object["kept"] = model.kept();
    object["tasks"] = TasksJson(model.tasks());
  }
  return object;
}

}  // namespace deweather
