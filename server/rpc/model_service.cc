#include "server/rpc/model_service.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "server/rpc/arrival.h"
#include "server/rpc/model_convert.h"
#include "server/rpc/page.h"
#include "server/rpc/refused_call.h"

namespace deweather {
namespace {

constexpr char kModelList[] = "models";
constexpr double kMaxRegressionDb = 100;

absl::StatusOr<v1::Model> Describe(LiveModels& models, const std::string& name) {
  absl::StatusOr<ModelStatus> status = models.StatusOf(name);
  if (!status.ok()) return std::move(status).status();
  return ToMessage(*status);
}

absl::StatusOr<v1::ListModelsResponse> List(LiveModels& models,
                                            const v1::ListModelsRequest& request) {
  DW_ASSIGN_OR_RETURN(const Page page,
                      ToPage(request.page_size(), request.page_token(), kModelList));
  v1::ListModelsResponse response;
  for (const std::string& name : models.Names()) {
    if (name <= page.after) continue;
    if (response.models_size() == page.size) {
      response.set_next_page_token(PageToken(response.models().rbegin()->name(), kModelList));
      break;
    }
    absl::StatusOr<v1::Model> model = Describe(models, name);
    if (model.ok()) *response.add_models() = *std::move(model);  // else it went away meanwhile
  }
  return response;
}

// What a request wants promoted.
struct Wanted {
  std::string name;
  std::string version;
};

// A job's version, as far as it has one.
absl::StatusOr<Wanted> VersionOf(const JobStore& jobs, const std::string& id,
                                 const std::string& name) {
  DW_ASSIGN_OR_RETURN(const Job job, jobs.Get(id));
  if (job.state != JobState::kSucceeded || job.model_version.empty()) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrFormat(
            "job %s is %s and has made no version that could be promoted", id, Name(job.state))),
        "JOB_STATE");
  }
  const std::string& model = job.submitted.model;
  if (name.empty() || name == model) return Wanted{model, job.model_version};
  return absl::InvalidArgumentError(
      absl::StrFormat("name is '%s', but job %s made a version of '%s'", name, id, model));
}

absl::StatusOr<Wanted> WantedBy(const v1::PromoteModelRequest& request,
                                const ModelServiceParts& parts) {
  if (!request.has_job()) return Wanted{request.name(), request.version()};
  DW_ASSIGN_OR_RETURN(const JobStore* const jobs, parts.jobs());
  return VersionOf(*jobs, request.job(), request.name());
}

absl::StatusOr<std::string> FolderOfPairs(const Datasets& datasets, const std::string& name) {
  DW_ASSIGN_OR_RETURN(const Dataset dataset, datasets.Find(name));
  if (dataset.kind == DatasetKind::kPairs) return dataset.dir;
  return absl::InvalidArgumentError(absl::StrFormat(
      "evaluation.dataset is '%s', which holds clean pictures; it must hold pairs", name));
}

void LogSwitch(const char* method, const std::string& caller, const v1::Model& model) {
  spdlog::info("{} for {}: model {} version {} is live", method, caller, model.name(),
               model.live_version());
  if (model.canary_version().empty()) return;
  spdlog::info("model {} version {} takes {} % of the requests", model.name(),
               model.canary_version(), model.canary_percent());
}

}  // namespace

void ModelService::TakeReads() {
  TakeUnary<v1::ListModelsRequest, v1::ListModelsResponse>(
      "ListModels", call_parts_,
      OnWorker<v1::ListModelsRequest, v1::ListModelsResponse>(
          call_parts_, readers_, [this](const v1::ListModelsRequest& request, const Arrival&) {
            return List(parts_.models, request);
          }));
  TakeUnary<v1::GetModelRequest, v1::Model>(
      "GetModel", call_parts_,
      OnWorker<v1::GetModelRequest, v1::Model>(
          call_parts_, readers_,
          [this](const v1::GetModelRequest& request, const Arrival&) -> absl::StatusOr<v1::Model> {
            DW_RETURN_IF_ERROR(ValidateName("name", request.name()));
            return Describe(parts_.models, request.name());
          }));
  TakeUnary<v1::DeleteVersionRequest, v1::DeleteVersionResponse>(
      "DeleteVersion", call_parts_,
      OnWorker<v1::DeleteVersionRequest, v1::DeleteVersionResponse>(
          call_parts_, readers_,
          [this](const v1::DeleteVersionRequest& request, const Arrival& arrival) {
            return Delete(request, arrival.caller);
          }));
}

void ModelService::TakeSwitches() {
  TakeUnary<v1::PromoteModelRequest, v1::Model>(
      "PromoteModel", call_parts_, [this](const auto& call, v1::PromoteModelRequest request) {
        Lane& lane = IsMeasured(request) ? measurer_ : loader_;
        const std::string& trace = call->arrival().trace_parent;
        StartSwitch(lane, call, [this, request = std::move(request), trace] {
          return Promote(request, trace);
        });
      });
  TakeUnary<v1::RollbackModelRequest, v1::Model>(
      "RollbackModel", call_parts_,
      [this](const auto& call, const v1::RollbackModelRequest& request) {
        StartSwitch(loader_, call, [this, name = request.name()] {
          return parts_.models.Rollback(name, parts_.pipeline.batch_sizes(),
                                        parts_.pipeline.executor(), stop_.get_token());
        });
      });
}

bool ModelService::IsMeasured(const v1::PromoteModelRequest& request) const {
  return !(request.has_evaluation() ? request.evaluation().dataset() : parts_.promotion.dataset)
              .empty();
}

absl::StatusOr<LiveModelInfo> ModelService::Promote(const v1::PromoteModelRequest& request,
                                                    const std::string& trace_parent) {
  DW_ASSIGN_OR_RETURN(const Wanted wanted, WantedBy(request, parts_));
  DW_ASSIGN_OR_RETURN(JudgeOptions measurement, Measurement(request));
  measurement.trace_parent = trace_parent;
  PromotionTerms terms{.canary_percent = request.canary_percent()};
  if (!measurement.dataset.empty()) {
    terms.judge = [this, &measurement](const Candidate& candidate) {
      const absl::Status status = Judge(candidate, measurement, parts_.run_train);
      return absl::IsCancelled(status) ? Draining() : status;
    };
  }
  return parts_.models.Promote(wanted.name, wanted.version, parts_.pipeline.batch_sizes(),
                               parts_.pipeline.executor(), stop_.get_token(), terms);
}

// What the caller asks for, else what the server is configured to; no data set: nothing is measured.
absl::StatusOr<JudgeOptions> ModelService::Measurement(
    const v1::PromoteModelRequest& request) const {
  const v1::PromoteModelRequest::Evaluation& asked = request.evaluation();
  JudgeOptions options{
      .dataset = request.has_evaluation() ? asked.dataset() : parts_.promotion.dataset,
      .max_regression_db = asked.has_max_regression_db() ? asked.max_regression_db()
                                                         : parts_.promotion.max_regression_db,
      .timeout = parts_.promotion.timeout,
      .stop = measuring_.get_token()};
  const double bound = options.max_regression_db;
  if (!(bound >= 0 && bound <= kMaxRegressionDb)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "evaluation.max_regression_db is %g; it must be in 0..%g", bound, kMaxRegressionDb));
  }
  if (asked.has_max_regression_db() && options.dataset.empty()) {
    return absl::InvalidArgumentError(
        "evaluation.max_regression_db is set, but evaluation.dataset names no data set");
  }
  if (options.dataset.empty()) return options;
  DW_ASSIGN_OR_RETURN(const Datasets* const datasets, parts_.datasets());
  DW_ASSIGN_OR_RETURN(options.dir, FolderOfPairs(*datasets, options.dataset));
  return options;
}

absl::StatusOr<v1::DeleteVersionResponse> ModelService::Delete(
    const v1::DeleteVersionRequest& request, const std::string& caller) {
  DW_RETURN_IF_ERROR(ForCallers(parts_.models.DeleteVersion(request.name(), request.version())));
  spdlog::info("DeleteVersion for {}: model {} version {} is deleted", caller, request.name(),
               request.version());
  return v1::DeleteVersionResponse();
}

BytesReader* ModelService::ImportModel(grpc::CallbackServerContext* context,
                                       grpc::ByteBuffer* response) {
  Arrival arrival = Arrive(call_parts_, *context, "ImportModel");
  if (!arrival.refused.ok()) {
    return new RefusedCall<BytesReader>(call_parts_, arrival, arrival.refused);
  }
  return std::make_shared<ImportCall>(call_parts_, imports_, importer_, *context,
                                      std::move(arrival), response)
      ->Open();
}

absl::Status ModelService::Enter(Lane& lane) {
  if (call_parts_.open.draining()) return Draining();
  if (!lane.busy.exchange(true)) return absl::OkStatus();
  return WithReason(absl::AbortedError("another promotion is under way"), "PROMOTION_RUNNING");
}

template <typename Request>
void ModelService::StartSwitch(Lane& lane, const SwitchCall<Request>& call, Switch change) {
  const absl::Status entered = Enter(lane);
  if (!entered.ok()) return call->Answer(entered);
  lane.worker.Post([this, &lane, call, change = std::move(change)] {
    const absl::StatusOr<LiveModelInfo> live = change();
    lane.busy = false;
    if (!live.ok()) return call->Answer(ForCallers(live.status()));
    const absl::StatusOr<v1::Model> model = Describe(parts_.models, live->name);
    if (model.ok()) LogSwitch(call->arrival().method, call->arrival().caller, *model);
    call->Answer(model);
  });
}

}  // namespace deweather
