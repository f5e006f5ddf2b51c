// Every bad request gets its code, the value and the limit, and the server goes on serving.

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "tests/image/foreign_files.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

struct BadPicture {
  std::string what;
  std::string bytes;
  std::vector<std::string> said;
  std::string reason = "INVALID_IMAGE";
};

// The first box of an HEIC file.
std::string Heic() { return std::string("\0\0\0\x18", 4) + "ftypheic" + std::string(12, '\0'); }

std::string FloatTiff() {
  const std::vector<std::vector<uint8_t>> rows(4, std::vector<uint8_t>(4 * 3 * 4));
  return WriteTiff(4, 4, rows, {.bits = 32, .sample_format = 3});
}

Image Black(int width, int height) {
  Image image = NoiseImage(width, height);
  std::fill(image.samples.begin(), image.samples.end(), uint8_t{0});
  return image;
}

class BadInputTest : public RpcTest {
 protected:
  void SetUp() override {
    LimitOptions limits;
    limits.max_image_pixels = 1'000'000;
    Serve(limits);
  }

  void ExpectRefused(const BadPicture& bad) {
    const grpc::Status status = Restore(bad.bytes);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << bad.what;
    for (const std::string& words : bad.said) {
      EXPECT_THAT(status.error_message(), HasSubstr(words)) << bad.what;
    }
    EXPECT_EQ(ReasonOf(status), bad.reason) << bad.what;
    const auto request = DetailOf<google::rpc::BadRequest>(status);
    ASSERT_EQ(request.field_violations_size(), 1) << bad.what;
    EXPECT_EQ(request.field_violations(0).field(), "image") << bad.what;
    ExpectStillServes();
  }

  void ExpectOptionRefused(const v1::RestoreOptions& options, const std::string& field,
                           const std::vector<std::string>& said, const std::string& reason) {
    const grpc::Status status = Restore(Png(NoiseImage(8, 8, 4)), options);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << field;
    for (const std::string& words : said) EXPECT_THAT(status.error_message(), HasSubstr(words));
    EXPECT_EQ(ReasonOf(status), reason) << field;
    const auto request = DetailOf<google::rpc::BadRequest>(status);
    ASSERT_EQ(request.field_violations_size(), 1) << field;
    EXPECT_EQ(request.field_violations(0).field(), field);
    EXPECT_EQ(request.field_violations(0).description(), status.error_message());
    ExpectStillServes();
  }
};

TEST_F(BadInputTest, NotAPicture) {
  ExpectRefused({"zero bytes", "", {"0 bytes"}});
  ExpectRefused({"text", "this is no picture at all", {}});
  ExpectRefused({"noise", std::string(100'000, '\x5a'), {}});
}

TEST_F(BadInputTest, TruncatedPicture) {
  const std::string png = Png(NoiseImage(64, 64));
  ExpectRefused({"half a PNG", png.substr(0, png.size() / 2), {}});
  ExpectRefused({"a signature alone", png.substr(0, 8), {}});
  const std::string jpeg = EncodeImage(NoiseImage(64, 64), {.format = ImageFormat::kJpeg}).value();
  ExpectRefused({"half a JPEG", jpeg.substr(0, jpeg.size() / 2), {}});
}

TEST_F(BadInputTest, PixelLimit) {
  const std::string bomb = ClaimingPng(20'000, 20'000);
  EXPECT_LE(bomb.size(), 80u);
  ExpectRefused({"a bomb", bomb, {"20000x20000", "1000000"}, "PIXEL_LIMIT"});
  ExpectRefused(
      {"a large one", Png(NoiseImage(1001, 1000)), {"1001x1000", "1000000"}, "PIXEL_LIMIT"});
}

TEST_F(BadInputTest, UnsupportedFormatsAreNamed) {
  ExpectRefused({"HEIC", Heic(), {"HEIC"}});
  ExpectRefused(
      {"animated WebP", WriteAnimatedWebp(NoiseImage(8, 8), Black(8, 8)), {"animated WebP"}});
  ExpectRefused({"float TIFF", FloatTiff(), {"float TIFF"}});
  ExpectRefused({"CMYK JPEG", WriteJpeg(NoiseImage(16, 16, 4), {.cmyk = true}), {"CMYK JPEG"}});
  ExpectRefused({"GIF", "GIF89a" + std::string(20, '\0'), {"GIF"}});
}

TEST_F(BadInputTest, OptionsOutOfRange) {
  v1::RestoreOptions options;
  options.set_quality(101);
  ExpectOptionRefused(options, "options.quality", {"101", "100"}, "INVALID_OPTION");
  options.set_quality(-1);
  ExpectOptionRefused(options, "options.quality", {"-1"}, "INVALID_OPTION");
  for (const float strength : {1.5f, -0.1f, std::numeric_limits<float>::quiet_NaN()}) {
    v1::RestoreOptions mixed;
    mixed.set_strength(strength);
    ExpectOptionRefused(mixed, "options.strength", {"strength is ", "1"}, "INVALID_OPTION");
  }
}

TEST_F(BadInputTest, UnknownEnumNumbers) {
  v1::RestoreOptions options;
  options.set_format(static_cast<v1::RestoreOptions::Format>(6));
  ExpectOptionRefused(options, "options.format", {"format is 6", "0..5"}, "INVALID_OPTION");
  v1::RestoreOptions policy;
  policy.set_metadata_policy(static_cast<v1::RestoreOptions::MetadataPolicy>(-7));
  ExpectOptionRefused(policy, "options.metadata_policy", {"is -7", "0..2"}, "INVALID_OPTION");
}

TEST_F(BadInputTest, WhatAFormatCannotHold) {
  v1::RestoreOptions options;
  options.set_format(v1::RestoreOptions::FORMAT_JPEG);  // and the picture has alpha
  ExpectOptionRefused(options, "options.format", {"alpha"}, "NOT_ENCODABLE");
}

}  // namespace
}  // namespace deweather
