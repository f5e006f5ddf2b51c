// What is told about restored pictures: lines for people, JSON for programs.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_CLIENT_REPORT_H_
#define DEWEATHER_CLIENT_REPORT_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/heat_map.h"
#include "client/plan.h"
#include "deweather/v1/restoration.pb.h"

namespace deweather {

// What became of one picture.
struct Outcome {
  PlannedFile file;
  absl::Status status;
  std::string reason;                         // google.rpc.ErrorInfo's; empty: none was sent
  v1::RestoreResponse response;               // without its pictures; empty if it failed
  absl::Duration elapsed;                     // as the client saw it
  std::optional<HeatScale> uncertainty = {};  // of the heat map, if one was asked for
  std::string request_id = {};                // as the server's log has it; empty: nothing was sent
};

// "in.jpg -> out.png  481x321, 6 tiles, 153 ms, deweather-rain 0123456789ab".
std::string SummaryLine(const Outcome& outcome);

// One line a layer and a line above: how much of the work each expert did, in percent of the tokens. With
// a heat map a line below says what its colours mean.
std::string RoutingTable(const v1::Routing& routing, const std::optional<HeatScale>& heat = {});

// {"files": [...], "restored": N, "failed": N}; every file holds its input and output, and either
// the size, format, model, milliseconds by stage, routing and uncertainty, or the error's code, message, reason;
// and the request's id, if it was sent.
nlohmann::json ToJson(const std::vector<Outcome>& outcomes);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_REPORT_H_
