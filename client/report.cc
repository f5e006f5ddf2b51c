#include "client/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/output.h"

namespace deweather {
namespace {

using nlohmann::json;

double Milliseconds(const google::protobuf::Duration& duration) {
  return absl::ToDoubleMilliseconds(ToDuration(duration));
}

json TimingsJson(const v1::Timings& timings) {
  return {
      {"decode_ms", Milliseconds(timings.decode())}, {"queue_ms", Milliseconds(timings.queue())},
      {"infer_ms", Milliseconds(timings.infer())},   {"blend_ms", Milliseconds(timings.blend())},
      {"encode_ms", Milliseconds(timings.encode())}, {"total_ms", Milliseconds(timings.total())}};
}

json RoutingJson(const v1::Routing& routing, bool uncertainty) {
  json layers = json::array();
  for (const v1::Routing::Layer& layer : routing.layers()) {
    json& told = layers.emplace_back();
    told = {{"tokens", layer.tokens()},
            {"gate", layer.gate()},
            {"entropy_ratio", layer.entropy_ratio()}};
    if (uncertainty) told["uncertainty"] = layer.uncertainty();
  }
  const bool image = routing.unit() == v1::Routing::UNIT_IMAGE;
  return {{"unit", image ? "image" : "token"},
          {"units", routing.units()},
          {"kept", routing.kept()},
          {"layers", layers}};
}

// "FORMAT_PNG" as "png".
std::string FormatName(v1::RestoreOptions::Format format) {
  return absl::AsciiStrToLower(EnumWord(v1::RestoreOptions::Format_Name(format), "FORMAT_"));
}

json FileJson(const Outcome& outcome) {
  json file = {{"input", outcome.file.input}, {"output", outcome.file.output}};
  if (!outcome.request_id.empty()) file["request_id"] = outcome.request_id;
  if (!outcome.status.ok()) {
    file["error"] = ErrorJson(outcome.status, outcome.reason);
    return file;
  }
  const v1::RestoreResponse& response = outcome.response;
  file["width_px"] = response.width_px();
  file["height_px"] = response.height_px();
  file["format"] = FormatName(response.format());
  file["model"] = {{"name", response.model().name()}, {"version", response.model().version()}};
  file["tiles"] = response.timings().tiles();
  file["batches"] = response.timings().batches();
  file["elapsed_ms"] = absl::ToDoubleMilliseconds(outcome.elapsed);
  file["timings"] = TimingsJson(response.timings());
  const std::optional<HeatScale>& heat = outcome.uncertainty;
  if (response.has_routing()) file["routing"] = RoutingJson(response.routing(), heat.has_value());
  if (heat) {
    file["uncertainty"] = {{"mean", heat->mean},
                           {"max", heat->most},
                           {"saturated", heat->saturated},
                           {"colours", kHeatColours}};
  }
  return file;
}

}  // namespace

std::string SummaryLine(const Outcome& outcome) {
  const v1::RestoreResponse& response = outcome.response;
  return absl::StrFormat("%s -> %s  %dx%d, %d tiles, %.0f ms, %s %s", outcome.file.input,
                         outcome.file.output, response.width_px(), response.height_px(),
                         response.timings().tiles(), absl::ToDoubleMilliseconds(outcome.elapsed),
                         response.model().name(), response.model().version());
}

std::string RoutingTable(const v1::Routing& routing, const std::optional<HeatScale>& heat) {
  if (routing.layers().empty()) return "no experts: the model routes nothing\n";
  int experts = 0;
  for (const auto& layer : routing.layers()) experts = std::max(experts, layer.tokens_size());
  std::string table = absl::StrFormat(
      "%d of %d experts a %s, %d of them; percent that kept each\n", routing.kept(), experts,
      routing.unit() == v1::Routing::UNIT_IMAGE ? "tile" : "token", routing.units());
  for (int i = 0; i < routing.layers_size(); ++i) {
    absl::StrAppendFormat(&table, "layer %d ", i);
    for (const int64_t tokens : routing.layers(i).tokens()) {
      absl::StrAppendFormat(&table, " %5.1f",
                            100.0 * static_cast<double>(tokens) /
                                static_cast<double>(std::max<int64_t>(routing.units(), 1)));
    }
    absl::StrAppendFormat(&table, "   entropy %.2f", routing.layers(i).entropy_ratio());
    if (heat) absl::StrAppendFormat(&table, "   uncertainty %.4f", routing.layers(i).uncertainty());
    table += "\n";
  }
  if (heat) {
    absl::StrAppendFormat(
        &table, "uncertainty %.4f in the mean; the heat map's colours (%s) go from 0 to %.4f%s\n",
        heat->mean, kHeatColours, heat->most,
        heat->saturated ? ", and what is above is shown as that" : "");
  }
  return table;
}

json ToJson(const std::vector<Outcome>& outcomes) {
  json files = json::array();
  int failed = 0;
  for (const Outcome& outcome : outcomes) {
    files.push_back(FileJson(outcome));
    failed += outcome.status.ok() ? 0 : 1;
  }
  return {{"files", files},
          {"restored", static_cast<int>(outcomes.size()) - failed},
          {"failed", failed}};
}

}  // namespace deweather
