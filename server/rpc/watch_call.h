// WatchJob: the events of a job from the store, from any number on, until its end.

#ifndef DEWEATHER_SERVER_RPC_WATCH_CALL_H_
#define DEWEATHER_SERVER_RPC_WATCH_CALL_H_

#include "deweather/v1/training.grpc.pb.h"
#include "server/rpc/job_requests.h"
#include "server/rpc/write_call.h"

namespace deweather {

class WatchCall final : public WriteCall<v1::JobEvent> {
 public:
  WatchCall(CallParts& parts, const TrainingParts& training, WorkerPool& workers,
            grpc::CallbackServerContext& context, const v1::WatchJobRequest& request)
      : WriteCall(parts, workers, context, "WatchJob"),
        training_(training),
        job_(request.id()),
        after_(request.after_event()) {}

 private:
  void Begin() override { Listen(training_.feed, job_); }
  absl::StatusOr<Page> Find() override;

  const TrainingParts& training_;
  const std::string job_;
  int64_t after_;  // number of the last event that was found; Find's own
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_WATCH_CALL_H_
