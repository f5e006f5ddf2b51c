#include "client/datasets_flags.h"

#include "client/datasets_command.h"

namespace deweather {
namespace {

void AddUpload(CLI::App& datasets, Command* chosen) {
  auto [app, flags] = AddCommand(datasets, "upload", "Stores a folder of pictures as a data set",
                                 RunDatasetsUpload, chosen);
  flags.server.timeout = absl::Hours(1);
  AddText(app, "NAME", flags.name, "Of the data set")->required();
  app.add_option("DIR", flags.folder, "Pictures, or input/ and gt/ with pictures")->required();
  CLI::Option* const clean =
      app.add_flag("--clean", flags.clean, "Clean pictures; weather is put on them");
  app.add_flag("--pairs", flags.pairs, "With weather and without [if there are input/ and gt/]")
      ->excludes(clean);
  AddJson(app, flags.json);
  AddServerFlags(app, flags.server, "for all of it");
}

}  // namespace

void AddDatasets(CLI::App& parent, Command* chosen) {
  CLI::App& datasets = *parent.add_subcommand("datasets", "Shows and stores what jobs learn from");
  datasets.require_subcommand(1);
  auto [app, flags] = AddCommand(datasets, "list", "Every data set", RunDatasetsList, chosen);
  AddJson(app, flags.json);
  AddServerFlags(app, flags.server, "for one answer");
  AddUpload(datasets, chosen);
}

}  // namespace deweather
