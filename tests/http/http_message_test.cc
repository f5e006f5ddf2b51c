#include "server/http/http_message.h"

#include <gmock/gmock.h>

#include "model/base/error_reason.h"

namespace deweather {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(HttpMessageTest, HeadersByName) {
  const HttpRequest request = {
      .headers = {{"origin", "a"}, {"x", "1"}, {"x", "2"}, {"content-type", "Image/PNG ; q=1"}}};
  EXPECT_THAT(request.All("x"), ElementsAre("1", "2"));
  EXPECT_EQ(request.One("x"), std::nullopt);
  EXPECT_EQ(request.One("y"), std::nullopt);
  EXPECT_EQ(request.One("origin"), "a");
  EXPECT_EQ(request.content_type(), "image/png");
  EXPECT_EQ(HttpRequest().content_type(), "");
}

TEST(HttpMessageTest, ATargetIsAPathAndAQuery) {
  const auto target = ParseTarget("/v1/restore?format=png&a=b?c");
  ASSERT_TRUE(target.has_value());
  EXPECT_EQ(target->path, "/v1/restore");
  EXPECT_EQ(target->query, "format=png&a=b?c");
  EXPECT_EQ(ParseTarget("/")->query, "");
  for (const char* none : {"", "*", "http://localhost/", "v1/restore", "?a=b"}) {
    EXPECT_FALSE(ParseTarget(none).has_value()) << none;
  }
}

TEST(HttpMessageTest, AQueryIsNamesAndValues) {
  const auto options = ParseQuery("&model=a%2Db&task=light+rain&x=&");
  ASSERT_TRUE(options.ok()) << options.status();
  ASSERT_EQ(options->size(), 3U);
  EXPECT_EQ((*options)[0].name, "model");
  EXPECT_EQ((*options)[0].value, "a-b");
  EXPECT_EQ((*options)[1].value, "light rain");
  EXPECT_EQ((*options)[2].value, "");
  EXPECT_TRUE(ParseQuery("")->empty());
}

TEST(HttpMessageTest, WhatIsNoQuerySaysWhy) {
  const std::pair<const char*, const char*> cases[] = {
      {"model", "model has no value; an option is NAME=VALUE"},
      {"a=1&a=2", "a stands twice"},
      {"a=%", "two hexadecimal digits"},
      {"a=%4", "%4 has a %"},
      {"a=%4g", "%4g has a %"},
      {"%zz=1", "%zz has a %"}};
  for (const auto& [query, said] : cases) {
    const absl::Status status = ParseQuery(query).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << query;
    EXPECT_EQ(ErrorReason(status), "INVALID_OPTION") << query;
    EXPECT_THAT(std::string(status.message()), HasSubstr(said));
  }
}

}  // namespace
}  // namespace deweather
