// What /metrics says, in Prometheus' text format, wherever it is asked for.
//
// Threads  thread-safe

#ifndef DEWEATHER_SERVER_METRICS_TEXT_H_
#define DEWEATHER_SERVER_METRICS_TEXT_H_

#include <prometheus/collectable.h>

#include <memory>
#include <string>
#include <vector>

#include "model/base/mutex.h"

namespace deweather {

class MetricsText {
 public:
  void Add(std::shared_ptr<prometheus::Collectable> collectable);

  // Of all that were added, read now.
  std::string Write() const;

 private:
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<prometheus::Collectable>> collectables_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_METRICS_TEXT_H_
