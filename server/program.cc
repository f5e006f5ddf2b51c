#include "server/program.h"

#include <google/protobuf/stubs/logging.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

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
#include "absl/time/clock.h"
#include "model/base/server_options.h"
#include "model/base/status_macros.h"
#include "proto/config/config.h"
#include "server/access/certificates.h"
#include "server/access/new_token.h"
#include "server/access/tokens.h"
#include "server/access/tokens_file.h"
#include "server/log/log.h"
#include "training/jobs/child_process.h"

namespace deweather {
namespace {

struct CommandLine {
  std::optional<std::string> config;
  bool check_config = false;
  bool no_jobs = false;
  bool allow_plaintext = false;
  std::optional<std::string> make_token, tokens, tls_cert, tls_key, tls_client_ca;
  std::optional<std::string> listen, metrics_listen, http_listen, model, data_dir, device,
      precision;
};

// Who is let in, and who hears what is said.
void DeclareSecurity(CLI::App& app, CommandLine& line) {
  app.add_option("--tls-cert", line.tls_cert,
                 "Certificate chain, PEM; with it gRPC and HTTP are TLS")
      ->type_name("FILE");
  app.add_option("--tls-key", line.tls_key, "Its private key, PEM")->type_name("FILE");
  app.add_option("--tls-client-ca", line.tls_client_ca,
                 "Authorities, PEM: callers must show a certificate of theirs")
      ->type_name("FILE");
  app.add_flag("--allow-plaintext-beyond-loopback", line.allow_plaintext,
               "Let addresses without TLS be ones that other machines reach");
  app.add_option("--tokens", line.tokens,
                 "AccessTokens in protobuf's text format: who may call what")
      ->type_name("FILE");
  app.add_option(
         "--make-token", line.make_token,
         "Make a token of that name and exit: the token is printed to stdout, its entry for the "
         "tokens file, in group infer, to stderr")
      ->type_name("NAME");
}

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
  app.add_option("--http-listen", line.http_listen,
                 "HTTP: restoring, the console page, KServe, health, metrics; '' for none ['']")
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
  DeclareSecurity(app, line);
  app.footer("Flags override --config. Exit status: 0, 1 for a failure, 2 for wrong usage.");
}

// What cannot be reached may be one: it is looked at again when the server starts.
absl::Status CheckIsFolder(const std::string& data_dir) {
  using std::filesystem::file_type;
  if (data_dir.empty()) return absl::OkStatus();
  std::error_code unreachable;
  const file_type type = std::filesystem::status(data_dir, unreachable).type();
  if (type == file_type::directory || type == file_type::none) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "data_dir is '%s'; %s", data_dir,
      type == file_type::not_found ? "there is no such folder" : "it is no folder"));
}

absl::Status CheckLaunch(const TrainingServiceOptions& training) {
  const std::vector<std::string>& launch = training.launch;
  if (!training.enabled || launch.empty() || IsProgram(launch[0])) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("training.launch begins with '%s'; there is no such program", launch[0]));
}

absl::Status CheckMachine(const ServerOptions& options) {
  DW_RETURN_IF_ERROR(CheckIsFolder(options.data_dir));
  return CheckLaunch(options.training);
}

// A flag whose text becomes a field as it is.
struct TextFlag {
  const char* name;
  const char* field;
  std::optional<std::string> CommandLine::*value;
  std::string& (*place)(ServerOptions& options);
};

constexpr TextFlag kTextFlags[] = {
    {"--listen", "listen", &CommandLine::listen,
     [](ServerOptions& options) -> std::string& { return options.listen; }},
    {"--metrics-listen", "metrics_listen", &CommandLine::metrics_listen,
     [](ServerOptions& options) -> std::string& { return options.metrics_listen; }},
    {"--http-listen", "http_listen", &CommandLine::http_listen,
     [](ServerOptions& options) -> std::string& { return options.http_listen; }},
    {"--model", "model", &CommandLine::model,
     [](ServerOptions& options) -> std::string& { return options.model; }},
    {"--data-dir", "data_dir", &CommandLine::data_dir,
     [](ServerOptions& options) -> std::string& { return options.data_dir; }},
    {"--device", "device", &CommandLine::device,
     [](ServerOptions& options) -> std::string& { return options.device; }},
    {"--tokens", "access.tokens_file", &CommandLine::tokens,
     [](ServerOptions& options) -> std::string& { return options.access.tokens_file; }},
    {"--tls-cert", "tls.certificate_file", &CommandLine::tls_cert,
     [](ServerOptions& options) -> std::string& { return options.tls.certificate_file; }},
    {"--tls-key", "tls.key_file", &CommandLine::tls_key,
     [](ServerOptions& options) -> std::string& { return options.tls.key_file; }},
    {"--tls-client-ca", "tls.client_ca_file", &CommandLine::tls_client_ca,
     [](ServerOptions& options) -> std::string& { return options.tls.client_ca_file; }}};

std::vector<FieldFlag> FlagsOf(const CommandLine& line) {
  std::vector<FieldFlag> flags;
  for (const TextFlag& flag : kTextFlags) {
    const std::optional<std::string>& value = line.*flag.value;
    if (!value) continue;
    flags.push_back(
        {flag.name, flag.field, [place = flag.place, text = *value](ServerOptions& options) {
           place(options) = text;
           return absl::OkStatus();
         }});
  }
  if (line.precision) {
    flags.push_back({"--precision", "precision", [text = *line.precision](ServerOptions& options) {
                       const absl::StatusOr<Precision> precision = ParsePrecision(text);
                       options.precision = precision.value_or(Precision::kAuto);
                       return precision.status();
                     }});
  }
  if (line.no_jobs) {
    flags.push_back({"--no-jobs", "training.enabled", [](ServerOptions& options) {
                       options.training.enabled = false;
                       return absl::OkStatus();
                     }});
  }
  if (line.allow_plaintext) {
    flags.push_back({"--allow-plaintext-beyond-loopback", "allow_plaintext_beyond_loopback",
                     [](ServerOptions& options) {
                       options.allow_plaintext_beyond_loopback = true;
                       return absl::OkStatus();
                     }});
  }
  return flags;
}

// The configuration file with the flags on top.
absl::StatusOr<ServerOptions> OptionsOf(const CommandLine& line) {
  const std::vector<FieldFlag> flags = FlagsOf(line);
  if (!line.config) return ParseServerConfig("", "", flags, CheckMachine);
  return LoadServerConfig(*line.config, flags, CheckMachine);
}

// What it says is about messages of callers, who get an error for it.
void LogOfProtobuf(google::protobuf::LogLevel, const char* file, int line,
                   const std::string& message) {
  spdlog::debug("protobuf {}:{}: {}", file, line, message);
}

// The last that is said of a failure: one line, as it is whatever the log's format.
int Fail(int exit_status, absl::string_view why) {
  FlushLog();
  std::string line = absl::StrCat("deweather-server: ", why);
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fputs(absl::StrCat(line, "\n").c_str(), stderr);
  return exit_status;
}

int MakeToken(const std::string& name) {
  const absl::Status named = CheckTokenName(name);
  if (!named.ok()) return Fail(2, absl::StrCat("--make-token ", named.message()));
  const absl::StatusOr<std::string> token = NewToken();
  if (!token.ok()) return Fail(1, token.status().message());
  std::fputs(TokenEntry(name, *token).c_str(), stderr);
  const bool printed = std::puts(token->c_str()) >= 0 && std::fflush(stdout) == 0;
  return printed ? 0 : Fail(1, "the token cannot be written to stdout");
}

// A failure and no wrong usage, as when the server starts: these files change, and may be there later.
int CheckSecrets(const ServerOptions& options) {
  absl::Status usable;
  if (!options.tls.certificate_file.empty()) {
    usable = ReadCertificates(options.tls, absl::Now()).status();
  }
  if (usable.ok() && !options.access.tokens_file.empty()) {
    usable = LoadTokens(options.access.tokens_file).status();
  }
  return usable.ok() ? 0 : Fail(1, usable.message());
}

int Run(int argc, char** argv, Log& log, const DecorateRun& decorate_run) {
  CLI::App app("Restores pictures: takes rain out of them, over gRPC.", "deweather-server");
  CommandLine line;
  Declare(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    return Fail(2, absl::StrCat(error.what(), "; see --help"));
  }
  if (line.make_token) return MakeToken(*line.make_token);
  const absl::StatusOr<ServerOptions> options = OptionsOf(line);
  if (!options.ok()) return Fail(2, options.status().message());
  if (line.check_config) return CheckSecrets(*options);
  log.Configure(options->log);
  const absl::Status served = Serve(*options, decorate_run);
  if (served.ok()) return 0;
  if (log.json()) spdlog::critical("{}", std::string(served.message()));
  return Fail(1, served.message());
}

}  // namespace

int RunServerProgram(int argc, char** argv, const DecorateRun& decorate_run) {
  BlockStopSignals();
  try {
    Log log(STDERR_FILENO);
    google::protobuf::SetLogHandler(LogOfProtobuf);
    return Run(argc, argv, log, decorate_run);
  } catch (const std::bad_alloc&) {
    return Fail(1, "out of memory");
  } catch (const std::exception& error) {
    return Fail(1, error.what());
  }
}

}  // namespace deweather
