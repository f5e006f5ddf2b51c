#include "server/rpc/model_service.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/status/status.h"
#include "model/base/error_reason.h"
#include "model/base/name.h"
#include "server/rpc/model_convert.h"
#include "server/rpc/page.h"
#include "server/rpc/unary_call.h"

namespace deweather {
namespace {

constexpr char kModelList[] = "models";

absl::StatusOr<v1::Model> Describe(LiveModels& models, const std::string& name) {
  absl::StatusOr<ModelStatus> status = models.StatusOf(name);
  if (!status.ok()) return std::move(status).status();
  return ToMessage(*status);
}

absl::StatusOr<v1::ListModelsResponse> List(LiveModels& models, const Page& page) {
  v1::ListModelsResponse response;
  for (const std::string& name : models.Names()) {
    if (name <= page.after) continue;
    if (response.models_size() == page.size) {
      response.set_next_page_token(PageToken(response.models().rbegin()->name(), kModelList));
      break;
    }
    absl::StatusOr<v1::Model> model = Describe(models, name);
    if (model.ok()) *response.add_models() = *std::move(model);  // else it went away meanwhile
  }
  return response;
}

}  // namespace

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* context,
                                                   const v1::ListModelsRequest* request,
                                                   v1::ListModelsResponse* response) {
  const auto call = MakeCall("ListModels", context->peer(), calls_, response);
  grpc::ServerUnaryReactor* const reactor = call->Reactor();
  const absl::StatusOr<Page> page = ToPage(request->page_size(), request->page_token(), kModelList);
  if (page.ok()) {
    readers_.Post([this, call, page = *page] { call->Answer(List(models_, page)); });
  } else {
    call->Answer(page.status());
  }
  return reactor;
}

grpc::ServerUnaryReactor* ModelService::GetModel(grpc::CallbackServerContext* context,
                                                 const v1::GetModelRequest* request,
                                                 v1::Model* response) {
  const auto call = MakeCall("GetModel", context->peer(), calls_, response);
  grpc::ServerUnaryReactor* const reactor = call->Reactor();
  const absl::Status valid = ValidateName("name", request->name());
  if (valid.ok()) {
    readers_.Post([this, call, name = request->name()] { call->Answer(Describe(models_, name)); });
  } else {
    call->Answer(valid);
  }
  return reactor;
}

grpc::ServerUnaryReactor* ModelService::PromoteModel(grpc::CallbackServerContext* context,
                                                     const v1::PromoteModelRequest* request,
                                                     v1::Model* response) {
  return StartSwitch("PromoteModel", context->peer(), response,
                     [this, name = request->name(), version = request->version()] {
                       return models_.Promote(name, version, pipeline_.batch_sizes(),
                                              pipeline_.executor(), stop_.get_token());
                     });
}

grpc::ServerUnaryReactor* ModelService::RollbackModel(grpc::CallbackServerContext* context,
                                                      const v1::RollbackModelRequest* request,
                                                      v1::Model* response) {
  return StartSwitch("RollbackModel", context->peer(), response, [this, name = request->name()] {
    return models_.Rollback(name, pipeline_.batch_sizes(), pipeline_.executor(), stop_.get_token());
  });
}

// Refused here while another is queued: nobody waits in line to be promoted.
grpc::ServerUnaryReactor* ModelService::StartSwitch(const char* method, const std::string& caller,
                                                    v1::Model* response, Switch change) {
  const auto call = MakeCall(method, caller, calls_, response);
  grpc::ServerUnaryReactor* const reactor = call->Reactor();
  if (switching_.exchange(true)) {
    call->Answer(
        WithReason(absl::AbortedError("another promotion is under way"), "PROMOTION_RUNNING"));
    return reactor;
  }
  loader_.Post([this, call, method, caller, change = std::move(change)] {
    const absl::StatusOr<LiveModelInfo> live = change();
    switching_ = false;
    if (!live.ok()) return call->Answer(live.status());
    spdlog::info("{} for {}: model {} version {} is live", method, caller, live->name,
                 live->version);
    call->Answer(Describe(models_, live->name));
  });
  return reactor;
}

}  // namespace deweather
