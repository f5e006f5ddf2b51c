// deweather: the command line of a deweather-server.

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/bench_flags.h"
#include "client/datasets_flags.h"
#include "client/flags.h"
#include "client/jobs_flags.h"
#include "client/models_flags.h"
#include "client/output.h"
#include "client/restore_flags.h"

namespace deweather {
namespace {

// A word that no command knows says more than what is missing without it.
std::string UsageMessage(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unknown = app.remaining(true);
  std::string message = error.what();
  if (!unknown.empty()) message = absl::StrCat("'", unknown.front(), "' is not known");
  std::replace(message.begin(), message.end(), '\n', ' ');
  return absl::StrCat(message, "; see --help");
}

// What stdout did not take is no success.
int Written(int exit_status) {
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (written || exit_status != 0) return exit_status;
  return FailCall(absl::DataLossError("not all could be written to stdout"), false);
}

int Main(int argc, char** argv) {
  CLI::App app("Restores pictures with a deweather-server, and trains on it.", "deweather");
  app.set_version_flag("--version", "deweather " DW_VERSION);
  app.require_subcommand(1);
  app.footer("Exit status: 0, 1 for a failure, 2 for wrong usage.");
  Command chosen;
  AddRestore(app, &chosen);
  AddBench(app, &chosen);
  AddHealth(app, &chosen);
  AddModels(app, &chosen);
  AddJobs(app, &chosen);
  AddDatasets(app, &chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    // Flags that did not parse cannot tell whether JSON is wanted.
    const bool json = std::find(argv, argv + argc, std::string_view("--json")) != argv + argc;
    return FailLocally(absl::InvalidArgumentError(UsageMessage(app, error)), json);
  }
  return Written(chosen());
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
