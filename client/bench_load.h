// A load on a server: calls of a closed loop (each caller sends when its last reply is there) or of an
// open one (calls are due when they are due, whatever the server does).
// A caller of a closed loop that was refused waits as long as the server asks it to (RetryInfo).
// In an open loop a late call counts from when it was due, so a server that stalls cannot hide it.

#ifndef DEWEATHER_CLIENT_BENCH_LOAD_H_
#define DEWEATHER_CLIENT_BENCH_LOAD_H_

#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <unordered_set>
#include <vector>

#include "absl/time/time.h"
#include "client/bench_picture.h"
#include "client/bench_plan.h"
#include "client/bench_stats.h"
#include "deweather/v1/restoration.grpc.pb.h"
#include "model/base/mutex.h"

namespace deweather {

// One run, from its first call to the end of its last.
//
// Owns     its calls; the stubs' connections
// Threads  Run on one thread; gRPC's threads end calls and start a closed loop's next ones
class BenchLoad {
 public:
  using Stubs = std::vector<std::unique_ptr<v1::RestorationService::Stub>>;

  // `stubs`, one a connection, serve the callers in turn.
  BenchLoad(const BenchFlags& flags, const std::vector<MixPart>& mix,
            const std::vector<BenchPicture>& pictures, Stubs stubs);

  // Until the duration is over and every call has ended. `stop`, asked ten times a second, ends it
  // at once: calls in flight are cancelled and count as abandoned. Progress on stderr if `tell`.
  BenchResult Run(const std::atomic<bool>& stop, bool tell);

 private:
  // gRPC's until it has ended.
  struct Call {
    grpc::ClientContext context;
    v1::RestoreResponse response;
    size_t caller = 0;
    size_t picture = 0;
    absl::Time due;
    absl::Time sent;
  };

  void RunClosed(const std::atomic<bool>& stop, bool tell);
  void RunOpen(const std::atomic<bool>& stop, bool tell);
  void AwaitCalls(const std::atomic<bool>& stop);
  // Sleeps until then, in short turns; false once it is to stop.
  bool SleepUntil(absl::Time then, const std::atomic<bool>& stop, bool tell);

  // Sends one call, unless the load is over. In an open loop it counts as not sent if too many are
  // outstanding.
  void Send(size_t caller, absl::Time due);
  void End(std::unique_ptr<Call> call, const grpc::Status& status);
  // The next call of a closed loop's caller, at once or at `then`; none once the load is over.
  void SendNext(size_t caller, absl::Time ended, absl::Time then);
  void Pause(size_t caller, absl::Time then);
  void EndPause(std::unique_ptr<grpc::Alarm> alarm, size_t caller);
  CallOutcome OutcomeOf(const Call& call, const grpc::Status& status, absl::Time ended) const;
  void Tell(absl::Time now);

  const BenchFlags flags_;
  const std::vector<BenchPicture>& pictures_;
  const Stubs stubs_;
  std::vector<v1::RestoreRequest> requests_;  // by picture; shared by the calls
  absl::Time start_;
  absl::Time window_start_;
  absl::Time end_;
  absl::Time next_tell_;

  Mutex mutex_;
  CondVar ended_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::discrete_distribution<size_t> pick_ ABSL_GUARDED_BY(mutex_);
  std::unordered_set<Call*> in_flight_ ABSL_GUARDED_BY(mutex_);
  std::unordered_set<grpc::Alarm*> pauses_ ABSL_GUARDED_BY(mutex_);  // each owned by its callback
  BenchTally tally_ ABSL_GUARDED_BY(mutex_);
  bool over_ ABSL_GUARDED_BY(mutex_) = false;        // nothing more is sent
  bool abandoning_ ABSL_GUARDED_BY(mutex_) = false;  // what is in flight was cancelled
};

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_BENCH_LOAD_H_
