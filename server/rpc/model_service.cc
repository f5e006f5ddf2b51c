#include "server/rpc/model_service.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "model/base/name.h"
#include "model/base/error_reason.h"
#include "server/rpc/call_parts.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/model_convert.h"

namespace deweather {
namespace {

// One call. Whoever answers first, a worker or a cancel, finishes it: the other's answer is dropped.
// gRPC and the worker each hold it, so it outlives both.
template <typename Response>
class ModelCall final : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<ModelCall<Response>> {
 public:
  ModelCall(const char* method, std::string caller, Occupancy& calls, Response* response)
      : method_(method), caller_(std::move(caller)), response_(response) {
    place_.emplace(calls);
  }

  // What gRPC is given; it lets go in OnDone.
  grpc::ServerUnaryReactor* Reactor() {
    self_ = this->shared_from_this();
    return this;
  }

  void Answer(absl::StatusOr<Response> answer) {
    if (answered_.exchange(true)) return;
    if (answer.ok()) {
      *response_ = *std::move(answer);  // gRPC's, until Finish
    } else {
      LogError(method_, caller_, answer.status());
    }
    this->Finish(ToGrpc(answer.status()));
  }

 private:
  void OnCancel() override {
    if (!answered_.exchange(true)) this->Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    place_.reset();
    self_.reset();
  }

  const char* const method_;
  const std::string caller_;
  std::optional<Occupancy::Place> place_;  // until the reply has been sent
  Response* const response_;
  std::atomic<bool> answered_ = false;
  std::shared_ptr<ModelCall> self_;
};

template <typename Response>
std::shared_ptr<ModelCall<Response>> MakeCall(const char* method, std::string caller,
                                              Occupancy& calls, Response* response) {
  return std::make_shared<ModelCall<Response>>(method, std::move(caller), calls, response);
}

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
      response.set_next_page_token(PageToken(response.models().rbegin()->name()));
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
  const absl::StatusOr<Page> page = ToPage(*request);
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
