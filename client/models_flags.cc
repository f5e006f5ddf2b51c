#include "client/models_flags.h"

#include "client/models_command.h"

namespace deweather {
namespace {

using Run = int (*)(const ModelsFlags&);

// A command about one model; it may take a while.
void AddOne(CLI::App& models, const char* name, const char* help, Run run, absl::Duration timeout,
            Command* chosen) {
  auto [app, flags] = AddCommand(models, name, help, run, chosen);
  flags.server.timeout = timeout;
  AddText(app, "NAME", flags.name, "Of the model")->required();
  AddJson(app, flags.json);
  AddServerFlags(app, flags.server, "for the answer");
}

void AddPromote(CLI::App& models, Command* chosen) {
  auto [app, flags] =
      AddCommand(models, "promote", "Makes a stored version live", RunModelsPromote, chosen);
  flags.server.timeout = absl::Minutes(35);  // the server may measure for 30
  AddText(app, "NAME", flags.name, "Of the model");
  AddText(app, "VERSION", flags.version, "12 hexadecimal digits");
  AddText(app, "--job", flags.job, "Instead: what this training job made")->type_name("ID");
  app.add_option("--canary", flags.canary_percent, "On trial, for this share of the requests")
      ->type_name("PERCENT");
  CLI::Option* const evaluate =
      AddText(app, "--evaluate", flags.evaluate,
              "Measure it first, and refuse a regression [as the server is configured]; of a model "
              "with tasks, of the task that has this name")
          ->type_name("DATASET");
  app.add_option("--max-regression", flags.max_regression_db, "That is borne, PSNR")
      ->type_name("DB");
  app.add_flag("--no-evaluate", flags.no_evaluate, "Measure nothing")->excludes(evaluate);
  AddJson(app, flags.json);
  AddServerFlags(app, flags.server, "for the answer");
}

void AddDelete(CLI::App& models, Command* chosen) {
  auto [app, flags] = AddCommand(
      models, "delete", "Deletes a version that is not live, on trial or what a rollback goes to",
      RunModelsDelete, chosen);
  AddText(app, "NAME", flags.name, "Of the model")->required();
  AddText(app, "VERSION", flags.version, "12 hexadecimal digits")->required();
  AddJson(app, flags.json);
  AddServerFlags(app, flags.server, "for the answer");
}

void AddImport(CLI::App& models, Command* chosen) {
  auto [app, flags] = AddCommand(models, "import", "Stores a checkpoint as a version, not live",
                                 RunModelsImport, chosen);
  flags.server.timeout = absl::Minutes(10);
  app.add_option("FILE", flags.file, "Ours, or in the layout of the paper's authors")->required();
  AddText(app, "--name", flags.name, "Of the model [as the file says]");
  AddText(app, "--origin", flags.origin, "Where it came from, for people [the file's name]")
      ->type_name("TEXT");
  AddJson(app, flags.json);
  AddServerFlags(app, flags.server, "for the whole file");
}

}  // namespace

void AddModels(CLI::App& parent, Command* chosen) {
  CLI::App& models =
      *parent.add_subcommand("models", "Shows models, changes what is live, stores and deletes");
  models.require_subcommand(1);
  auto [app, flags] =
      AddCommand(models, "list", "Every model and its live version", RunModelsList, chosen);
  AddJson(app, flags.json);
  AddServerFlags(app, flags.server, "for one answer");
  AddOne(models, "get", "One model and its versions", RunModelsGet, absl::Seconds(30), chosen);
  AddPromote(models, chosen);
  AddOne(models, "rollback", "Ends a trial, or makes the version live that was live before",
         RunModelsRollback, absl::Minutes(5), chosen);
  AddImport(models, chosen);
  AddDelete(models, chosen);
}

}  // namespace deweather
