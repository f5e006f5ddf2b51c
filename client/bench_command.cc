#include "client/bench_command.h"

#include <grpcpp/channel.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/bench_load.h"
#include "client/bench_picture.h"
#include "client/bench_report.h"
#include "client/channel.h"
#include "client/diagnose.h"
#include "client/output.h"
#include "client/stop_signal.h"
#include "model/base/status_macros.h"
#include "model/image/codec.h"

namespace deweather {
namespace {

constexpr absl::Duration kConnectTimeout = absl::Seconds(10);

absl::Status Connect(grpc::Channel& channel, const ServerFlags& server) {
  const std::chrono::system_clock::time_point deadline =
      absl::ToChronoTime(absl::Now() + kConnectTimeout);
  for (grpc_connectivity_state state = channel.GetState(true); state != GRPC_CHANNEL_READY;
       state = channel.GetState(true)) {
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || !channel.WaitForStateChange(state, deadline)) {
      const std::string why = Diagnose(server);
      return absl::UnavailableError(why.empty() ? absl::StrCat("cannot connect to ", server.server)
                                                : why);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<BenchLoad::Stubs> ConnectAll(const BenchFlags& flags) {
  BenchLoad::Stubs stubs;
  const int connections = flags.connections > 0 ? flags.connections : flags.concurrency;
  for (int i = 0; i < connections; ++i) {
    const std::shared_ptr<grpc::Channel> channel =
        OpenChannel(flags.server, {.own_connection = true, .all_servers = true});
    DW_RETURN_IF_ERROR(Connect(*channel, flags.server));
    stubs.push_back(v1::RestorationService::NewStub(channel));
  }
  return stubs;
}

// The figures; an error is one of usage or of connecting.
absl::Status Run(const BenchFlags& flags, nlohmann::json* report, int* exit_status) {
  DW_RETURN_IF_ERROR(Validate(flags));
  DW_ASSIGN_OR_RETURN(const std::vector<MixPart> mix, MixOf(flags));
  DW_ASSIGN_OR_RETURN(const ImageFormat format, ParseImageFormat(flags.format));
  DW_ASSIGN_OR_RETURN(const std::vector<BenchPicture> pictures, LoadPictures(mix, format));
  DW_ASSIGN_OR_RETURN(BenchLoad::Stubs stubs, ConnectAll(flags));
  const std::atomic<bool>& stop = StopOnSignal();
  BenchLoad load(flags, mix, pictures, std::move(stubs));
  const BenchResult result = load.Run(stop, isatty(STDERR_FILENO) == 1);
  *report = BenchJson(flags, mix, result);
  *exit_status = BenchExitStatus(result.tally);
  return absl::OkStatus();
}

}  // namespace

int RunBench(const BenchFlags& flags) {
  nlohmann::json report;
  int exit_status = 0;
  const absl::Status status = Run(flags, &report, &exit_status);
  if (!status.ok()) return FailLocally(status, flags.json);
  if (flags.json) {
    PrintJson(report);
  } else {
    absl::PrintF("%s", BenchTable(report));
  }
  return exit_status;
}

}  // namespace deweather
