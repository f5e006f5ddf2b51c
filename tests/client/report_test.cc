#include "client/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace deweather {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

v1::Routing TwoLayers() {
  v1::Routing routing;
  routing.set_unit(v1::Routing::UNIT_TOKEN);
  routing.set_units(200);
  routing.set_kept(2);
  for (const int first : {50, 200}) {
    v1::Routing::Layer& layer = *routing.add_layers();
    for (const int tokens : {first, 400 - first, 0}) layer.add_tokens(tokens);
    for (const double gate : {0.5, 0.25, 0.0}) layer.add_gate(gate);
    layer.set_entropy_ratio(0.75);
  }
  return routing;
}

Outcome Restored() {
  Outcome outcome;
  outcome.file = {"in.jpg", "out.png", v1::RestoreOptions::FORMAT_PNG};
  outcome.elapsed = absl::Milliseconds(153);
  outcome.response.set_width_px(481);
  outcome.response.set_height_px(321);
  outcome.response.set_format(v1::RestoreOptions::FORMAT_PNG);
  outcome.response.mutable_model()->set_name("rain");
  outcome.response.mutable_model()->set_version("0123456789ab");
  outcome.response.mutable_timings()->set_tiles(6);
  outcome.response.mutable_timings()->set_batches(2);
  outcome.response.mutable_timings()->mutable_total()->set_seconds(1);
  outcome.response.mutable_timings()->mutable_total()->set_nanos(500'000);
  return outcome;
}

TEST(SummaryLineTest, SaysWhatAndHowLong) {
  EXPECT_EQ(SummaryLine(Restored()),
            "in.jpg -> out.png  481x321, 6 tiles, 153 ms, rain 0123456789ab");
}

TEST(RoutingTableTest, PercentOfTheUnits) {
  EXPECT_EQ(RoutingTable(TwoLayers()),
            "2 of 3 experts a token, 200 of them; percent that kept each\n"
            "layer 0   25.0 175.0   0.0   entropy 0.75\n"
            "layer 1  100.0 100.0   0.0   entropy 0.75\n");
  EXPECT_THAT(RoutingTable(v1::Routing()), HasSubstr("no experts"));
}

TEST(RoutingTableTest, WithAHeatMapItsScale) {
  v1::Routing routing = TwoLayers();
  routing.mutable_layers(1)->mutable_tokens()->RemoveLast();  // a layer with fewer experts
  routing.mutable_layers(1)->set_uncertainty(0.0125);
  EXPECT_EQ(
      RoutingTable(routing, HeatScale{.mean = 0.01, .most = 0.25}),
      "2 of 3 experts a token, 200 of them; percent that kept each\n"
      "layer 0   25.0 175.0   0.0   entropy 0.75   uncertainty 0.0000\n"
      "layer 1  100.0 100.0   entropy 0.75   uncertainty 0.0125\n"
      "uncertainty 0.0100 in the mean; the heat map's colours (viridis) go from 0 to 0.2500\n");
  EXPECT_THAT(RoutingTable(routing, HeatScale{.most = 1, .saturated = true}),
              HasSubstr("go from 0 to 1.0000, and what is above is shown as that\n"));
}

TEST(JsonTest, RestoredPicture) {
  Outcome outcome = Restored();
  *outcome.response.mutable_routing() = TwoLayers();
  const json told = ToJson({outcome});
  EXPECT_EQ(told["restored"], 1);
  EXPECT_EQ(told["failed"], 0);
  const json& file = told["files"][0];
  EXPECT_EQ(file["input"], "in.jpg");
  EXPECT_EQ(file["output"], "out.png");
  EXPECT_EQ(file["width_px"], 481);
  EXPECT_EQ(file["height_px"], 321);
  EXPECT_EQ(file["format"], "png");
  EXPECT_EQ(file["model"], json({{"name", "rain"}, {"version", "0123456789ab"}}));
  EXPECT_EQ(file["tiles"], 6);
  EXPECT_EQ(file["batches"], 2);
  EXPECT_EQ(file["elapsed_ms"], 153.0);
  EXPECT_EQ(file["timings"]["total_ms"], 1000.5);
  EXPECT_EQ(file["routing"]["unit"], "token");
  EXPECT_EQ(file["routing"]["units"], 200);
  EXPECT_EQ(file["routing"]["layers"][1]["tokens"], json({200, 200, 0}));
  EXPECT_EQ(file["routing"]["layers"][0]["gate"], json({0.5, 0.25, 0.0}));
  EXPECT_FALSE(file.contains("error"));
}

TEST(JsonTest, UncertaintyIfItWasAskedFor) {
  Outcome outcome = Restored();
  *outcome.response.mutable_routing() = TwoLayers();
  outcome.response.mutable_routing()->mutable_layers(1)->set_uncertainty(0.125);
  EXPECT_FALSE(ToJson({outcome})["files"][0].contains("uncertainty"));
  outcome.uncertainty = HeatScale{.mean = 0.01, .most = 0.25};
  const json file = ToJson({outcome})["files"][0];
  EXPECT_EQ(file["uncertainty"],
            json({{"mean", 0.01}, {"max", 0.25}, {"colours", "viridis"}, {"saturated", false}}));
  EXPECT_EQ(file["routing"]["layers"][1]["uncertainty"], 0.125);
}

TEST(JsonTest, FailedPicture) {
  Outcome outcome;
  outcome.file = {"in.jpg", "out.png", v1::RestoreOptions::FORMAT_PNG};
  outcome.status = absl::ResourceExhaustedError("full");
  outcome.reason = "TILE_BUDGET";
  const json told = ToJson({Restored(), outcome});
  EXPECT_EQ(told["restored"], 1);
  EXPECT_EQ(told["failed"], 1);
  EXPECT_EQ(told["files"][1]["error"],
            json({{"code", "RESOURCE_EXHAUSTED"}, {"message", "full"}, {"reason", "TILE_BUDGET"}}));
  EXPECT_FALSE(told["files"][1].contains("model"));
}

TEST(JsonTest, NoExpertsNoRouting) {
  EXPECT_FALSE(ToJson({Restored()})["files"][0].contains("routing"));
}

}  // namespace
}  // namespace deweather
