#include "server/serve.h"

#include <grpc/support/log.h>
#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/base/control_group.h"
#include "model/base/mutex.h"
#include "model/base/processors.h"
#include "model/base/status_macros.h"
#include "server/data_folder.h"
#include "server/memory_needs.h"
#include "server/notify.h"
#include "server/repeat.h"
#include "server/restore/live_models.h"
#include "server/restore/metrics.h"
#include "server/restore/occupancy.h"
#include "server/restore/restore.h"
#include "server/rpc/address.h"
#include "server/rpc/model_service.h"
#include "server/rpc/restoration_service.h"
#include "server/rpc/rpc_server.h"
#include "server/rpc/training_service.h"
#include "server/training_metrics.h"
#include "server/training_starter.h"
#include "training/jobs/child_process.h"
#include "training/jobs/running_program.h"

// Read by jemalloc at its start. Freed activations stay mapped for a while, whatever their size,
// because mapping them again for the next batch costs more than computing it.
extern "C" const char* malloc_conf;
const char* malloc_conf =
    "background_thread:true,oversize_threshold:0,dirty_decay_ms:5000,muzzy_decay_ms:5000";

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr char kShippedModel[] = "deweather-small";

// How soon a version that another server, or an import, made live is followed.
constexpr absl::Duration kFollowInterval = absl::Seconds(2);

// For the last replies of a server whose device failed.
constexpr absl::Duration kLastReplies = absl::Seconds(5);

// gRPC cuts off what arrives while it shuts down. A caller whose reply was the last one in flight may
// have sent its next call already: so long it is still told that the server drains.
constexpr absl::Duration kLateCalls = absl::Milliseconds(250);

void LogOfGrpc(gpr_log_func_args* args) {
  spdlog::debug("grpc {}:{}: {}", args->file, args->line, args->message);
}

// Where NAME.safetensors is looked for: the caller's own first, then what is installed beside the
// program or, where nothing is installed, the source tree that it was built from.
std::vector<std::string> ModelFolders(const std::string& data_dir) {
  std::vector<std::string> folders;
  if (!data_dir.empty()) folders.push_back(ModelsFolder(data_dir));
  std::error_code error;
  const fs::path prefix = fs::read_symlink("/proc/self/exe", error).parent_path().parent_path();
  const fs::path installed = prefix / "share/deweather/models";
  folders.push_back(fs::is_directory(installed, error) ? installed.string() : DW_MODEL_DIR);
  return folders;
}

int ThreadsOr(int threads, int automatic) { return threads > 0 ? threads : automatic; }

LiveModelsOptions ModelOptionsOf(const ServerOptions& options) {
  return {.folders = ModelFolders(options.data_dir),
          .store = ModelsFolder(options.data_dir),
          .device = options.device,
          .precision = options.precision,
          .threads = ThreadsOr(options.threads.model, UsableProcessors()),
          .max_model_bytes = options.limits.max_model_bytes,
          .log = [](const std::string& message) { spdlog::warn("{}", message); }};
}

RestorePipelineOptions PipelineOptionsOf(const ServerOptions& options) {
  RestorePipelineOptions pipeline;
  pipeline.workers = ThreadsOr(options.threads.workers, std::max(2, UsableProcessors()));
  pipeline.max_batch = options.batching.max_tiles;
  pipeline.max_batch_delay = options.batching.max_delay;
  pipeline.window_tiles = options.batching.window_tiles;
  pipeline.decode_limits.max_pixels = options.limits.max_image_pixels;
  pipeline.admission = options.admission;
  return pipeline;
}

// What would keep the server from starting, or from running jobs, while nothing is begun yet.
absl::Status CheckMachine(const ServerOptions& options) {
  DW_RETURN_IF_ERROR(CheckStartMemory(options, MemoryLimitBytes()));
  DW_RETURN_IF_ERROR(CheckDevice(options.device));
  DW_RETURN_IF_ERROR(CheckDataFolder(options));
  if (!options.data_dir.empty() && options.training.enabled) {
    DW_RETURN_IF_ERROR(CheckTrainProgram());
  }
  std::vector<std::string> addresses = {options.listen};
  if (!options.metrics_listen.empty()) addresses.push_back(options.metrics_listen);
  return CheckCanListen(addresses);
}

void WarnOfMemory(const ServerOptions& options) {
  const absl::StatusOr<ProcessIdentity> self = IdentityOf(getpid());
  const int64_t resident = self.ok() ? ResidentBytes({*self}) : 0;
  const std::string warning = MemoryWarning(options, resident, MemoryLimitBytes());
  if (!warning.empty()) spdlog::warn("{}", warning);
}

struct MetricsEndpoint {
  std::unique_ptr<prometheus::Exposer> exposer;  // none if there is no address
  std::string address;                           // HOST:PORT, port 0 resolved
};

absl::StatusOr<MetricsEndpoint> Expose(
    const std::string& listen,
    const std::vector<std::shared_ptr<prometheus::Collectable>>& metrics) {
  MetricsEndpoint endpoint;
  if (listen.empty()) return endpoint;
  try {
    // A connection that says nothing holds a thread until it times out: more of them than the two
    // that the library starts, and a short patience.
    endpoint.exposer = std::make_unique<prometheus::Exposer>(std::vector<std::string>{
        "listening_ports", listen, "num_threads", "8", "request_timeout_ms", "2000"});
  } catch (const std::exception&) {  // says nothing of use
    return absl::UnavailableError(absl::StrFormat("cannot listen on %s", listen));
  }
  for (const std::shared_ptr<prometheus::Collectable>& collectable : metrics) {
    endpoint.exposer->RegisterCollectable(collectable);
  }
  endpoint.address = absl::StrCat(listen.substr(0, listen.rfind(':')), ":",
                                  endpoint.exposer->GetListeningPorts().front());
  return endpoint;
}

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

// What broke for good: is the server's result, and stops it.
//
// Threads  thread-safe
class Breakdown {
 public:
  void Report(const absl::Status& status) {
    spdlog::critical("{}", status.ToString());
    MutexLock lock(mutex_);
    status_.Update(status);
    if (waits_for_signal_) kill(getpid(), SIGTERM);
    reported_.NotifyAll();
  }
  // From now on a report sends no signal: it would end the process in the middle of its replies.
  void EndWaitForSignal() {
    MutexLock lock(mutex_);
    waits_for_signal_ = false;
  }
  // OK if nothing broke in that time.
  absl::Status WaitFor(absl::Duration time) {
    const absl::Time end = absl::Now() + time;
    MutexLock lock(mutex_);
    while (status_.ok() && absl::Now() < end) reported_.WaitFor(mutex_, end - absl::Now());
    return status_;
  }

 private:
  Mutex mutex_;
  CondVar reported_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool waits_for_signal_ ABSL_GUARDED_BY(mutex_) = true;
};

// Until this process is told to stop; a second signal then ends it at once.
void WaitForStop(Breakdown& breakdown) {
  const sigset_t stop = StopSignals();
  int received = 0;
  sigwait(&stop, &received);
  breakdown.EndWaitForSignal();
  const timespec at_once = {};
  while (sigtimedwait(&stop, nullptr, &at_once) > 0) continue;  // a report beside the signal
  pthread_sigmask(SIG_UNBLOCK, &stop, nullptr);
  spdlog::info("stopping on {}", strsignal(received));
}

absl::StatusOr<const TrainingParts*> PartsOf(const TrainingStarter& starter) {
  DW_ASSIGN_OR_RETURN(const Training* const training, starter.training(absl::Now()));
  return &training->parts();
}

ModelServiceParts ModelPartsOf(const ServerOptions& options, LiveModels& models,
                               RestorePipeline& pipeline, const TrainingStarter& training,
                               Occupancy& calls) {
  const auto measure = [&training](const std::vector<std::string>& arguments,
                                   const JudgeOptions& judge) -> absl::StatusOr<std::string> {
    DW_ASSIGN_OR_RETURN(const TrainingParts* const parts, PartsOf(training));
    return TrainInChild(parts->jobs, parts->options)(arguments, judge);
  };
  return {.models = models,
          .pipeline = pipeline,
          .calls = calls,
          .limits = options.limits,
          .store = ModelsFolder(options.data_dir),
          .jobs = [&training]() -> absl::StatusOr<JobStore*> {
            DW_ASSIGN_OR_RETURN(const TrainingParts* const parts, PartsOf(training));
            return &parts->store;
          },
          .datasets = [&training]() -> absl::StatusOr<Datasets*> {
            DW_ASSIGN_OR_RETURN(const TrainingParts* const parts, PartsOf(training));
            return &parts->datasets;
          },
          .promotion = options.promotion,
          .run_train = measure,
          .min_free_bytes = options.training.min_free_bytes};
}

// What answers over gRPC.
struct Services {
  Services(const ServerOptions& options, LiveModels& models, RestorePipeline& pipeline,
           const TrainingStarter& jobs, Occupancy& calls)
      : restoration(pipeline, calls, options.limits),
        training([&jobs] { return PartsOf(jobs); }, calls, options.limits),
        model(ModelPartsOf(options, models, pipeline, jobs, calls)) {}

  std::vector<NamedService> Named() {
    return {{v1::RestorationService::service_full_name(), &restoration},
            {v1::TrainingService::service_full_name(), &training},
            {v1::ModelService::service_full_name(), &model}};
  }

  // Makes them refuse what is new.
  void BeginDrain() {
    restoration.BeginDrain();
    training.BeginDrain();
    model.BeginDrain();
  }

  RestorationService restoration;
  TrainingService training;
  ModelService model;
};

// `begin` makes all refuse what is new.
void Drain(RpcServer& server, const std::function<void()>& begin, Occupancy& calls,
           Breakdown& breakdown, const DrainOptions& drain) {
  spdlog::info("health says NOT_SERVING; calls are served for another {}",
               absl::FormatDuration(drain.delay));
  // A broken server has nothing to wait for: every tile is answered at once.
  const bool broken = !breakdown.WaitFor(drain.delay).ok();
  const absl::Duration timeout = broken ? kLastReplies : drain.timeout;
  begin();
  spdlog::info("waiting up to {} for {} calls in flight", absl::FormatDuration(timeout),
               calls.count());
  const bool finished = calls.WaitUntilEmptyFor(timeout);
  if (finished) std::this_thread::sleep_for(absl::ToChronoNanoseconds(kLateCalls));
  Shutdown(server, calls, finished ? timeout : absl::ZeroDuration());
}

}  // namespace

void BlockStopSignals() {
  const sigset_t stop = StopSignals();
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGCHLD, SIG_DFL);  // if it is ignored no program can be waited for
}

absl::Status Serve(const ServerOptions& options, const DecorateRun& decorate_run) {
  DW_RETURN_IF_ERROR(CheckMachine(options));
  gpr_set_log_function(LogOfGrpc);
  const auto metrics = std::make_shared<Metrics>(
      MetricsOptions{.build_version = DW_VERSION,
                     .data_dir = options.data_dir.empty() ? "." : options.data_dir,
                     .gpu_memory_bytes = GpuMemoryProbe()});
  Breakdown breakdown;
  const auto report = [&breakdown](const absl::Status& why) { breakdown.Report(why); };
  LiveModelsOptions model_options = ModelOptionsOf(options);
  model_options.on_device_failure = report;
  LiveModels models(model_options, *metrics);
  RestorePipelineOptions pipeline_options = PipelineOptionsOf(options);
  pipeline_options.on_device_failure = report;
  pipeline_options.decorate_run = decorate_run;
  RestorePipeline pipeline(pipeline_options, models, *metrics);
  DW_ASSIGN_OR_RETURN(const LiveModelInfo model,
                      models.LoadAll(options.model.empty() ? kShippedModel : options.model,
                                     pipeline.batch_sizes(), pipeline.executor()));
  spdlog::info("model {} version {} is live", model.name, model.version);
  WarnOfMemory(options);
  const std::jthread follower = Repeat([&](const std::stop_token& stop) {
    models.Follow(pipeline.batch_sizes(), pipeline.executor(), stop);
    return kFollowInterval;
  });

  const auto open = [&](const std::stop_token& stop) {
    return Training::Start(options, models, stop);
  };
  DW_ASSIGN_OR_RETURN(const std::unique_ptr<TrainingStarter> training,
                      TrainingStarter::Start(options, open, absl::Now()));
  Occupancy calls;
  Services services(options, models, pipeline, *training, calls);
  DW_ASSIGN_OR_RETURN(RpcServer server,
                      StartRpcServer(options.listen, options.limits, services.Named()));
  const std::shared_ptr<prometheus::Collectable> job_metrics = TrainingMetrics(*training);
  DW_ASSIGN_OR_RETURN(const MetricsEndpoint endpoint,
                      Expose(options.metrics_listen, {metrics, job_metrics}));
  absl::PrintF("grpc listening on %s\n", server.address);
  if (endpoint.exposer != nullptr) absl::PrintF("metrics listening on %s\n", endpoint.address);
  std::fflush(stdout);
  Notify("READY=1");

  WaitForStop(breakdown);
  Notify("STOPPING=1");
  SetServing(server, false);
  training->BeginStop();  // programs write their checkpoints meanwhile
  const auto begin = [&] {
    services.BeginDrain();
    pipeline.BeginDrain();
  };
  Drain(server, begin, calls, breakdown, options.drain);
  return breakdown.WaitFor(absl::ZeroDuration());
}

}  // namespace deweather
