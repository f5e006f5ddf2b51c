#include "server/rpc/inference_service.h"

#include <memory>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/arrival.h"
#include "server/rpc/inference.h"
#include "server/rpc/inference_metadata.h"
#include "server/rpc/inference_request.h"
#include "server/rpc/unary_call.h"

namespace deweather {
namespace {

// `AnswerWith` is called exactly once, even after a cancel.
class InferCall final
    : public UnaryCall<inference::ModelInferRequest, inference::ModelInferResponse> {
 public:
  InferCall(LiveModels& models, RestorationParts& parts, grpc::CallbackServerContext& context)
      : UnaryCall(parts, context, "ModelInfer", parts.limits.max_receive_bytes),
        models_(models),
        parts_(parts),
        deadline_(DeadlineOf(context)) {}

 private:
  void OnMessage(inference::ModelInferRequest message) override {
    absl::StatusOr<InferenceRequest> work =
        ParseInference(std::move(message), parts_.limits.max_image_pixels);
    if (!work.ok()) return Refuse(work.status());
    StartInference({models_, parts_.pipeline, parts_.unread, parts_.limits}, *std::move(work),
                   {.name = arrival().caller, .deadline = deadline_, .cancel = cancel_},
                   [this](absl::StatusOr<InferenceReply> reply) { AnswerWith(std::move(reply)); });
  }

  void Refuse(const absl::Status& why) override {
    parts_.pipeline.CountRefused(why);
    Answer(why);
  }

  void AnswerWith(absl::StatusOr<InferenceReply> reply) {
    if (!reply.ok()) return Answer(reply.status());
    room_ = std::move(reply->room);
    Answer(std::move(reply->message), std::move(reply->figures));
  }

  void OnCancel() override { cancel_.request_stop(); }

  LiveModels& models_;
  RestorationParts& parts_;
  const absl::Time deadline_;
  std::stop_source cancel_;
  std::vector<std::shared_ptr<UnreadReplies::Share>> room_;  // until the reply has been sent
};

}  // namespace

InferenceService::InferenceService(std::string version, LiveModels& models,
                                   RestorePipeline& pipeline, Occupancy& calls,
                                   const LimitOptions& limits, const Entrance& entrance)
    : version_(std::move(version)),
      models_(models),
      parts_{{inference::GRPCInferenceService::service_full_name(), entrance, calls, limits},
             pipeline,
             UnreadReplies(limits.max_transport_bytes)} {
  TakeServerCalls();
  TakeModelCalls();
}

template <typename Request, typename Response, typename Tell>
void InferenceService::TakeNow(const char* method, Tell tell) {
  TakeUnary<Request, Response>(method, parts_, AtOnce<Request, Response>(std::move(tell)));
}

void InferenceService::TakeServerCalls() {
  TakeNow<inference::ServerLiveRequest, inference::ServerLiveResponse>(
      "ServerLive", [](const inference::ServerLiveRequest&) {
        inference::ServerLiveResponse live;
        live.set_live(true);
        return live;
      });
  TakeNow<inference::ServerReadyRequest, inference::ServerReadyResponse>(
      "ServerReady", [this](const inference::ServerReadyRequest&) {
        inference::ServerReadyResponse ready;
        ready.set_ready(ready_ && IsReady(models_, "", ""));
        return ready;
      });
  TakeNow<inference::ServerMetadataRequest, inference::ServerMetadataResponse>(
      "ServerMetadata", [this](const inference::ServerMetadataRequest&) {
        inference::ServerMetadataResponse metadata;
        metadata.set_name(kPlatform);
        metadata.set_version(version_);
        metadata.add_extensions("model_configuration");
        metadata.add_extensions("parameters");
        return metadata;
      });
}

void InferenceService::TakeModelCalls() {
  TakeNow<inference::ModelReadyRequest, inference::ModelReadyResponse>(
      "ModelReady", [this](const inference::ModelReadyRequest& request) {
        inference::ModelReadyResponse ready;
        ready.set_ready(ready_ && IsReady(models_, request.name(), request.version()));
        return ready;
      });
  TakeNow<inference::ModelMetadataRequest, inference::ModelMetadataResponse>(
      "ModelMetadata", [this](const inference::ModelMetadataRequest& request) {
        return DescribeModel(models_, request);
      });
  TakeNow<inference::ModelConfigRequest, inference::ModelConfigResponse>(
      "ModelConfig", [this](const inference::ModelConfigRequest& request) {
        return DescribeConfig(models_, request);
      });
  TakeUnary<inference::RepositoryIndexRequest, inference::RepositoryIndexResponse>(
      "RepositoryIndex", parts_,
      OnWorker<inference::RepositoryIndexRequest, inference::RepositoryIndexResponse>(
          parts_, reader_,
          [this](const inference::RepositoryIndexRequest& request, const Arrival&) {
            return ListRepository(models_, request);
          }));
  Take("ModelInfer", [this](grpc::CallbackServerContext& context) {
    return std::make_shared<InferCall>(models_, parts_, context)->Open();
  });
}

}  // namespace deweather
