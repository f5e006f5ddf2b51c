#include "server/serve.h"

#include <grpc/support/log.h>
#include <prometheus/collectable.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/base/control_group.h"
#include "model/base/process_memory.h"
#include "model/base/processors.h"
#include "model/base/status_macros.h"
#include "server/access/access.h"
#include "server/access/certificates.h"
#include "server/access/tokens_file.h"
#include "server/breakdown.h"
#include "server/data_folder.h"
#include "server/doors.h"
#include "server/file_limit.h"
#include "server/log/log.h"
#include "server/memory_needs.h"
#include "server/notify.h"
#include "server/repeat.h"
#include "server/restore/live_models.h"
#include "server/restore/metrics.h"
#include "server/restore/occupancy.h"
#include "server/restore/restore.h"
#include "server/rpc/address.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/model_service.h"
#include "server/rpc/request_log.h"
#include "server/rpc/restoration_service.h"
#include "server/rpc/training_service.h"
#include "server/training_metrics.h"
#include "server/training_starter.h"
#include "server/watchdog.h"
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

// Within this a server whose device hangs is gone, whatever waits for the device.
const absl::Duration kLastMoments = kLastReplies + absl::Seconds(3);

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

using ReportFailure = std::function<void(const absl::Status&)>;

MetricsOptions MetricsOptionsOf(const ServerOptions& options) {
  return {.build_version = DW_VERSION,
          .data_dir = options.data_dir.empty() ? "." : options.data_dir,
          .gpu_memory_bytes = GpuMemoryProbe()};
}

LiveModelsOptions ModelOptionsOf(const ServerOptions& options, const ReportFailure& report) {
  return {.folders = ModelFolders(options.data_dir),
          .store = ModelsFolder(options.data_dir),
          .device = options.device,
          .precision = options.precision,
          .threads = ThreadsOr(options.threads.model, UsableProcessors()),
          .max_model_bytes = options.limits.max_model_bytes,
          .log = [](const std::string& message) { spdlog::warn("{}", message); },
          .on_device_failure = report};
}

RestorePipelineOptions PipelineOptionsOf(const ServerOptions& options, const ReportFailure& report,
                                         const DecorateRun& decorate_run) {
  RestorePipelineOptions pipeline;
  pipeline.workers = ThreadsOr(options.threads.workers, std::max(2, UsableProcessors()));
  pipeline.max_batch = options.batching.max_tiles;
  pipeline.max_batch_delay = options.batching.max_delay;
  pipeline.window_tiles = options.batching.window_tiles;
  pipeline.decode_limits.max_pixels = options.limits.max_image_pixels;
  pipeline.admission = options.admission;
  pipeline.on_device_failure = report;
  pipeline.decorate_run = decorate_run;
  return pipeline;
}

// What would keep the server from starting, or from running jobs, while nothing is begun yet.
absl::Status CheckMachine(const ServerOptions& options) {
  DW_RETURN_IF_ERROR(CheckStartMemory(options, MemoryLimitBytes()));
  DW_RETURN_IF_ERROR(CheckAddresses(MappedBytes(), MappedLimitBytes()));
  DW_RETURN_IF_ERROR(CheckDevice(options.device));
  DW_RETURN_IF_ERROR(CheckDataFolder(options));
  if (!options.data_dir.empty() && options.training.enabled) {
    DW_RETURN_IF_ERROR(CheckTrainProgram());
  }
  std::vector<std::string> addresses = {options.listen};
  for (const std::string* const address : {&options.metrics_listen, &options.http_listen}) {
    if (!address->empty()) addresses.push_back(*address);
  }
  return CheckCanListen(addresses);
}

void WarnOfMemory(const ServerOptions& options) {
  const std::string warning = MemoryWarning(options, ResidentBytes(), MemoryLimitBytes());
  if (!warning.empty()) spdlog::warn("{}", warning);
}

// With no more connections than there are descriptors for.
absl::StatusOr<LimitOptions> LimitsWithinFiles(const ServerOptions& options) {
  const LimitOptions& wanted = options.limits;
  const int64_t max_files = RaiseFileLimit();
  LimitOptions limits = wanted;
  DW_ASSIGN_OR_RETURN(limits.max_connections,
                      ConnectionsWithin(max_files, wanted.max_connections,
                                        /*ports=*/options.http_listen.empty() ? 1 : 2));
  if (limits.max_connections < wanted.max_connections) {
    spdlog::warn(
        "limits.max_connections is {}; at most {} are taken, of gRPC and of HTTP each, as this "
        "process may open {} files",
        wanted.max_connections, limits.max_connections, max_files);
  }
  return limits;
}

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

// SIGHUP is as silent as none where nothing waits for it.
sigset_t AwaitedSignals() {
  sigset_t set = StopSignals();
  sigaddset(&set, SIGHUP);
  return set;
}

// What lets callers in. Files have it, and are followed.
struct Secrets {
  std::shared_ptr<LiveCertificates> certificates;  // none: no TLS
  std::unique_ptr<Access> access;                  // none: whoever comes may call everything
};

absl::StatusOr<Secrets> ReadSecrets(const ServerOptions& options) {
  Secrets secrets;
  if (!options.tls.certificate_file.empty()) {
    DW_ASSIGN_OR_RETURN(secrets.certificates, LiveCertificates::Read(options.tls, absl::Now()));
    const std::string warning = KeyFileWarning(options.tls.key_file);
    if (!warning.empty()) spdlog::warn("{}", warning);
  }
  if (!options.access.tokens_file.empty()) {
    DW_ASSIGN_OR_RETURN(Tokens tokens, LoadTokens(options.access.tokens_file));
    secrets.access = std::make_unique<Access>(std::move(tokens));
  }
  return secrets;
}

// Ends the process without a word to any of its threads.
[[noreturn]] void ExitAtOnce(Breakdown& breakdown) {
  FlushLog();
  const absl::Status why = breakdown.WaitFor(absl::ZeroDuration());
  std::fputs(absl::StrCat("deweather-server: ", why.message(), "\n").c_str(), stderr);
  std::_Exit(1);
}

// Looks whether the devices move, and tells systemd so.
std::jthread WatchDevices(RestorePipeline& pipeline, absl::Duration max_batch_time,
                          Breakdown& breakdown) {
  const std::optional<int> looks_per_notice =
      LooksPerNotice(std::getenv("WATCHDOG_USEC"), std::getenv("WATCHDOG_PID"), getpid());
  return Repeat([&pipeline, &breakdown, looks_per_notice, looks = 0,
                 watchdog = Watchdog(max_batch_time)](const std::stop_token&) mutable {
    if (breakdown.hung()) ExitAtOnce(breakdown);
    const std::optional<Watchdog::Hang> hang = watchdog.Look(pipeline.Pulses(), absl::Now());
    if (!hang.has_value()) {
      if (looks_per_notice.has_value() && looks++ % *looks_per_notice == 0) Notify("WATCHDOG=1");
      return kWatchInterval;
    }
    breakdown.MarkHung();
    pipeline.GiveUp(hang->device, hang->why);
    return kLastMoments;
  });
}

// Names of health: that of the service, a slash, and the model's.
std::string HealthName(const std::string& model) {
  return absl::StrCat(v1::RestorationService::service_full_name(), "/", model);
}

// Until this process is told to stop; a second signal then ends it at once. SIGHUP calls `read_again`, which
// says what it reads.
void WaitForStop(Breakdown& breakdown, const std::function<std::string()>& read_again) {
  const sigset_t stop = StopSignals();
  const sigset_t awaited = AwaitedSignals();
  int received = 0;
  while (sigwait(&awaited, &received) == 0 && received == SIGHUP) {
    spdlog::info("SIGHUP: {}", read_again());
  }
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
                               Occupancy& calls, const Entrance& entrance) {
  const auto measure = [&training](const std::vector<std::string>& arguments,
                                   const JudgeOptions& judge) -> absl::StatusOr<std::string> {
    DW_ASSIGN_OR_RETURN(const TrainingParts* const parts, PartsOf(training));
    return TrainInChild(parts->jobs, parts->options)(arguments, judge);
  };
  return {.models = models,
          .pipeline = pipeline,
          .calls = calls,
          .limits = options.limits,
          .entrance = entrance,
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
           const TrainingStarter& jobs, Occupancy& calls, const Entrance& entrance)
      : restoration(pipeline, calls, options.limits, entrance),
        training([&jobs] { return PartsOf(jobs); }, calls, options.limits, entrance),
        model(ModelPartsOf(options, models, pipeline, jobs, calls, entrance)),
        inference(DW_VERSION, models, pipeline, calls, options.limits, entrance) {}

  std::vector<NamedService> Named() {
    return {{v1::RestorationService::service_full_name(), &restoration},
            {v1::TrainingService::service_full_name(), &training},
            {v1::ModelService::service_full_name(), &model},
            {inference::GRPCInferenceService::service_full_name(), &inference}};
  }

  // Makes them refuse what is new.
  void BeginDrain() {
    restoration.BeginDrain();
    training.BeginDrain();
    model.BeginDrain();
  }

  // Ends the streams of those who are not let in any more.
  void AccessChanged() {
    restoration.AccessChanged();
    training.AccessChanged();
    model.AccessChanged();
  }

  RestorationService restoration;
  TrainingService training;
  ModelService model;
  InferenceService inference;
};

// None where there are no tokens.
std::unique_ptr<TokensFile> FollowTokens(const AccessOptions& options, const Secrets& secrets,
                                         Services& services) {
  if (secrets.access == nullptr) return nullptr;
  return std::make_unique<TokensFile>(options.tokens_file, *secrets.access,
                                      [&services] { services.AccessChanged(); });
}

std::string ReadAgain(const Secrets& secrets, TokensFile* tokens) {
  std::vector<std::string> what;
  if (secrets.certificates != nullptr) what.emplace_back("certificates");
  if (tokens != nullptr) what.emplace_back("tokens");
  if (what.empty()) return "there are no certificates and no tokens to read again";
  if (secrets.certificates != nullptr) secrets.certificates->ReadNow();
  if (tokens != nullptr) tokens->ReadNow();
  return absl::StrCat(absl::StrJoin(what, " and "), " are read again");
}

// `begin` makes all refuse what is new.
void Drain(Doors& doors, const std::function<void()>& begin, Occupancy& calls, Breakdown& breakdown,
           const DrainOptions& drain) {
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
  if (doors.http != nullptr) doors.http->Stop();
  Shutdown(doors.grpc, calls, finished ? timeout : absl::ZeroDuration());
}

}  // namespace

void BlockStopSignals() {
  const sigset_t awaited = AwaitedSignals();
  pthread_sigmask(SIG_BLOCK, &awaited, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGCHLD, SIG_DFL);  // if it is ignored no program can be waited for
}

absl::Status Serve(const ServerOptions& options, const DecorateRun& decorate_run) {
  DW_RETURN_IF_ERROR(CheckMachine(options));
  DW_ASSIGN_OR_RETURN(const LimitOptions limits, LimitsWithinFiles(options));
  DW_ASSIGN_OR_RETURN(const Secrets secrets, ReadSecrets(options));
  gpr_set_log_function(LogOfGrpc);
  const auto metrics = std::make_shared<Metrics>(MetricsOptionsOf(options));
  Breakdown breakdown;
  const auto report = [&breakdown](const absl::Status& why) { breakdown.Report(why); };
  LiveModels models(ModelOptionsOf(options, report), *metrics);
  RestorePipeline pipeline(PipelineOptionsOf(options, report, decorate_run), models, *metrics);
  const std::jthread watchdog = WatchDevices(pipeline, options.batching.max_batch_time, breakdown);
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
  RequestLog requests(options.log.max_requests_per_second);
  const Entrance entrance = {.requests = &requests, .access = secrets.access.get()};
  Services services(options, models, pipeline, *training, calls, entrance);
  const auto tokens = FollowTokens(options.access, secrets, services);
  DW_ASSIGN_OR_RETURN(Doors doors, OpenDoors({.options = options,
                                              .limits = limits,
                                              .calls = calls,
                                              .requests = &requests,
                                              .services = services.Named(),
                                              .certificates = secrets.certificates,
                                              .access = secrets.access.get(),
                                              .tokens = tokens.get(),
                                              .metrics = {metrics, TrainingMetrics(*training)}}));
  models.WatchNames([&](const std::string& name) { AddToHealth(doors.grpc, HealthName(name)); });
  const absl::Cleanup forget_health = [&models] { models.WatchNames(nullptr); };
  SayWhereItListens(doors);
  Notify("READY=1");

  WaitForStop(breakdown, [&] { return ReadAgain(secrets, tokens.get()); });
  Notify("STOPPING=1");
  StopServing(doors.grpc);
  services.inference.EndReady();
  if (doors.http != nullptr) doors.http->EndKeepAlive();
  training->BeginStop();  // programs write their checkpoints meanwhile
  const auto begin = [&] {
    services.BeginDrain();
    pipeline.BeginDrain();
    if (doors.http != nullptr) doors.http->BeginDrain();
  };
  Drain(doors, begin, calls, breakdown, options.drain);
  if (breakdown.hung()) ExitAtOnce(breakdown);
  return breakdown.WaitFor(absl::ZeroDuration());
}

}  // namespace deweather
