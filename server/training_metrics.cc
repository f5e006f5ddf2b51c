#include "server/training_metrics.h"

#include <prometheus/client_metric.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace deweather {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

// One series without labels.
MetricFamily Single(std::string name, std::string help, MetricType type, double value) {
  MetricFamily family{std::move(name), std::move(help), type, {}};
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return family;
}

MetricFamily Total(std::string name, std::string help, double value) {
  return Single(std::move(name), std::move(help), MetricType::Counter, value);
}

// One gauge for each value.
MetricFamily Gauges(std::string name, std::string help, const std::string& label,
                    const std::map<std::string, double>& values) {
  MetricFamily family{std::move(name), std::move(help), MetricType::Gauge, {}};
  for (const auto& [key, value] : values) {
    if (family.metric.size() == kMostTerms) break;
    prometheus::ClientMetric& metric = family.metric.emplace_back();
    metric.label = {{label, key}};
    metric.gauge.value = value;
  }
  return family;
}

MetricFamily JobsByState(const JobStore& store) {
  std::map<std::string, double> counts;
  for (const JobState state : kJobStates) counts[std::string(Name(state))] = 0;
  const auto counted = store.CountByState();
  if (counted.ok()) {
    for (const auto& [state, count] : *counted) {
      counts[std::string(Name(state))] = static_cast<double>(count);
    }
  }
  return Gauges("deweather_training_jobs", "Training jobs in the store", "state", counts);
}

class JobMetrics final : public prometheus::Collectable {
 public:
  JobMetrics(const JobStore& store, const JobRunner& runner) : store_(store), runner_(runner) {}

  std::vector<MetricFamily> Collect() const override {
    const RunnerStats stats = runner_.stats();
    std::vector<MetricFamily> families = {
        JobsByState(store_),
        Total("deweather_training_images_total", "Crops that jobs learnt from",
              static_cast<double>(stats.images)),
        Total("deweather_training_attempts_total", "Starts of a job's program",
              static_cast<double>(stats.started)),
        Total("deweather_training_crashes_total", "Programs of jobs that crashed",
              static_cast<double>(stats.crashed)),
        Total("deweather_training_queue_seconds_total", "Waits of jobs until they were started",
              absl::ToDoubleSeconds(stats.queue_wait_sum)),
        Total("deweather_training_run_seconds_total", "Run times of programs that ended",
              absl::ToDoubleSeconds(stats.run_time_sum)),
        Single("deweather_training_images_per_second", "Crops a second of all running jobs",
               MetricType::Gauge, stats.images_per_second)};
    if (!stats.losses.empty()) {
      families.push_back(
          Gauges("deweather_training_loss", "Of the job that told last", "term", stats.losses));
    }
    if (!stats.evaluation.empty()) {
      families.push_back(Gauges("deweather_training_evaluation",
                                "Quality, of the job that was measured last", "figure",
                                stats.evaluation));
    }
    return families;
  }

 private:
  const JobStore& store_;
  const JobRunner& runner_;
};

}  // namespace

std::shared_ptr<prometheus::Collectable> TrainingMetrics(const JobStore& store,
                                                         const JobRunner& runner) {
  return std::make_shared<JobMetrics>(store, runner);
}

}  // namespace deweather
