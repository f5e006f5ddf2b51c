// A flag that one thread raises and others wait for. Copies share it, so it outlives whoever waits.
// (Made of Mutex: ThreadSanitizer does not see into std::promise or absl::Notification.)

#ifndef DEWEATHER_TESTS_BATCH_SIGNAL_H_
#define DEWEATHER_TESTS_BATCH_SIGNAL_H_

#include <memory>

#include "model/base/mutex.h"

namespace deweather {

class Signal {
 public:
  void Raise() const {
    MutexLock lock(state_->mutex);
    state_->raised = true;
    state_->changed.NotifyAll();
  }
  void Wait() const {
    MutexLock lock(state_->mutex);
    while (!state_->raised) state_->changed.Wait(state_->mutex);
  }

 private:
  struct State {
    Mutex mutex;
    CondVar changed;
    bool raised ABSL_GUARDED_BY(mutex) = false;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_BATCH_SIGNAL_H_
