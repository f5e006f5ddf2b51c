// `deweather jobs watch` and `logs`: what happens to a job, and what its program prints, as long as it
// runs. A server that was away is asked again from where its answer ended.

#ifndef DEWEATHER_CLIENT_JOBS_WATCH_H_
#define DEWEATHER_CLIENT_JOBS_WATCH_H_

#include <cstdint>
#include <functional>
#include <string>

#include "client/channel.h"
#include "client/retry.h"
#include "deweather/v1/training.grpc.pb.h"

namespace deweather {

struct WatchFlags {
  ServerFlags server = {.timeout = absl::Hours(1)};  // without an answer
  std::string id;
  int64_t after = 0;    // number of the last event that is known
  bool follow = false;  // of logs: to the job's end, not the log's
  int64_t offset = 0;   // of logs, in bytes
  bool json = false;
};

// Events on stdout until the job's end: on a terminal above a bar, else one line an event, with `json` one
// JSON object a line. Ctrl-C ends the watch, not the job. Exit status: 0 if it SUCCEEDED, 1 if not.
int RunJobsWatch(const WatchFlags& flags);

// The log on stdout, byte by byte. Exit status: 0, or 1 after one line on stderr.
int RunJobsLogs(const WatchFlags& flags);

// A wish to end, and how long a server may be away.
struct Following {
  RetryOptions retry;
  const std::atomic<bool>& stop;
};

// Calls `on_event` with each event after `request.after_event` once and in order, until the job's end. `job`
// is the job as the server told it last, in the state of the last event.
grpc::Status WatchJob(v1::TrainingService::StubInterface& stub, const Following& following,
                      v1::WatchJobRequest* request,
                      const std::function<void(const v1::JobEvent&)>& on_event, v1::Job* job);

// Calls `on_chunk` with the log from `request.offset` on, each byte once; it may end the call with an
// error of its own.
grpc::Status FollowLog(v1::TrainingService::StubInterface& stub, const Following& following,
                       v1::StreamLogsRequest* request,
                       const std::function<grpc::Status(const v1::LogChunk&)>& on_chunk);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_JOBS_WATCH_H_
