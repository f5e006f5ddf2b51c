// What /metrics says of training jobs, read from their store and runner at each scrape.
//
// Series   deweather_runs_jobs, 1 or 0; and where it is 1 only, so that sums over servers count no job twice:
//          deweather_training_jobs{state}; deweather_training_ended_total{state}; deweather_training_images_total;
//          deweather_training_attempts_total; deweather_training_crashes_total;
//          deweather_training_queue_seconds_total and deweather_training_run_seconds_total, of those that
//          were started and that ended; deweather_training_images_per_second; deweather_training_loss{term}
//          of the job that told last, at most kMostTerms; deweather_training_evaluation{figure} of the job
//          that was measured last, likewise. Totals count since this server has the jobs
// Threads  thread-safe

#ifndef DEWEATHER_SERVER_TRAINING_METRICS_H_
#define DEWEATHER_SERVER_TRAINING_METRICS_H_

#include <memory>

#include "server/training_starter.h"

namespace prometheus {
class Collectable;
}

namespace deweather {

inline constexpr int kMostTerms = 32;  // tasks are named by whoever submits a job

// For prometheus::Exposer::RegisterCollectable, which keeps it no longer than it lives. `training` must outlive
// the result.
std::shared_ptr<prometheus::Collectable> TrainingMetrics(const TrainingStarter& training);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_TRAINING_METRICS_H_
