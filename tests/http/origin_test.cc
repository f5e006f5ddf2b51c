#include "server/http/origin.h"

#include <gmock/gmock.h>

#include <string>

#include "model/base/error_reason.h"

namespace deweather {
namespace {

TEST(OriginTest, ItsOwnPageMay) {
  const std::pair<const char*, const char*> own[] = {
      {"http://localhost:8080", "localhost:8080"},
      {"https://photos.example.org", "photos.example.org"},
      {"https://photos.example.org", "photos.example.org:443"},
      {"https://photos.example.org:443", "Photos.Example.org"},
      {"http://photos.example.org:80", "photos.example.org"},
      {"http://[::1]", "[::1]:80"},
      {"http://[::1]:8080", "[::1]:8080"}};
  for (const auto& [origin, host] : own) EXPECT_TRUE(CheckOrigin(origin, host).ok()) << origin;
}

TEST(OriginTest, NoOtherPageMay) {
  const std::pair<const char*, const char*> foreign[] = {
      {"null", "localhost:8080"},
      {"", "localhost:8080"},
      {"http://localhost:8081", "localhost:8080"},
      {"http://localhost", "localhost:8080"},
      {"https://photos.example.org", "photos.example.org:80"},
      {"https://photos.example.org.evil.example", "photos.example.org"},
      {"https://evil.example", "photos.example.org"},
      {"file://localhost:8080", "localhost:8080"},
      {"http://http://localhost:8080", "localhost:8080"}};
  for (const auto& [origin, host] : foreign) {
    const absl::Status status = CheckOrigin(origin, host);
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << origin;
    EXPECT_EQ(ErrorReason(status), "FOREIGN_ORIGIN");
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(host));
  }
}

TEST(OriginTest, NamesOfThisMachine) {
  for (const char* own : {"127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8080", "localhost",
                          "LOCALHOST:1", "192.0.2.1:80", "server", "server:8080"}) {
    EXPECT_TRUE(CheckHostIsLocal(own).ok()) << own;
  }
  for (const char* other : {"", "evil.example", "evil.example:8080", "localhost.evil.example",
                            "127.0.0.1.evil.example", ":80"}) {
    const absl::Status status = CheckHostIsLocal(other);
    EXPECT_EQ(ErrorReason(status), "FOREIGN_HOST") << other;
  }
}

}  // namespace
}  // namespace deweather
