// Cancels a call whose caller does not read its reply in time.
//
// Threads  thread-compatible

#ifndef DEWEATHER_SERVER_RPC_PATIENCE_H_
#define DEWEATHER_SERVER_RPC_PATIENCE_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"

namespace deweather {

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

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_PATIENCE_H_
