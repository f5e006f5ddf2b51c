// WatchJob: the events of a job from the store, from any number on, until its end.

#ifndef DEWEATHER_SERVER_RPC_WATCH_CALL_H_
#define DEWEATHER_SERVER_RPC_WATCH_CALL_H_

#include <utility>

#include "deweather/v1/training.grpc.pb.h"
#include "server/rpc/job_requests.h"
#include "server/rpc/write_call.h"

namespace deweather {

class WatchCall final : public WriteCall<v1::WatchJobRequest, v1::JobEvent> {
 public:
  WatchCall(CallParts& parts, const TrainingParts& training, WorkerPool& workers,
            grpc::CallbackServerContext& context, Arrival arrival)
      : WriteCall(parts, workers, context, std::move(arrival)), training_(training) {}

 private:
  void Begin() override {
    after_ = request().after_event();
    Listen(training_.feed, request().id());
  }
  absl::StatusOr<Page> Find() override;

  const TrainingParts& training_;
  int64_t after_ = 0;  // number of the last event that was found; Find's own
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_WATCH_CALL_H_
