#include "server/http/restore_route.h"

#include <gmock/gmock.h>

#include <string>

#include "model/base/error_reason.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

TEST(RestoreRouteTest, EveryOptionHasItsName) {
  const auto options = ParseRestoreQuery(
      "model=small&format=webp&quality=80&metadata_policy=strip&strength=0.25&priority=background&"
      "task=rain&seed=18446744073709551615");
  ASSERT_TRUE(options.ok()) << options.status();
  v1::RestoreOptions expected;
  expected.set_model("small");
  expected.set_format(v1::RestoreOptions::FORMAT_WEBP);
  expected.set_quality(80);
  expected.set_metadata_policy(v1::RestoreOptions::METADATA_POLICY_STRIP);
  expected.set_strength(0.25F);
  expected.set_priority(v1::RestoreOptions::PRIORITY_BACKGROUND);
  expected.set_task("rain");
  expected.set_seed(18446744073709551615U);
  EXPECT_EQ(options->SerializeAsString(), expected.SerializeAsString());
  EXPECT_EQ(ParseRestoreQuery("")->SerializeAsString(), "");
}

// An option that is added shall be thought of here: all but the maps, which one picture has no room for.
TEST(RestoreRouteTest, EveryFieldOfTheOptionsIsAnOptionOrAMap) {
  const auto& type = *v1::RestoreOptions::descriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const std::string& name = type.field(i)->name();
    const absl::Status status = ParseRestoreQuery(name + "=x").status();
    const bool unknown = std::string(status.message()).starts_with(name + " is no option");
    EXPECT_EQ(unknown, name.ends_with("_map")) << name;
  }
}

TEST(RestoreRouteTest, WhatIsNoOptionSaysWhatMayBe) {
  const std::pair<const char*, const char*> cases[] = {
      {"formt=png", "formt is no option; there are model, format, quality"},
      {"expert_map=true", "expert_map is no option; there are"},
      {"format=gif", "format is 'gif'; it must be one of jpeg, png, webp, tiff, bmp"},
      {"format=PNG", "format is 'PNG'; it must be one of"},
      {"format=unspecified", "it must be one of"},
      {"format=", "format is ''; it must be one of"},
      {"priority=high", "priority is 'high'; it must be one of normal, background"},
      {"metadata_policy=keep", "it must be one of preserve, strip"},
      {"quality=best", "quality is 'best'; it must be an integer"},
      {"quality=", "quality is ''"},
      {"quality=99999999999", "quality is '99999999999'"},
      {"strength=much", "strength is 'much'; it must be a number"},
      {"seed=-1", "seed is '-1'; it must be an integer in [0, 18446744073709551615]"},
      {"format=png&format=jpeg", "format stands twice"}};
  for (const auto& [query, said] : cases) {
    const absl::Status status = ParseRestoreQuery(query).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << query;
    EXPECT_EQ(ErrorReason(status), "INVALID_OPTION") << query;
    EXPECT_THAT(std::string(status.message()), HasSubstr(said));
  }
}

TEST(RestoreRouteTest, AReplyIsThePictureAndItsHeadersTellTheRest) {
  v1::RestoreResponse response;
  response.set_image("picture");
  response.set_format(v1::RestoreOptions::FORMAT_JPEG);
  response.mutable_model()->set_name("small");
  response.mutable_model()->set_version("0123456789ab");
  response.mutable_timings()->mutable_queue()->set_nanos(1'500'000);
  response.mutable_timings()->mutable_total()->set_seconds(2);
  const HttpReply reply = WriteRestoreReply(response);
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "picture");
  ASSERT_EQ(reply.headers.size(), 3U);
  EXPECT_EQ(reply.headers[0].value, "image/jpeg");
  EXPECT_EQ(reply.headers[1].value, "small@0123456789ab");
  EXPECT_EQ(
      reply.headers[2].value,
      "decode;dur=0.000, queue;dur=1.500, infer;dur=0.000, blend;dur=0.000, encode;dur=0.000, "
      "total;dur=2000.000");
}

TEST(RestoreRouteTest, AFormIsNoPicture) {
  const Plan plan = PlanRestore({.method = "POST",
                                 .path = "/v1/restore",
                                 .headers = {{"content-type", "multipart/form-data; boundary=x"}}},
                                {});
  ASSERT_TRUE(plan.refused.has_value());
  EXPECT_THAT(plan.refused->status.error_message(), HasSubstr("curl --data-binary @FILE"));
}

}  // namespace
}  // namespace deweather
