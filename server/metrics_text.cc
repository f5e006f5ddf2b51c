#include "server/metrics_text.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <iterator>
#include <utility>

namespace deweather {

void MetricsText::Add(std::shared_ptr<prometheus::Collectable> collectable) {
  MutexLock lock(mutex_);
  collectables_.push_back(std::move(collectable));
}

std::string MetricsText::Write() const {
  std::vector<std::shared_ptr<prometheus::Collectable>> collectables;
  {
    MutexLock lock(mutex_);
    collectables = collectables_;
  }
  std::vector<prometheus::MetricFamily> families;
  for (const std::shared_ptr<prometheus::Collectable>& collectable : collectables) {
    std::vector<prometheus::MetricFamily> some = collectable->Collect();
    families.insert(families.end(), std::make_move_iterator(some.begin()),
                    std::make_move_iterator(some.end()));
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace deweather
