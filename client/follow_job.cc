#include "client/follow_job.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "client/call_headers.h"
#include "client/channel.h"
#include "client/stop_signal.h"

namespace deweather {
namespace {

using StubInterface = v1::TrainingService::StubInterface;

// For one that is there.
constexpr absl::Duration kAnswer = absl::Seconds(30);

// A stream may be silent for hours: this answer shows that the server is there.
grpc::Status Ask(StubInterface& stub, const Following& following, const std::string& id,
                 Backoff& backoff, v1::Job* job) {
  const absl::Duration most = std::min(kAnswer, following.retry.patience);
  grpc::ClientContext context;
  SetDeadline({.timeout = most}, context);
  SetRequestId(following.retry.request_id, context);
  const std::jthread canceller = CancelOn(following.stop, context);
  v1::GetJobRequest request;
  request.set_id(id);
  const grpc::Status status = stub.GetJob(&context, request, job);
  if (status.ok()) backoff.Answered();
  if (status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED) return status;
  return backoff.Silent(most);
}

}  // namespace

bool IsEnd(v1::Job::State state) {
  return state == v1::Job::STATE_SUCCEEDED || state == v1::Job::STATE_FAILED ||
         state == v1::Job::STATE_CANCELLED;
}

grpc::Status WatchJob(StubInterface& stub, const Following& following, v1::WatchJobRequest* request,
                      const std::function<grpc::Status(const v1::JobEvent&)>& on_event,
                      v1::Job* job) {
  return CallUntilAnswered(following.retry, following.stop, [&](Backoff& backoff) -> grpc::Status {
    const grpc::Status asked = Ask(stub, following, request->id(), backoff, job);
    if (!asked.ok()) return asked;
    grpc::ClientContext context;
    SetRequestId(following.retry.request_id, context);
    const std::jthread canceller = CancelOn(following.stop, context);
    const auto stream = stub.WatchJob(&context, *request);
    for (v1::JobEvent event; stream->Read(&event);) {
      if (event.number() <= request->after_event()) continue;
      request->set_after_event(event.number());
      if (event.has_state_change()) job->set_state(event.state_change().state());
      const grpc::Status taken = on_event(event);
      if (!taken.ok()) {
        context.TryCancel();
        return taken;
      }
    }
    const grpc::Status status = stream->Finish();
    if (!status.ok() || IsEnd(job->state())) return status;
    return {grpc::StatusCode::UNAVAILABLE, "the server ended the watch before the job's end"};
  });
}

grpc::Status FollowLog(StubInterface& stub, const Following& following,
                       v1::StreamLogsRequest* request,
                       const std::function<grpc::Status(const v1::LogChunk&)>& on_chunk) {
  return CallUntilAnswered(following.retry, following.stop, [&](Backoff& backoff) -> grpc::Status {
    v1::Job job;
    const grpc::Status asked = Ask(stub, following, request->id(), backoff, &job);
    if (!asked.ok()) return asked;
    grpc::ClientContext context;
    SetRequestId(following.retry.request_id, context);
    const std::jthread canceller = CancelOn(following.stop, context);
    const auto stream = stub.StreamLogs(&context, *request);
    for (v1::LogChunk chunk; stream->Read(&chunk);) {
      const grpc::Status taken = on_chunk(chunk);
      if (!taken.ok()) {
        context.TryCancel();
        return taken;
      }
      request->set_offset(chunk.offset() + static_cast<int64_t>(chunk.data().size()));
    }
    return stream->Finish();
  });
}

}  // namespace deweather
