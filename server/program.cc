#include "server/program.h"

#include <google/protobuf/stubs/logging.h>
#include <spdlog/cfg/env.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "model/base/server_options.h"
#include "model/base/status_macros.h"
#include "proto/config/config.h"
#include "training/jobs/child_process.h"

namespace deweather {
namespace {

struct CommandLine {
  std::string config;
  bool check_config = false;
  bool no_jobs = false;
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
  app.add_option("--model", line.model, "The default model [the shipped deweather-small]")
      ->type_name("PATH|NAME|identity");
  app.add_option("--data-dir", line.data_dir, "Folder of what the server keeps")->type_name("DIR");
  app.add_flag("--no-jobs", line.no_jobs,
               "Run no training jobs: the data folder may be another server's, and read-only");
  app.add_option("--device", line.device, "Where the model computes [auto]")
      ->type_name("auto|cpu|cuda[:N]");
  app.add_option("--precision", line.precision, "What it computes in [auto]")
      ->type_name("auto|f32|bf16");
  app.footer("Flags override --config. Exit status: 0, 1 for a failure, 2 for wrong usage.");
}

// What cannot be reached may be one: it is looked at again when the server starts.
absl::Status CheckIsFolder(const std::string& data_dir) {
  using std::filesystem::file_type;
  std::error_code unreachable;
  const file_type type = std::filesystem::status(data_dir, unreachable).type();
  if (type == file_type::directory || type == file_type::none) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "data_dir is '%s'; %s", data_dir,
      type == file_type::not_found ? "there is no such folder" : "it is no folder"));
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
  if (line.no_jobs) options.training.enabled = false;
  if (line.device) options.device = *line.device;
  if (line.precision) {
    DW_ASSIGN_OR_RETURN(options.precision, ParsePrecision(*line.precision));
  }
  DW_RETURN_IF_ERROR(Validate(options));
  if (!options.data_dir.empty()) DW_RETURN_IF_ERROR(CheckIsFolder(options.data_dir));
  const std::vector<std::string>& launch = options.training.launch;
  if (options.training.enabled && !launch.empty() && !IsProgram(launch[0])) {
    return absl::InvalidArgumentError(
        absl::StrFormat("training.launch begins with '%s'; there is no such program", launch[0]));
  }
  return options;
}

// What it says is about messages of callers, who get an error for it.
void LogOfProtobuf(google::protobuf::LogLevel, const char* file, int line,
                   const std::string& message) {
  spdlog::debug("protobuf {}:{}: {}", file, line, message);
}

void SetUpLogging() {
  auto logger = spdlog::stderr_color_mt("deweather-server");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  spdlog::set_default_logger(std::move(logger));
  spdlog::cfg::load_env_levels();  // SPDLOG_LEVEL
  google::protobuf::SetLogHandler(LogOfProtobuf);
}

// The last that is said of a failure: one line, written at once.
int Fail(int exit_status, absl::string_view why) {
  std::string line = absl::StrCat("deweather-server: ", why);
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fputs(absl::StrCat(line, "\n").c_str(), stderr);
  return exit_status;
}

int Run(int argc, char** argv, const DecorateRun& decorate_run) {
  CLI::App app("Restores pictures: takes rain out of them, over gRPC.", "deweather-server");
  CommandLine line;
  Declare(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    return Fail(2, absl::StrCat(error.what(), "; see --help"));
  }
  const absl::StatusOr<ServerOptions> options = OptionsOf(line);
  if (!options.ok()) return Fail(2, options.status().message());
  if (line.check_config) return 0;
  const absl::Status served = Serve(*options, decorate_run);
  return served.ok() ? 0 : Fail(1, served.message());
}

}  // namespace

int RunServerProgram(int argc, char** argv, const DecorateRun& decorate_run) {
  BlockStopSignals();
  try {
    SetUpLogging();
    return Run(argc, argv, decorate_run);
  } catch (const std::bad_alloc&) {
    return Fail(1, "out of memory");
  } catch (const std::exception& error) {
    return Fail(1, error.what());
  }
}

}  // namespace deweather
