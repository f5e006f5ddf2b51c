// StreamLogs: what a job's program printed, and what it prints next.
// Nothing tells of a longer log: while the program runs it is looked at again and again.

#ifndef DEWEATHER_SERVER_RPC_LOG_CALL_H_
#define DEWEATHER_SERVER_RPC_LOG_CALL_H_

#include <optional>

#include "deweather/v1/training.grpc.pb.h"
#include "server/rpc/job_requests.h"
#include "server/rpc/write_call.h"

namespace deweather {

class LogCall final : public WriteCall<v1::LogChunk> {
 public:
  LogCall(CallParts& parts, const TrainingParts& training, WorkerPool& workers,
          grpc::CallbackServerContext& context, const v1::StreamLogsRequest& request)
      : WriteCall(parts, workers, context, "StreamLogs"),
        training_(training),
        job_(request.id()),
        follow_(request.follow()),
        offset_(request.offset()) {}

 private:
  void Begin() override { Listen(training_.feed, job_); }
  absl::StatusOr<Page> Find() override;

  const TrainingParts& training_;
  const std::string job_;
  const bool follow_;
  // Find's own.
  int64_t offset_;              // of what is sent next
  std::optional<int64_t> end_;  // of the log, when the call began
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_LOG_CALL_H_
