#include "client/jobs_flags.h"

#include "client/jobs_command.h"
#include "client/jobs_download.h"
#include "client/jobs_watch.h"

namespace deweather {
namespace {

using Run = int (*)(const JobsFlags&);

CLI::Option* AddId(CLI::App& app, std::string& id) {
  return AddText(app, "ID", id, "Of the job")->required();
}

void AddLabels(CLI::App& app, JobsFlags& flags, const char* help) {
  app.add_option("--label", flags.labels, help)
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false)
      ->check(CheckText);
}

// Of a command that makes a job.
void AddMaking(CLI::App& app, JobsFlags& flags) {
  AddText(app, "--request-id", flags.request_id, "The same one again makes no other job [random]");
  app.add_flag("--watch", flags.watch, "Go on as deweather jobs watch");
  app.add_flag("--json", flags.json, "Print JSON and nothing else; with --watch, JSON lines");
}

// A command that has an id and no flags beside the usual ones.
Declared<JobsFlags> AddPlain(CLI::App& jobs, const char* name, const char* help, Run run,
                             Command* chosen) {
  const Declared<JobsFlags> command = AddCommand(jobs, name, help, run, chosen);
  AddId(command.app, command.flags.id);
  AddJson(command.app, command.flags.json);
  AddServerFlags(command.app, command.flags.server, "for the answer");
  return command;
}

void AddSubmit(CLI::App& jobs, Command* chosen) {
  auto [app, flags] = AddCommand(jobs, "submit", "Makes a job", RunJobsSubmit, chosen);
  app.add_option("--config", flags.config, "What deweather-train reads, but data sets by name")
      ->type_name("FILE")
      ->required();
  AddLabels(app, flags, "To find it by, any number of them");
  app.add_option("--priority", flags.priority, "-100 to 100, the highest first")
      ->capture_default_str();
  app.add_flag("--validate-only", flags.validate_only, "Only check");
  AddMaking(app, flags);
  AddServerFlags(app, flags.server, "for the answer, tries again included");
}

void AddList(CLI::App& jobs, Command* chosen) {
  auto [app, flags] = AddCommand(jobs, "list", "Jobs, the newest first", RunJobsList, chosen);
  app.add_option("--state", flags.states, "Only those in this state, or one of several")
      ->type_name("STATE")
      ->allow_extra_args(false)
      ->check(CheckText);
  AddLabels(app, flags, "Only those with this label, or all of several");
  AddText(app, "--model", flags.model, "Only those that make this model");
  app.add_option("--limit", flags.limit, "Of how many to tell; 0: of all")->capture_default_str();
  AddJson(app, flags.json);
  AddServerFlags(app, flags.server, "for one answer");
}

void AddWatch(CLI::App& jobs, Command* chosen) {
  auto [app, flags] =
      AddCommand(jobs, "watch", "What happens to a job, until its end", RunJobsWatch, chosen);
  app.footer("Exit status: 0 if the job SUCCEEDED, else 1. Ctrl-C ends the watch, not the job.");
  AddId(app, flags.id);
  app.add_option("--after", flags.after, "Number of the last event that is known")
      ->capture_default_str();
  app.add_flag("--json", flags.json, "Print one JSON object a line and nothing else");
  AddServerFlags(app, flags.server, "without an answer");
}

void AddLogs(CLI::App& jobs, Command* chosen) {
  auto [app, flags] =
      AddCommand(jobs, "logs", "What a job's program has printed", RunJobsLogs, chosen);
  AddId(app, flags.id);
  app.add_flag("--follow", flags.follow, "And prints, until its end");
  app.add_option("--offset", flags.offset, "Byte of the log to begin at")->capture_default_str();
  AddServerFlags(app, flags.server, "without an answer");
}

void AddDownload(CLI::App& jobs, Command* chosen) {
  auto [app, flags] =
      AddCommand(jobs, "download", "Fetches files of a job, and goes on with what broke off",
                 RunJobsDownload, chosen);
  AddId(app, flags.id);
  AddText(app, "NAME", flags.name, "As deweather jobs checkpoints tells it");
  app.add_flag("--all", flags.all, "All of them");
  app.add_option("-o,--output", flags.output, "A file, a folder, or - for stdout [.]")
      ->type_name("OUT");
  app.add_flag("--overwrite", flags.overwrite, "Replace files that exist");
  AddJson(app, flags.json);
  AddServerFlags(app, flags.server, "without an answer");
}

}  // namespace

void AddJobs(CLI::App& parent, Command* chosen) {
  CLI::App& jobs = *parent.add_subcommand("jobs", "Trains on the server");
  jobs.require_subcommand(1);
  AddSubmit(jobs, chosen);
  AddList(jobs, chosen);
  AddPlain(jobs, "get", "One job and its configuration", RunJobsGet, chosen);
  AddWatch(jobs, chosen);
  AddLogs(jobs, chosen);
  auto [cancel, cancel_flags] = AddPlain(jobs, "cancel", "Ends a job", RunJobsCancel, chosen);
  AddText(cancel, "--reason", cancel_flags.reason, "Why, for people");
  auto [resume, resume_flags] =
      AddCommand(jobs, "resume", "Makes a job that goes on where one ended", RunJobsResume, chosen);
  AddId(resume, resume_flags.id);
  AddMaking(resume, resume_flags);
  AddServerFlags(resume, resume_flags.server, "for the answer, tries again included");
  AddPlain(jobs, "delete", "Deletes a job that has ended, and its files", RunJobsDelete, chosen);
  AddPlain(jobs, "checkpoints", "Lists the files of a job", RunJobsCheckpoints, chosen);
  AddDownload(jobs, chosen);
}

}  // namespace deweather
