#include "client/restore_flags.h"

#include "absl/strings/numbers.h"
#include "client/health_command.h"
#include "client/restore_command.h"

namespace deweather {
namespace {

std::string CheckGiven(const std::string& file) { return file.empty() ? "names no file" : ""; }

// CLI11 would take what is too large for the largest number there is.
void AddSeed(CLI::App& app, RestoreFlags& flags) {
  const auto set = [&flags](const std::string& text) {
    if (absl::SimpleAtoi(text, &flags.seed)) return;
    throw CLI::ValidationError("--seed", "'" + text + "' is no whole number from 0 to 2^64 - 1");
  };
  app.add_option_function<std::string>("--seed", set, "Of the uncertainty's random passes [0]")
      ->type_name("N")
      ->needs("--uncertainty");
}

}  // namespace

void AddRestore(CLI::App& parent, Command* chosen) {
  auto [app, flags] = AddCommand(parent, "restore", "Restores pictures", RunRestore, chosen);
  app.add_option("IN", flags.inputs, "Files, folders, or - for stdin")->required();
  app.add_option("-o,--output", flags.output, "A file, a folder, or - for stdout")
      ->type_name("OUT")
      ->required();
  app.add_flag("--overwrite", flags.overwrite, "Replace outputs that exist");
  AddText(app, "--model", flags.model, "Name of a live model [the server's default]");
  AddText(app, "--task", flags.task, "Of a model with a gate for each task: one of them");
  app.add_option("--strength", flags.strength, "Share of the change, 0 to 1 [1]");
  app.add_option("--quality", flags.quality, "Of a JPEG or WebP, 1 to 100 [as the input's]");
  app.add_option("--metadata", flags.metadata, "EXIF and colour profile")
      ->check(CLI::IsMember({"preserve", "strip"}))
      ->capture_default_str();
  app.add_option("--priority", flags.priority, "background: after what others wait for")
      ->check(CLI::IsMember({"normal", "background"}))
      ->capture_default_str();
  app.add_option("--expert-map", flags.expert_map, "PNG: every token's heaviest expert")
      ->type_name("FILE")
      ->check(CheckGiven);
  app.add_option("--uncertainty", flags.uncertainty,
                 "PNG: how uncertain the router is, as a heat map (viridis, from 0 on)")
      ->type_name("FILE")
      ->check(CheckGiven);
  AddSeed(app, flags);
  app.add_flag("--routing", flags.routing, "Print how much every expert worked");
  AddJson(app, flags.json);
  AddServerFlags(app, flags.server, "for one picture");
}

void AddHealth(CLI::App& parent, Command* chosen) {
  auto [app, flags] =
      AddCommand(parent, "health", "Asks whether the server serves", RunHealth, chosen);
  AddText(app, "--service", flags.service,
          "Full name of a service, or deweather.v1.RestorationService/MODEL [the whole server]");
  AddJson(app, flags.json);
  AddServerFlags(app, flags.server, "for the answer");
}

}  // namespace deweather
