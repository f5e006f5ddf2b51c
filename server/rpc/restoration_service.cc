#include "server/rpc/restoration_service.h"

#include <grpcpp/alarm.h>

#include <memory>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "model/base/mutex.h"
#include "server/rpc/convert.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/large_call.h"
#include "server/rpc/stream_call.h"

namespace deweather {
namespace {

// Cancels a call whose caller does not read its reply in time.
class Patience {
 public:
  explicit Patience(grpc::CallbackServerContext& context)
      : watched_(std::make_shared<Watched>(&context)) {}
  ~Patience() {
    MutexLock lock(watched_->mutex);
    watched_->context = nullptr;
  }
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;

  void Begin(absl::Duration limit) {
    alarm_.Set(absl::ToChronoTime(absl::Now() + limit), [watched = watched_](bool expired) {
      MutexLock lock(watched->mutex);
      if (expired && watched->context != nullptr) watched->context->TryCancel();
    });
  }

 private:
  // Outlives the call: the alarm's function may run beside its end.
  struct Watched {
    explicit Watched(grpc::CallbackServerContext* of) : context(of) {}
    Mutex mutex;
    grpc::CallbackServerContext* context ABSL_GUARDED_BY(mutex);
  };
  const std::shared_ptr<Watched> watched_;
  grpc::Alarm alarm_;
};

// One call, from its request to the end of its reply. `Answer` is called exactly once, even after a
// cancel; gRPC calls OnDone when that and every other reaction is over.
class RestoreCall final : public grpc::ServerUnaryReactor {
 public:
  RestoreCall(RestorationParts& parts, grpc::CallbackServerContext& context,
              v1::RestoreResponse* response)
      : place_(parts.calls),
        caller_(context.peer()),
        max_idle_(parts.limits.max_stream_idle),
        response_(response),
        patience_(context) {}

  std::stop_token cancelled() const { return cancel_.get_token(); }

  // Room for the reply, kept until it has been sent.
  void TakeRoom(UnreadReplies& unread, RestoreRequest& work) { room_ = unread.TakeFor(work); }

  void Answer(absl::StatusOr<RestoreResult> result) {
    patience_.Begin(max_idle_);
    if (!result.ok()) {
      LogError("Restore", caller_, result.status());
      return Finish(ToGrpc(result.status()));
    }
    ToMessage(*std::move(result), response_);
    Finish(grpc::Status::OK);
  }

 private:
  void OnCancel() override { cancel_.request_stop(); }
  void OnDone() override { delete this; }

  const Occupancy::Place place_;
  const std::string caller_;
  const absl::Duration max_idle_;
  v1::RestoreResponse* const response_;  // gRPC's, until OnDone
  std::stop_source cancel_;
  std::shared_ptr<UnreadReplies::Share> room_;
  Patience patience_;
};

}  // namespace

grpc::ServerUnaryReactor* RestorationService::Restore(grpc::CallbackServerContext* context,
                                                      const v1::RestoreRequest* request,
                                                      v1::RestoreResponse* response) {
  auto* const call = new RestoreCall(parts_, *context, response);
  absl::StatusOr<RestoreOptions> options = ToOptions(request->options());
  if (!options.ok()) {
    parts_.pipeline.CountRefused(options.status());
    call->Answer(options.status());
    return call;
  }
  RestoreRequest work;
  // gRPC's message is not constant and nobody reads it again; a copy would double a photo's memory.
  work.image = std::move(*const_cast<v1::RestoreRequest*>(request)->mutable_image());
  work.options = *std::move(options);
  work.deadline = DeadlineOf(*context);
  work.caller = context->peer();
  work.max_reply_bytes = parts_.limits.max_send_bytes;
  work.cancel = call->cancelled();
  call->TakeRoom(parts_.unread, work);
  parts_.pipeline.Start(std::move(work), [call](absl::StatusOr<RestoreResult> result) {
    call->Answer(std::move(result));
  });
  return call;
}

BytesReactor* RestorationService::RestoreLarge(grpc::CallbackServerContext* context) {
  return std::make_shared<LargeCall>(parts_, *context)->Open();
}

BytesReactor* RestorationService::RestoreStream(grpc::CallbackServerContext* context) {
  return std::make_shared<StreamCall>(parts_, *context)->Open();
}

}  // namespace deweather
