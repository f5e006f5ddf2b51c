// Keeps the live models at what the shared folder says: LiveModels::Follow, again and again.
//
// Owns     its thread
// Cost     a small file per model and step; a step that finds news takes as long as a promotion

#ifndef DEWEATHER_SERVER_RESTORE_MODEL_FOLLOWER_H_
#define DEWEATHER_SERVER_RESTORE_MODEL_FOLLOWER_H_

#include <stop_token>
#include <thread>

#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "server/restore/live_models.h"
#include "server/restore/restore.h"

namespace deweather {

class ModelFollower {
 public:
  // Both must outlive the follower.
  ModelFollower(LiveModels& models, RestorePipeline& pipeline,
                absl::Duration period = absl::Seconds(2));

  // Waits for the step under way: the rest of a load and one run of a warm-up, at most.
  ~ModelFollower();

  ModelFollower(const ModelFollower&) = delete;
  ModelFollower& operator=(const ModelFollower&) = delete;

 private:
  void Loop();

  LiveModels& models_;
  RestorePipeline& pipeline_;
  const absl::Duration period_;
  std::stop_source stop_;

  Mutex mutex_;
  CondVar stopped_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RESTORE_MODEL_FOLLOWER_H_
