// deweather-server: restores pictures over gRPC.
// Wires the parts in the order in which they need each other, serves until a signal, drains.

#include <grpc/support/log.h>
#include <prometheus/exposer.h>
#include <pthread.h>
#include <spdlog/cfg/env.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "model/base/processors.h"
#include "model/base/server_options.h"
#include "model/base/status_macros.h"
#include "proto/config/config.h"
#include "server/restore/occupancy.h"
#include "server/restore/live_models.h"
#include "server/restore/metrics.h"
#include "server/restore/restore.h"
#include "server/rpc/address.h"
#include "server/rpc/restoration_service.h"
#include "server/rpc/rpc_server.h"

// Read by jemalloc at its start. Freed activations stay mapped for a while, whatever their size,
// because mapping them again for the next batch costs more than computing it.
extern "C" const char* malloc_conf;
const char* malloc_conf =
    "background_thread:true,oversize_threshold:0,dirty_decay_ms:5000,muzzy_decay_ms:5000";

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr char kShippedModel[] = "deweather-rain";

struct CommandLine {
  std::string config;
  bool check_config = false;
  std::optional<std::string> listen, metrics_listen, model, data_dir, device, precision;
};

void Declare(CLI::App& app, CommandLine& line) {
  app.set_version_flag("--version", "deweather-server " DW_VERSION);
  app.add_option("--config", line.config, "ServerConfig in protobuf's text format")
      ->type_name("FILE");
  app.add_flag("--check-config", line.check_config, "Check the configuration and exit");
  app.add_option("--listen", line.listen, "gRPC; port 0 is any free one [127.0.0.1:50051]")
      ->type_name("HOST:PORT");
  app.add_option("--metrics-listen", line.metrics_listen,
                 "/metrics for Prometheus; '' for none [127.0.0.1:9464]")
      ->type_name("HOST:PORT");
  app.add_option("--model", line.model, "The default model [the shipped deweather-rain]")
      ->type_name("PATH|NAME|identity");
  app.add_option("--data-dir", line.data_dir, "Folder of what the server keeps")->type_name("DIR");
  app.add_option("--device", line.device, "Where the model computes [auto]")
      ->type_name("auto|cpu|cuda[:N]");
  app.add_option("--precision", line.precision, "What it computes in [auto]")
      ->type_name("auto|f32|bf16");
  app.footer("Flags override --config. Exit status: 0, 1 for a failure, 2 for wrong usage.");
}

// The configuration file with the flags on top.
absl::StatusOr<ServerOptions> OptionsOf(const CommandLine& line) {
  ServerOptions options;
  if (!line.config.empty()) {
    DW_ASSIGN_OR_RETURN(options, LoadServerConfig(line.config));
  }
  if (line.listen) options.listen = *line.listen;
  if (line.metrics_listen) options.metrics_listen = *line.metrics_listen;
  if (line.model) options.model = *line.model;
  if (line.data_dir) options.data_dir = *line.data_dir;
  if (line.device) options.device = *line.device;
  if (line.precision) {
    DW_ASSIGN_OR_RETURN(options.precision, ParsePrecision(*line.precision));
  }
  DW_RETURN_IF_ERROR(Validate(options));
  std::error_code ignored;
  if (!options.data_dir.empty() && !fs::is_directory(options.data_dir, ignored)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("data_dir is '%s'; there is no such folder", options.data_dir));
  }
  return options;
}

void LogOfGrpc(gpr_log_func_args* args) {
  spdlog::debug("grpc {}:{}: {}", args->file, args->line, args->message);
}

void SetUpLogging() {
  auto logger = spdlog::stderr_color_mt("deweather-server");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  spdlog::set_default_logger(std::move(logger));
  spdlog::cfg::load_env_levels();  // SPDLOG_LEVEL
  gpr_set_log_function(LogOfGrpc);
}

// Where NAME.safetensors is looked for: the caller's own first, then what is installed beside the
// program, then the source tree that it was built from.
std::vector<std::string> ModelFolders(const std::string& data_dir) {
  std::vector<std::string> folders;
  if (!data_dir.empty()) folders.push_back(absl::StrCat(data_dir, "/models"));
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    const fs::path prefix = program.parent_path().parent_path();
    folders.push_back((prefix / "share/deweather/models").string());
  }
  folders.emplace_back(DW_MODEL_DIR);
  return folders;
}

int ThreadsOr(int threads, int automatic) { return threads > 0 ? threads : automatic; }

LiveModelsOptions ModelOptionsOf(const ServerOptions& options) {
  return {.folders = ModelFolders(options.data_dir),
          .device = options.device,
          .precision = options.precision,
          .threads = ThreadsOr(options.threads.model, UsableProcessors())};
}

RestorePipelineOptions PipelineOptionsOf(const ServerOptions& options) {
  RestorePipelineOptions pipeline;
  pipeline.workers = ThreadsOr(options.threads.workers, std::max(2, UsableProcessors()));
  pipeline.decode_limits.max_pixels = options.limits.max_image_pixels;
  return pipeline;
}

absl::Status CheckAddresses(const ServerOptions& options) {
  DW_RETURN_IF_ERROR(CheckCanListen(options.listen));
  return options.metrics_listen.empty() ? absl::OkStatus() : CheckCanListen(options.metrics_listen);
}

struct MetricsEndpoint {
  std::unique_ptr<prometheus::Exposer> exposer;  // none if there is no address
  std::string address;                           // HOST:PORT, port 0 resolved
};

absl::StatusOr<MetricsEndpoint> Expose(const std::string& listen,
                                       const std::shared_ptr<Metrics>& metrics) {
  MetricsEndpoint endpoint;
  if (listen.empty()) return endpoint;
  try {
    // A connection that says nothing holds a thread until it times out: more of them than the two
    // that the library starts, and a short patience.
    endpoint.exposer = std::make_unique<prometheus::Exposer>(std::vector<std::string>{
        "listening_ports", listen, "num_threads", "8", "request_timeout_ms", "2000"});
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrFormat("cannot listen on %s: %s", listen, error.what()));
  }
  endpoint.exposer->RegisterCollectable(metrics);
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

// Until this process is told to stop; a second signal then ends it at once.
void WaitForStop() {
  const sigset_t stop = StopSignals();
  int received = 0;
  sigwait(&stop, &received);
  pthread_sigmask(SIG_UNBLOCK, &stop, nullptr);
  spdlog::info("stopping on {}", strsignal(received));
}

void Drain(RpcServer& server, RestorePipeline& pipeline, Occupancy& calls,
           const DrainOptions& drain) {
  SetServing(server, false);
  spdlog::info("health says NOT_SERVING; calls are served for another {}",
               absl::FormatDuration(drain.delay));
  std::this_thread::sleep_for(absl::ToChronoNanoseconds(drain.delay));
  pipeline.BeginDrain();
  spdlog::info("waiting up to {} for {} calls in flight", absl::FormatDuration(drain.timeout),
               calls.count());
  Shutdown(server, calls, drain.timeout);
}

absl::Status Serve(const ServerOptions& options) {
  DW_RETURN_IF_ERROR(CheckAddresses(options));
  const auto metrics = std::make_shared<Metrics>(
      MetricsOptions{.build_version = DW_VERSION,
                     .data_dir = options.data_dir.empty() ? "." : options.data_dir,
                     .gpu_memory_bytes = GpuMemoryProbe()});
  LiveModels models(ModelOptionsOf(options), *metrics);
  RestorePipeline pipeline(PipelineOptionsOf(options), models, *metrics);
  DW_ASSIGN_OR_RETURN(const LiveModelInfo model,
                      models.Load(options.model.empty() ? kShippedModel : options.model,
                                  pipeline.batch_sizes(), pipeline.executor()));
  spdlog::info("model {} version {} is live", model.name, model.version);

  Occupancy calls;
  RestorationService restoration(pipeline, calls, options.limits.max_send_bytes);
  DW_ASSIGN_OR_RETURN(
      RpcServer server,
      StartRpcServer(options.listen, options.limits,
                     {{v1::RestorationService::service_full_name(), &restoration}}));
  DW_ASSIGN_OR_RETURN(const MetricsEndpoint endpoint, Expose(options.metrics_listen, metrics));
  absl::PrintF("grpc listening on %s\n", server.address);
  if (endpoint.exposer != nullptr) absl::PrintF("metrics listening on %s\n", endpoint.address);
  std::fflush(stdout);

  WaitForStop();
  Drain(server, pipeline, calls, options.drain);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app("Restores pictures: takes rain out of them, over gRPC.", "deweather-server");
  CommandLine line;
  Declare(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const absl::StatusOr<ServerOptions> options = OptionsOf(line);
  if (!options.ok()) {
    absl::FPrintF(stderr, "deweather-server: %s\n", options.status().message());
    return 2;
  }
  if (line.check_config) return 0;
  const absl::Status served = Serve(*options);
  if (served.ok()) return 0;
  absl::FPrintF(stderr, "deweather-server: %s\n", served.message());
  return 1;
}

}  // namespace
}  // namespace deweather

int main(int argc, char** argv) {
  // Before any thread exists, so that all of them leave the signals to WaitForStop.
  const sigset_t stop = deweather::StopSignals();
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    deweather::SetUpLogging();
    return deweather::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "deweather-server: %s\n", error.what());
    return 1;
  }
}
