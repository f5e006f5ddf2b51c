#include "client/models_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace deweather {
namespace {

using testing::HasSubstr;
using testing::Not;

v1::Model Live() {
  v1::Model model;
  model.set_name("rain");
  model.set_live_version("0123456789ab");
  model.set_previous_version("ba9876543210");
  model.set_is_default(true);
  model.mutable_live_time()->set_seconds(1'700'000'000);
  model.set_tile_px(256);
  model.set_layers(6);
  model.set_experts(16);
  model.set_kept(4);
  v1::Model::Version& version = *model.add_versions();
  version.set_version("0123456789ab");
  version.mutable_create_time()->set_seconds(1'700'000'000);
  version.set_bytes(1234);
  version.set_source("import of x");
  return model;
}

v1::Model Stored() {
  v1::Model model;
  model.set_name("snow");
  return model;
}

TEST(ModelsCommandTest, TheTableHasALineAModel) {
  const std::string table = ModelsTable({Live(), Stored()});
  EXPECT_THAT(table, HasSubstr("rain                     0123456789ab  ba9876543210         1  "
                               "2023-11-14T22:13:20+00:00  default\n"));
  EXPECT_THAT(table,
              HasSubstr("\nsnow                     -             -                    0  -\n"));
}

TEST(ModelsCommandTest, OneModelIsToldInFull) {
  const std::string text = ModelText(Live());
  EXPECT_THAT(text, HasSubstr("rain (default)"));
  EXPECT_THAT(text, HasSubstr("4 of 16, in 6 layers"));
  EXPECT_THAT(text, HasSubstr("1234 bytes  import of x"));
  EXPECT_THAT(ModelText(Stored()), Not(HasSubstr("tiles")));
}

TEST(ModelsCommandTest, AChangeThatWasNotWaitedForMayGoOn) {
  ModelsFlags flags;
  flags.name = "rain";
  flags.server.timeout = absl::Milliseconds(20);
  const absl::Status late =
      ChangeError(flags, "promotion", {grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"});
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(
      late.message(),
      "no answer after 20ms; the promotion may go on: deweather models get rain shows what is "
      "live");
  EXPECT_EQ(ChangeError(flags, "promotion", {grpc::StatusCode::NOT_FOUND, "no model"}),
            absl::NotFoundError("no model"));
}

TEST(ModelsCommandTest, JsonSaysWhatIsUnset) {
  const nlohmann::json live = ModelJson(Live()), stored = ModelJson(Stored());
  EXPECT_EQ(live["live_version"], "0123456789ab");
  EXPECT_EQ(live["experts"], 16);
  EXPECT_EQ(live["versions"][0]["bytes"], 1234);
  EXPECT_TRUE(stored["live_version"].is_null());
  EXPECT_TRUE(stored["previous_version"].is_null());
  EXPECT_FALSE(stored.contains("tile_px"));
}

}  // namespace
}  // namespace deweather
