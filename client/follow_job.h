// What happens to a job, and what its program prints, as long as it runs. A server that was away is asked again
// from where its answer ended.

#ifndef DEWEATHER_CLIENT_FOLLOW_JOB_H_
#define DEWEATHER_CLIENT_FOLLOW_JOB_H_

#include <grpcpp/support/status.h>

#include <atomic>
#include <functional>

#include "client/retry.h"
#include "deweather/v1/training.grpc.pb.h"

namespace deweather {

// Whether nothing follows.
bool IsEnd(v1::Job::State state);

// A wish to end, and how long a server may be away.
struct Following {
  RetryOptions retry;
  const std::atomic<bool>& stop;
};

// Calls `on_event` with each event after `request.after_event` once and in order, until the job's end, or until it
// returns an error, which ends the call. `job` is the job as the server told it last, in the state of the last event.
grpc::Status WatchJob(v1::TrainingService::StubInterface& stub, const Following& following,
                      v1::WatchJobRequest* request,
                      const std::function<grpc::Status(const v1::JobEvent&)>& on_event,
                      v1::Job* job);

// Calls `on_chunk` with the log from `request.offset` on, each byte once; it may end the call with an
// error of its own.
grpc::Status FollowLog(v1::TrainingService::StubInterface& stub, const Following& following,
                       v1::StreamLogsRequest* request,
                       const std::function<grpc::Status(const v1::LogChunk&)>& on_chunk);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_FOLLOW_JOB_H_
