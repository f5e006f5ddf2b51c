#include "server/rpc/restoration_service.h"

#include <memory>
#include <stop_token>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/arrival.h"
#include "server/rpc/convert.h"
#include "server/rpc/large_call.h"
#include "server/rpc/refused_call.h"
#include "server/rpc/stream_call.h"
#include "server/rpc/unary_call.h"

namespace deweather {
namespace {

// `AnswerWith` is called exactly once, even after a cancel.
class RestoreCall final : public UnaryCall<v1::RestoreRequest, v1::RestoreResponse> {
 public:
  RestoreCall(RestorationParts& parts, grpc::CallbackServerContext& context)
      : UnaryCall(parts, context, "Restore", parts.limits.max_receive_bytes),
        parts_(parts),
        deadline_(DeadlineOf(context)) {}

 private:
  void OnMessage(v1::RestoreRequest message) override {
    absl::StatusOr<RestoreOptions> options = ToOptions(message.options());
    if (!options.ok()) return Refuse(options.status());
    RestoreRequest work;
    work.image = std::move(*message.mutable_image());
    work.options = *std::move(options);
    work.deadline = deadline_;
    work.caller = arrival().caller;
    work.max_reply_bytes = parts_.limits.max_send_bytes;
    work.cancel = cancel_.get_token();
    room_ = parts_.unread.TakeFor(work);
    parts_.pipeline.Start(std::move(work), [this](absl::StatusOr<RestoreResult> result) {
      AnswerWith(std::move(result));
    });
  }

  void Refuse(const absl::Status& why) override {
    parts_.pipeline.CountRefused(why);
    Answer(why);
  }

  void AnswerWith(absl::StatusOr<RestoreResult> result) {
    if (!result.ok()) return Answer(result.status());
    CallFigures figures;
    figures.Add(*result);
    v1::RestoreResponse message;
    ToMessage(*std::move(result), &message);
    Answer(message, std::move(figures));
  }

  void OnCancel() override { cancel_.request_stop(); }

  RestorationParts& parts_;
  const absl::Time deadline_;
  std::stop_source cancel_;
  std::shared_ptr<UnreadReplies::Share> room_;  // for the reply, until it has been sent
};

}  // namespace

void RestorationService::TakeRestore() {
  Take("Restore", [this](grpc::CallbackServerContext& context) {
    return std::make_shared<RestoreCall>(parts_, context)->Open();
  });
}

template <typename Call>
BytesReactor* RestorationService::OpenStream(const char* method,
                                             grpc::CallbackServerContext& context) {
  Arrival arrival = Arrive(parts_, context, method);
  if (arrival.refused.ok()) {
    return std::make_shared<Call>(parts_, context, std::move(arrival))->Open();
  }
  parts_.pipeline.CountRefused(arrival.refused);
  return new RefusedCall<BytesReactor>(parts_, arrival, arrival.refused);
}

BytesReactor* RestorationService::RestoreLarge(grpc::CallbackServerContext* context) {
  return OpenStream<LargeCall>("RestoreLarge", *context);
}

BytesReactor* RestorationService::RestoreStream(grpc::CallbackServerContext* context) {
  return OpenStream<StreamCall>("RestoreStream", *context);
}

}  // namespace deweather
