// ModelService on gRPC's callback API. Reactions never block: promotions run on a thread of their
// own, those that are measured first on another, imports on a third, and what reads folders on a fourth,
// so that a promotion holds up no list, and a measurement no rollback.
//
// A call that is cancelled is answered at once; a promotion that it began goes on, its measurement too.
//
// Owns     its four threads
// Threads  thread-safe; called on gRPC's threads

#ifndef DEWEATHER_SERVER_RPC_MODEL_SERVICE_H_
#define DEWEATHER_SERVER_RPC_MODEL_SERVICE_H_

#include <atomic>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "deweather/v1/model.grpc.pb.h"
#include "model/base/server_options.h"
#include "model/base/worker_pool.h"
#include "server/restore/live_models.h"
#include "server/restore/occupancy.h"
#include "server/restore/restore.h"
#include "server/rpc/bytes_service.h"
#include "server/rpc/call_parts.h"
#include "server/rpc/import_call.h"
#include "server/rpc/judge.h"
#include "server/rpc/read_call.h"
#include "server/rpc/unary_call.h"
#include "training/datasets/datasets.h"
#include "training/jobs/job_store.h"

namespace deweather {

// What the service works on. All must outlive it.
struct ModelServiceParts {
  LiveModels& models;
  RestorePipeline& pipeline;
  Occupancy& calls;  // a call is in it until its reply has been sent
  const LimitOptions limits = {};
  const Entrance entrance = {};
  const std::string store = {};  // DATA/models, the folder of versions; empty: no data folder
  // Jobs and data sets, asked for by each call that needs them; an error, why there are none, is its answer.
  const std::function<absl::StatusOr<JobStore*>()> jobs = {};
  const std::function<absl::StatusOr<Datasets*>()> datasets = {};
  const PromotionOptions promotion = {};
  const RunTrain run_train = {};     // measures versions
  const int64_t min_free_bytes = 0;  // of the disk, which imports leave
};

// The service whose stream's messages are bytes (server/rpc/streaming_call.h says why).
using BytesModelService =
    BytesService<v1::ModelService,
                 v1::ModelService::WithRawCallbackMethod_ImportModel<v1::ModelService::Service>>;

class ModelService final : public BytesModelService {
 public:
  explicit ModelService(const ModelServiceParts& parts)
      : parts_(parts),
        call_parts_{v1::ModelService::service_full_name(), parts.entrance, parts.calls,
                    parts.limits},
        imports_{parts.store, parts.limits.max_model_bytes, parts.min_free_bytes} {
    TakeReads();
    TakeSwitches();
  }

  // Waits for a promotion under way: the rest of its load and one run of its warm-up, at most.
  // REQUIRES: the server has ended.
  ~ModelService() override {
    measuring_.request_stop();
    stop_.request_stop();
  }

  // Ends a measurement, the imports that have not come whole, and all calls that come later, with
  // UNAVAILABLE. Idempotent.
  void BeginDrain() {
    measuring_.request_stop();
    call_parts_.open.BeginDrain();
  }

  // Ends the streams whose callers are not let in any more, with UNAUTHENTICATED or PERMISSION_DENIED.
  void AccessChanged() { call_parts_.open.AccessChanged(); }

  BytesReader* ImportModel(grpc::CallbackServerContext* context,
                           grpc::ByteBuffer* response) override;

 private:
  using Switch = std::function<absl::StatusOr<LiveModelInfo>()>;

  // Where promotions run: one is under way, and nobody waits in line.
  struct Lane {
    std::atomic<bool> busy = false;
    WorkerPool worker{1};
  };

  bool IsMeasured(const v1::PromoteModelRequest& request) const;
  absl::StatusOr<LiveModelInfo> Promote(const v1::PromoteModelRequest& request,
                                        const std::string& trace_parent);
  absl::StatusOr<JudgeOptions> Measurement(const v1::PromoteModelRequest& request) const;

  void TakeReads();
  void TakeSwitches();
  template <typename Request>
  using SwitchCall = std::shared_ptr<TaskCall<Request, v1::Model>>;
  absl::Status Enter(Lane& lane);
  template <typename Request>
  void StartSwitch(Lane& lane, const SwitchCall<Request>& call, Switch change);
  absl::StatusOr<v1::DeleteVersionResponse> Delete(const v1::DeleteVersionRequest& request,
                                                   const std::string& caller);

  const ModelServiceParts parts_;
  CallParts call_parts_;
  ImportParts imports_;
  std::stop_source stop_;
  std::stop_source measuring_;

  WorkerPool readers_{1};
  WorkerPool importer_{1};
  Lane measurer_;
  Lane loader_;  // last, all four: their tasks use all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_MODEL_SERVICE_H_
