#include "client/models_command.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/report.h"
#include "deweather/v1/model.grpc.pb.h"

namespace deweather {
namespace {

using nlohmann::json;
using Stub = v1::ModelService::Stub;

std::string TimeText(const google::protobuf::Timestamp& time) {
  return absl::FormatTime(absl::RFC3339_sec, absl::FromUnixSeconds(time.seconds()),
                          absl::UTCTimeZone());
}

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

json OrNull(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

json VersionJson(const v1::Model::Version& version) {
  return {{"version", version.version()},
          {"create_time", TimeText(version.create_time())},
          {"bytes", version.bytes()},
          {"source", version.source()}};
}

void Print(const json& object) {
  absl::PrintF("%s\n", object.dump(2, ' ', false, json::error_handler_t::replace));
}

int Fail(const ModelsFlags& flags, const absl::Status& status, const std::string& reason) {
  absl::FPrintF(stderr, "%s\n", ErrorLine(status));
  if (flags.json) Print({{"error", ErrorJson(status, reason)}});
  return 1;
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
    return Fail(flags, change.empty() ? FromGrpc(status) : ChangeError(flags, change, status),
                ReasonOf(status));
  }
  if (flags.json) {
    Print(ModelJson(model));
  } else {
    absl::PrintF("%s", ModelText(model));
  }
  return 0;
}

// All pages.
grpc::Status ListAll(const ModelsFlags& flags, std::vector<v1::Model>* models) {
  const std::unique_ptr<Stub> stub = v1::ModelService::NewStub(OpenChannel(flags.server));
  v1::ListModelsRequest request;
  do {
    grpc::ClientContext context;
    SetDeadline(flags.server, context);
    v1::ListModelsResponse response;
    const grpc::Status status = stub->ListModels(&context, request, &response);
    if (!status.ok()) return status;
    models->insert(models->end(), response.models().begin(), response.models().end());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return grpc::Status::OK;
}

}  // namespace

int RunModelsList(const ModelsFlags& flags) {
  std::vector<v1::Model> models;
  const grpc::Status status = ListAll(flags, &models);
  if (!status.ok()) return Fail(flags, FromGrpc(status), ReasonOf(status));
  if (flags.json) {
    json list = json::array();
    for (const v1::Model& model : models) list.push_back(ModelJson(model));
    Print({{"models", list}});
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
  v1::PromoteModelRequest request;
  request.set_name(flags.name);
  request.set_version(flags.version);
  return CallAndPrint(flags, request, &Stub::PromoteModel, "promotion");
}

int RunModelsRollback(const ModelsFlags& flags) {
  v1::RollbackModelRequest request;
  request.set_name(flags.name);
  return CallAndPrint(flags, request, &Stub::RollbackModel, "rollback");
}

absl::Status ChangeError(const ModelsFlags& flags, std::string_view change,
                         const grpc::Status& error) {
  const absl::Status status = FromGrpc(error);
  if (!absl::IsDeadlineExceeded(status)) return status;
  return absl::DeadlineExceededError(absl::StrFormat(
      "no answer after %s; the %s may go on: deweather models get %s shows what is live",
      absl::FormatDuration(flags.server.timeout), change, flags.name));
}

std::string ModelsTable(const std::vector<v1::Model>& models) {
  std::string table = absl::StrFormat("%-24s %-12s  %-12s  %8s  %s\n", "MODEL", "LIVE", "PREVIOUS",
                                      "VERSIONS", "SINCE");
  for (const v1::Model& model : models) {
    absl::StrAppendFormat(&table, "%-24s %-12s  %-12s  %8d  %s%s\n", model.name(),
                          OrDash(model.live_version()), OrDash(model.previous_version()),
                          model.versions_size(),
                          model.has_live_time() ? TimeText(model.live_time()) : "-",
                          model.is_default() ? "  default" : "");
  }
  return table;
}

std::string ModelText(const v1::Model& model) {
  std::string text =
      absl::StrFormat("model     %s%s\nlive      %s\nprevious  %s\n", model.name(),
                      model.is_default() ? " (default)" : "", OrDash(model.live_version()),
                      OrDash(model.previous_version()));
  if (model.has_live_time()) {
    absl::StrAppendFormat(&text, "since     %s\ntiles     %d px, overlap %d px\n",
                          TimeText(model.live_time()), model.tile_px(), model.overlap_px());
  }
  if (model.layers() > 0) {
    absl::StrAppendFormat(&text, "experts   %d of %d, in %d layers\n", model.kept(),
                          model.experts(), model.layers());
  }
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
  }
  return object;
}

}  // namespace deweather
