#include "server/training_metrics.h"

#include <prometheus/client_metric.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/metric_family.h"

namespace deweather {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

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

MetricFamily EndedJobs(const JobStore& store) {
  const std::map<JobState, int64_t> ended = store.EndedByState();
  MetricFamily family{"deweather_training_ended_total",
                      "Training jobs that ended, since the server has the jobs",
                      MetricType::Counter,
                      {}};
  for (const JobState state : kJobStates) {
    if (!IsTerminal(state)) continue;
    prometheus::ClientMetric& metric = family.metric.emplace_back();
    metric.label = {{"state", std::string(Name(state))}};
    const auto found = ended.find(state);
    metric.counter.value = found == ended.end() ? 0 : static_cast<double>(found->second);
  }
  return family;
}

void AddRunner(const RunnerStats& stats, std::vector<MetricFamily>& families) {
  const auto total = [&families](const char* name, const char* help, double value) {
    families.push_back(SingleMetric(name, help, MetricType::Counter, value));
  };
  total("deweather_training_images_total", "Crops that jobs learnt from",
        static_cast<double>(stats.images));
  total("deweather_training_attempts_total", "Starts of a job's program",
        static_cast<double>(stats.started));
  total("deweather_training_crashes_total", "Programs of jobs that crashed",
        static_cast<double>(stats.crashed));
  total("deweather_training_queue_seconds_total", "Waits of jobs until they were started",
        absl::ToDoubleSeconds(stats.queue_wait_sum));
  total("deweather_training_run_seconds_total", "Run times of programs that ended",
        absl::ToDoubleSeconds(stats.run_time_sum));
  families.push_back(SingleMetric("deweather_training_images_per_second",
                                  "Crops a second of all running jobs", MetricType::Gauge,
                                  stats.images_per_second));
  if (!stats.losses.empty()) {
    families.push_back(
        Gauges("deweather_training_loss", "Of the job that told last", "term", stats.losses));
  }
  if (!stats.evaluation.empty()) {
    families.push_back(Gauges("deweather_training_evaluation",
                              "Quality, of the job that was measured last", "figure",
                              stats.evaluation));
  }
}

class JobMetrics final : public prometheus::Collectable {
 public:
  explicit JobMetrics(const TrainingStarter& training) : training_(training) {}

  std::vector<MetricFamily> Collect() const override {
    const absl::StatusOr<Training*> training = training_.training(absl::Now());
    std::vector<MetricFamily> families = {
        SingleMetric("deweather_runs_jobs", "Whether this server runs the jobs of its data folder",
                     MetricType::Gauge, training.ok() ? 1 : 0)};
    if (!training.ok()) return families;
    families.push_back(JobsByState((*training)->store()));
    families.push_back(EndedJobs((*training)->store()));
    AddRunner((*training)->runner().stats(), families);
    return families;
  }

 private:
  const TrainingStarter& training_;
};

}  // namespace

std::shared_ptr<prometheus::Collectable> TrainingMetrics(const TrainingStarter& training) {
  return std::make_shared<JobMetrics>(training);
}

}  // namespace deweather
