// StreamLogs: what a job's program printed, and what it prints next.
// Nothing tells of a longer log: while the program runs it is looked at again and again.

#ifndef DEWEATHER_SERVER_RPC_LOG_CALL_H_
#define DEWEATHER_SERVER_RPC_LOG_CALL_H_

#include <optional>
#include <utility>

#include "deweather/v1/training.grpc.pb.h"
#include "server/rpc/job_requests.h"
#include "server/rpc/write_call.h"

namespace deweather {

class LogCall final : public WriteCall<v1::StreamLogsRequest, v1::LogChunk> {
 public:
  LogCall(CallParts& parts, const TrainingParts& training, WorkerPool& workers,
          grpc::CallbackServerContext& context, Arrival arrival)
      : WriteCall(parts, workers, context, std::move(arrival)), training_(training) {}

 private:
  void Begin() override {
    offset_ = request().offset();
    Listen(training_.feed, request().id());
  }
  absl::StatusOr<Page> Find() override;

  const TrainingParts& training_;
  // Find's own.
  int64_t offset_ = 0;          // of what is sent next
  std::optional<int64_t> end_;  // of the log, when the call began
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_LOG_CALL_H_
