// A flag that one thread raises and others wait for. Copies share it, so it outlives whoever waits.

#ifndef DEWEATHER_TESTS_BATCH_SIGNAL_H_
#define DEWEATHER_TESTS_BATCH_SIGNAL_H_

#include <future>
#include <memory>

namespace deweather {

class Signal {
 public:
  void Raise() const { promise_->set_value(); }
  void Wait() const { raised_.wait(); }

 private:
  std::shared_ptr<std::promise<void>> promise_ = std::make_shared<std::promise<void>>();
  std::shared_future<void> raised_ = promise_->get_future().share();
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_BATCH_SIGNAL_H_
