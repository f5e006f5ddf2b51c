// deweather: the command line of a deweather-server.

#include <grpc/support/log.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "absl/time/time.h"
#include "client/channel.h"
#include "client/health_command.h"
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

// Every command has flags of its own: CLI11 fills those of the others from the environment too.
void AddServerFlags(CLI::App& command, ServerFlags& flags) {
  command.add_option("--server", flags.server, "Where the server listens")
      ->type_name("HOST:PORT")
      ->envname("DEWEATHER_SERVER")
      ->capture_default_str();
  command
      .add_option_function<std::string>(
          "--timeout",
          [&flags](const std::string& text) {
            const std::string error = ParseTimeout(text, &flags.timeout);
            if (!error.empty()) throw CLI::ValidationError("--timeout", error);
          },
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
  command->add_option("--model", flags.model, "Name of a live model [the server's default]");
  command->add_option("--strength", flags.strength, "Share of the change, 0 to 1 [1]");
  command->add_option("--quality", flags.quality, "Of a JPEG or WebP, 1 to 100 [as the input's]");
  command->add_option("--metadata", flags.metadata, "EXIF and colour profile")
      ->check(CLI::IsMember({"preserve", "strip"}))
      ->capture_default_str();
  command->add_option("--expert-map", flags.expert_map, "PNG: every token's heaviest expert")
      ->type_name("FILE");
  command->add_flag("--routing", flags.routing, "Print how much every expert worked");
  command->add_flag("--json", flags.json, "Print one JSON object and nothing else");
  AddServerFlags(*command, flags.server);
  return command;
}

CLI::App* AddHealth(CLI::App& app, HealthFlags& flags) {
  CLI::App* const command = app.add_subcommand("health", "Asks whether the server serves");
  command->add_option("--service", flags.service, "Full name of a service [the whole server]");
  command->add_flag("--json", flags.json, "Print one JSON object and nothing else");
  AddServerFlags(*command, flags.server);
  return command;
}

int Main(int argc, char** argv) {
  CLI::App app("Restores pictures with a deweather-server.", "deweather");
  app.set_version_flag("--version", "deweather " DW_VERSION);
  app.require_subcommand(1);
  app.footer("Exit status: 0, 1 for a failure, 2 for wrong usage.");
  RestoreFlags restore;
  HealthFlags health;
  const CLI::App* const restores = AddRestore(app, restore);
  AddHealth(app, health);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return restores->parsed() ? RunRestore(restore) : RunHealth(health);
}

void Discard(gpr_log_func_args*) {}

}  // namespace
}  // namespace deweather

int main(int argc, char** argv) {
  // An error is one line, ours; GRPC_VERBOSITY brings the library's own back.
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function(deweather::Discard);
  try {
    return deweather::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "INTERNAL: %s\n", error.what());
    return 1;
  }
}
