// deweather: the command line of a deweather-server.

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/bench_command.h"
#include "client/channel.h"
#include "client/health_command.h"
#include "client/models_command.h"
#include "client/report.h"
#include "client/restore_command.h"

namespace deweather {
namespace {

// "30s", "1m30s", "500ms"; longer than nothing.
std::string ParseTimeout(const std::string& text, absl::Duration* timeout) {
  absl::Duration parsed;
  const bool good = absl::ParseDuration(text, &parsed) && parsed > absl::ZeroDuration() &&
                    parsed <= absl::Hours(24);
  if (good) *timeout = parsed;
  return good ? "" : "'" + text + "' is no time: like 30s, 500ms or 2m, up to 24h";
}

// Names travel in messages.
std::string CheckName(const std::string& name) {
  return IsUtf8(name) ? "" : absl::StrCat("'", absl::CHexEscape(name), "' is no UTF-8");
}

// Every command has flags of its own: CLI11 fills those of the others from the environment too.
void AddServerFlags(CLI::App& command, ServerFlags& flags) {
  command.add_option("--server", flags.server, "Where the server listens")
      ->type_name("HOST:PORT")
      ->envname("DEWEATHER_SERVER")
      ->capture_default_str();
  // Of the environment's too, which CLI11 would leave out in silence if a check of its own failed.
  command.parse_complete_callback([&flags] {
    const absl::Status status = CheckAddress(flags.server);
    if (!status.ok()) throw CLI::ValidationError("--server", std::string(status.message()));
  });
  const auto set_timeout = [&flags](const std::string& text) {
    const std::string error = ParseTimeout(text, &flags.timeout);
    if (!error.empty()) throw CLI::ValidationError("--timeout", error);
  };
  command
      .add_option_function<std::string>("--timeout", set_timeout,
                                        "Longest time for one picture [30s]")
      ->type_name("TIME");
}

CLI::App* AddRestore(CLI::App& app, RestoreFlags& flags) {
  CLI::App* const command = app.add_subcommand("restore", "Restores pictures");
  command->add_option("IN", flags.inputs, "Files, folders, or - for stdin")->required();
  command->add_option("-o,--output", flags.output, "A file, a folder, or - for stdout")
      ->type_name("OUT")
      ->required();
  command->add_flag("--overwrite", flags.overwrite, "Replace outputs that exist");
  command->add_option("--model", flags.model, "Name of a live model [the server's default]")
      ->check(CheckName);
  command->add_option("--strength", flags.strength, "Share of the change, 0 to 1 [1]");
  command->add_option("--quality", flags.quality, "Of a JPEG or WebP, 1 to 100 [as the input's]");
  command->add_option("--metadata", flags.metadata, "EXIF and colour profile")
      ->check(CLI::IsMember({"preserve", "strip"}))
      ->capture_default_str();
  command->add_option("--priority", flags.priority, "background: after what others wait for")
      ->check(CLI::IsMember({"normal", "background"}))
      ->capture_default_str();
  command->add_option("--expert-map", flags.expert_map, "PNG: every token's heaviest expert")
      ->type_name("FILE");
  command->add_flag("--routing", flags.routing, "Print how much every expert worked");
  command->add_flag("--json", flags.json, "Print one JSON object and nothing else");
  AddServerFlags(*command, flags.server);
  return command;
}

// A length of time; 0 is one too.
void AddTime(CLI::App& command, const std::string& name, absl::Duration* time,
             const std::string& help) {
  const auto set = [name, time](const std::string& text) {
    if (absl::ParseDuration(text, time) && *time == absl::ZeroDuration()) return;
    const std::string error = ParseTimeout(text, time);
    if (!error.empty()) throw CLI::ValidationError(name, error);
  };
  command.add_option_function<std::string>(name, set, help)->type_name("TIME");
}

CLI::App* AddBench(CLI::App& app, BenchFlags& flags) {
  CLI::App* const command = app.add_subcommand("bench", "Puts a load on the server, measures it");
  command->footer(
      "Good replies/s are those that ended within --duration; latency is that of all calls that "
      "were\n"
      "due within it, from when they were due.");
  command->add_option("IN", flags.inputs, "Files, each as often as the others [--mix]");
  command->add_option("--mix", flags.mix, "Sizes of pictures to make, and files [256x256]")
      ->type_name("WxH|FILE[=WEIGHT],...");
  command->add_option("--format", flags.format, "Of the pictures that are made")
      ->check(CLI::IsMember({"png", "jpeg"}))
      ->capture_default_str();
  command->add_option("--model", flags.model, "Name of a live model [the server's default]")
      ->check(CheckName);
  command->add_option("--priority", flags.priority, "background: after what others wait for")
      ->check(CLI::IsMember({"normal", "background"}))
      ->capture_default_str();
  command->add_option("--concurrency", flags.concurrency, "Callers, each waits for its reply")
      ->capture_default_str();
  command->add_option("--rate", flags.rate, "Requests per second, without waiting for replies")
      ->type_name("R");
  command->add_option("--max-outstanding", flags.max_outstanding, "With --rate: that may wait")
      ->capture_default_str();
  command->add_option("--connections", flags.connections, "0: as many as --concurrency")
      ->capture_default_str();
  AddTime(*command, "--duration", &flags.duration, "Of what is measured [10s]");
  AddTime(*command, "--warmup", &flags.warmup, "Before that, not measured [1s]");
  command->add_option("--seed", flags.seed, "Of arrivals and of the mix")->capture_default_str();
  command->add_flag("--verify", flags.verify, "Fail if a picture is restored in two ways");
  command->add_flag("--json", flags.json, "Print one JSON object and nothing else");
  AddServerFlags(*command, flags.server);
  return command;
}

CLI::App* AddHealth(CLI::App& app, HealthFlags& flags) {
  CLI::App* const command = app.add_subcommand("health", "Asks whether the server serves");
  command->add_option("--service", flags.service, "Full name of a service [the whole server]")
      ->check(CheckName);
  command->add_flag("--json", flags.json, "Print one JSON object and nothing else");
  AddServerFlags(*command, flags.server);
  return command;
}

// The commands below `models`; each has flags of its own, as above.
struct ModelsCommand {
  const char* name;
  const char* help;
  int (*run)(const ModelsFlags&);
  ModelsFlags flags = {};
  bool parsed = false;
};

void AddModelsCommand(CLI::App& models, ModelsCommand& command) {
  const std::string name = command.name;
  const bool loads = name == "promote" || name == "rollback";
  if (loads) command.flags.server.timeout = absl::Minutes(5);
  CLI::App* const app = models.add_subcommand(name, command.help);
  if (name != "list") {
    app->add_option("NAME", command.flags.name, "Of the model")->required()->check(CheckName);
  }
  if (name == "promote") {
    app->add_option("VERSION", command.flags.version, "12 hexadecimal digits")
        ->required()
        ->check(CheckName);
  }
  app->add_flag("--json", command.flags.json, "Print one JSON object and nothing else");
  AddServerFlags(*app, command.flags.server);
  app->get_option("--timeout")
      ->description(loads ? "Longest time for the answer [5m]"
                          : "Longest time for one answer [30s]");
  app->final_callback([&command] { command.parsed = true; });
}

std::vector<ModelsCommand> ModelsCommands() {
  return {{"list", "Every model and its live version", RunModelsList},
          {"get", "One model and its versions", RunModelsGet},
          {"promote", "Makes a stored version live", RunModelsPromote},
          {"rollback", "Makes the version live that was live before", RunModelsRollback}};
}

void AddModels(CLI::App& app, std::vector<ModelsCommand>& commands) {
  CLI::App* const models = app.add_subcommand("models", "Shows models, and changes what is live");
  models->require_subcommand(1);
  for (ModelsCommand& command : commands) AddModelsCommand(*models, command);
}

// A word that no command knows says more than what is missing without it.
std::string UsageMessage(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unknown = app.remaining(true);
  std::string message = error.what();
  if (!unknown.empty()) message = absl::StrCat("'", unknown.front(), "' is not known");
  std::replace(message.begin(), message.end(), '\n', ' ');
  return absl::StrCat(message, "; see --help");
}

// Flags that did not parse cannot tell whether JSON is wanted.
int FailUsage(const std::string& message, bool json) {
  const absl::Status status = absl::InvalidArgumentError(message);
  std::fprintf(stderr, "%s\n", ErrorLine(status).c_str());
  if (json) {
    const nlohmann::json object = {{"error", ErrorJson(status)}};
    std::printf("%s\n",
                object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  }
  return 2;
}

int Main(int argc, char** argv) {
  CLI::App app("Restores pictures with a deweather-server.", "deweather");
  app.set_version_flag("--version", "deweather " DW_VERSION);
  app.require_subcommand(1);
  app.footer("Exit status: 0, 1 for a failure, 2 for wrong usage.");
  RestoreFlags restore;
  HealthFlags health;
  const CLI::App* const restores = AddRestore(app, restore);
  BenchFlags bench;
  const CLI::App* const benches = AddBench(app, bench);
  AddHealth(app, health);
  std::vector<ModelsCommand> models = ModelsCommands();
  AddModels(app, models);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    const bool json = std::find(argv, argv + argc, std::string_view("--json")) != argv + argc;
    return FailUsage(UsageMessage(app, error), json);
  }
  for (const ModelsCommand& command : models) {
    if (command.parsed) return command.run(command.flags);
  }
  if (benches->parsed()) return RunBench(bench);
  return restores->parsed() ? RunRestore(restore) : RunHealth(health);
}

void Discard(gpr_log_func_args*) {}

}  // namespace
}  // namespace deweather

int main(int argc, char** argv) {
  // An error is one line, ours; GRPC_VERBOSITY brings the libraries' own back.
  if (std::getenv("GRPC_VERBOSITY") == nullptr) {
    gpr_set_log_function(deweather::Discard);
    google::protobuf::SetLogHandler(nullptr);
  }
  try {
    return deweather::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "INTERNAL: %s\n", error.what());
    return 1;
  }
}
