#include "server/rpc/inference_tensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <utility>

#include "model/base/error_reason.h"

namespace deweather {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kManyPixels = 1'000'000;

template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <typename T>
std::vector<T> ValuesOf(const std::string& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<uint16_t> Samples16(const Image& image) {
  return ValuesOf<uint16_t>({image.samples.begin(), image.samples.end()});
}

// One row, three values a pixel.
PictureTensor Row(SampleType type, size_t values) {
  return {.type = type,
          .layout = TensorLayout::kNhwc,
          .count = 1,
          .width = static_cast<int>(values / 3),
          .height = 1};
}

template <typename T>
std::vector<T> ThereAndBack(SampleType type, std::vector<T> values) {
  while (values.size() % 3 != 0) values.push_back(T{0});
  const PictureTensor tensor = Row(type, values.size());
  const auto image = ToImage(tensor, 0, BytesOf(values));
  EXPECT_TRUE(image.ok()) << image.status();
  return ValuesOf<T>(FromImage(tensor, *image));
}

float FromHalf(uint16_t bits) {
  const int exponent = bits >> 10;
  const int mantissa = bits & 0x3FF;
  if (exponent == 0) return std::ldexp(static_cast<float>(mantissa), -24);
  return std::ldexp(1 + static_cast<float>(mantissa) / 1024, exponent - 15);
}

float FromBrain(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

TEST(InferenceTensorsTest, PlanesBecomePixelsAndPlanesAgain) {
  const PictureTensor tensor{.type = SampleType::kUint8,
                             .layout = TensorLayout::kNchw,
                             .count = 2,
                             .width = 2,
                             .height = 1};
  const std::string bytes = BytesOf<uint8_t>({9, 9, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6});
  const Image image = ToImage(tensor, 1, bytes).value();
  EXPECT_THAT(image.samples, ElementsAre(1, 3, 5, 2, 4, 6));
  EXPECT_EQ(image.width, 2);
  EXPECT_EQ(image.height, 1);
  EXPECT_EQ(image.channels, 3);
  EXPECT_EQ(image.bytes_per_sample, 1);
  EXPECT_EQ(FromImage(tensor, image), bytes.substr(6));
}

TEST(InferenceTensorsTest, PixelsStayPixels) {
  const PictureTensor tensor{.type = SampleType::kUint8,
                             .layout = TensorLayout::kNhwc,
                             .count = 1,
                             .width = 1,
                             .height = 2};
  const std::string bytes = BytesOf<uint8_t>({1, 2, 3, 4, 5, 6});
  const Image image = ToImage(tensor, 0, bytes).value();
  EXPECT_THAT(image.samples, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(FromImage(tensor, image), bytes);
}

TEST(InferenceTensorsTest, FloatsBecome16Bits) {
  const PictureTensor tensor = Row(SampleType::kFp32, 6);
  const std::string bytes = BytesOf<float>({0, 1, 0.5f, -0.0f, 1.0f / 255, 1.0f / 65535});
  const Image image = ToImage(tensor, 0, bytes).value();
  EXPECT_EQ(image.bytes_per_sample, 2);
  EXPECT_THAT(Samples16(image), ElementsAre(0, 65535, 32768, 0, 257, 1));
}

TEST(InferenceTensorsTest, FractionsOf255ComeBackAsTheyWere) {
  std::vector<float> values;
  for (int k = 0; k <= 255; ++k) values.push_back(static_cast<float>(k) / 255);
  std::vector<float> back = ThereAndBack(SampleType::kFp32, values);
  back.resize(values.size());
  EXPECT_EQ(back, values);
}

TEST(InferenceTensorsTest, AnyFloatComesBackToHalfAStep) {
  std::mt19937 random(1);
  std::vector<float> values;
  for (int i = 0; i < 30'000; ++i) values.push_back(static_cast<float>(random()) / 0x1p32f);
  const std::vector<float> back = ThereAndBack(SampleType::kFp32, values);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(back[i], values[i], 0.501 / 65535);
}

// Every value of [0,1] that the datatype has.
TEST(InferenceTensorsTest, EveryHalfComesBackToHalfAStep) {
  constexpr uint16_t kOne = 0x3C00;
  std::vector<uint16_t> values;
  for (uint16_t bits = 0; bits <= kOne; ++bits) values.push_back(bits);
  const std::vector<uint16_t> back = ThereAndBack(SampleType::kFp16, values);
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = FromHalf(values[i]);
    ASSERT_NEAR(FromHalf(back[i]), value, 0.501 / 65535 + value / 4096) << values[i];
  }
  EXPECT_EQ(back[0], 0);
  EXPECT_EQ(back[kOne], kOne);
}

TEST(InferenceTensorsTest, EveryBf16ComesBackToHalfAStep) {
  constexpr uint16_t kOne = 0x3F80;
  std::vector<uint16_t> values;
  for (uint16_t bits = 0; bits <= kOne; ++bits) values.push_back(bits);
  const std::vector<uint16_t> back = ThereAndBack(SampleType::kBf16, values);
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = FromBrain(values[i]);
    ASSERT_NEAR(FromBrain(back[i]), value, 0.501 / 65535 + value / 512) << values[i];
  }
  EXPECT_EQ(back[kOne], kOne);
}

TEST(InferenceTensorsTest, RoundsToTheNearestHalf) {
  Image image;
  image.width = 1;
  image.height = 1;
  image.bytes_per_sample = 2;
  image.samples.resize(6);
  // 32774/65535 is 0.50010..., nearest to 0.5 + 0 * 2^-11 ... as IEEE 754 rounds it.
  const std::vector<uint16_t> samples = {0, 32774, 65535};
  std::memcpy(image.samples.data(), samples.data(), 6);
  const auto halves = ValuesOf<uint16_t>(FromImage(Row(SampleType::kFp16, 3), image));
  EXPECT_THAT(halves, ElementsAre(0, 0x3800, 0x3C00));
  const auto brains = ValuesOf<uint16_t>(FromImage(Row(SampleType::kBf16, 3), image));
  EXPECT_THAT(brains, ElementsAre(0, 0x3F00, 0x3F80));
}

TEST(InferenceTensorsTest, ValuesOutsideAreNamedWithTheirPlace) {
  const PictureTensor tensor{.type = SampleType::kFp32,
                             .layout = TensorLayout::kNchw,
                             .count = 2,
                             .width = 2,
                             .height = 2};
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::nanf(""), infinity, -infinity, -0.25f, 1.25f}) {
    std::vector<float> values(24, 0.5f);
    values[12 + 4 + 2] = bad;  // picture 1, green, second row, first column
    const auto image = ToImage(tensor, 1, BytesOf(values));
    EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_EQ(ErrorReason(image.status()), "INVALID_TENSOR");
    EXPECT_THAT(image.status().message(), HasSubstr("image[1,1,1,0] is "));
    EXPECT_THAT(image.status().message(), HasSubstr("it must be in [0,1]"));
    EXPECT_TRUE(ToImage(tensor, 0, BytesOf(values)).ok());
  }
}

// The neighbours of 0 and of 1.
TEST(InferenceTensorsTest, OneIsTheLastAndZeroTheFirst) {
  const auto taken = [](SampleType type, const auto& value) {
    return ToImage(Row(type, 3), 0, BytesOf(std::vector(3, value))).ok();
  };
  EXPECT_FALSE(taken(SampleType::kFp32, std::nextafter(1.0f, 2.0f)));
  EXPECT_FALSE(taken(SampleType::kFp32, std::nextafter(0.0f, -1.0f)));
  for (const auto& [type, one] :
       {std::pair(SampleType::kFp16, 0x3C00), {SampleType::kBf16, 0x3F80}}) {
    EXPECT_TRUE(taken(type, static_cast<uint16_t>(one)));
    EXPECT_TRUE(taken(type, uint16_t{0x8000}));
    EXPECT_FALSE(taken(type, static_cast<uint16_t>(one + 1)));
    EXPECT_FALSE(taken(type, uint16_t{0x8001}));
  }
}

TEST(InferenceTensorsTest, PlaceOfAPixel) {
  const PictureTensor tensor{.type = SampleType::kFp16,
                             .layout = TensorLayout::kNhwc,
                             .count = 1,
                             .width = 2,
                             .height = 2};
  std::vector<uint16_t> values(12, 0x3800);
  values[6 + 3 + 2] = 0x7C00;  // infinity: second row, second column, blue
  const auto image = ToImage(tensor, 0, BytesOf(values));
  EXPECT_THAT(image.status().message(), HasSubstr("image[0,1,1,2] is inf"));
}

TEST(InferenceTensorsTest, ShapesOfBothLayouts) {
  const PictureTensor planes =
      ParsePictureTensor(SampleType::kFp32, TensorLayout::kNchw, {2, 3, 20, 30}, kManyPixels)
          .value();
  const PictureTensor pixels =
      ParsePictureTensor(SampleType::kBf16, TensorLayout::kNhwc, {2, 20, 30, 3}, kManyPixels)
          .value();
  for (const PictureTensor& tensor : {planes, pixels}) {
    EXPECT_EQ(tensor.count, 2);
    EXPECT_EQ(tensor.height, 20);
    EXPECT_EQ(tensor.width, 30);
  }
  EXPECT_EQ(planes.picture_bytes(), 20 * 30 * 3 * 4);
  EXPECT_EQ(pixels.picture_bytes(), 20 * 30 * 3 * 2);
  EXPECT_EQ(planes.info().DecodedBytes(), 20 * 30 * 3 * 2);
}

TEST(InferenceTensorsTest, WrongShapesAreNamed) {
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  struct Case {
    std::vector<int64_t> shape;
    const char* says;
  };
  for (const Case& wrong : {Case{{}, "is []; it must be [N,3,H,W]"},
                            {{3, 20, 30}, "is [3,20,30]; it must be [N,3,H,W]"},
                            {std::vector<int64_t>(100, 1), "[1,1,1,1,1,1,1,1,...]"},
                            {{1, 4, 20, 30}, "3 channels"},
                            {{1, 20, 30, 3}, "3 channels"},
                            {{0, 3, 20, 30}, "1 to 64 pictures"},
                            {{65, 3, 20, 30}, "1 to 64 pictures"},
                            {{-1, 3, 20, 30}, "1 to 64 pictures"},
                            {{1, 3, 0, 30}, "a side must be 1 to 2147483647"},
                            {{1, 3, 20, -30}, "a side must be 1 to 2147483647"},
                            {{1, 3, 20, kLargest}, "a side must be 1 to 2147483647"}}) {
    const auto tensor =
        ParsePictureTensor(SampleType::kUint8, TensorLayout::kNchw, wrong.shape, kManyPixels);
    EXPECT_EQ(ErrorReason(tensor.status()), "INVALID_TENSOR") << wrong.says;
    EXPECT_THAT(tensor.status().message(), HasSubstr(wrong.says));
  }
}

TEST(InferenceTensorsTest, PixelsOfAllPicturesAreLimited) {
  const auto parse = [](int64_t count, int64_t side) {
    return ParsePictureTensor(SampleType::kUint8, TensorLayout::kNchw, {count, 3, side, side},
                              kManyPixels);
  };
  EXPECT_TRUE(parse(1, 1000).ok());
  EXPECT_TRUE(parse(4, 500).ok());
  for (const auto& tensor : {parse(1, 1001), parse(2, 1000), parse(64, int64_t{1} << 30)}) {
    EXPECT_EQ(ErrorReason(tensor.status()), "PIXEL_LIMIT");
    EXPECT_THAT(tensor.status().message(), HasSubstr("the limit of 1000000"));
  }
}

TEST(InferenceTensorsTest, Datatypes) {
  for (const SampleType type :
       {SampleType::kUint8, SampleType::kFp16, SampleType::kBf16, SampleType::kFp32}) {
    EXPECT_EQ(ParseSampleType(std::string(DatatypeOf(type))).value(), type);
  }
  for (const char* wrong : {"", "uint8", "FP64", "BYTES", "INT8"}) {
    EXPECT_EQ(ErrorReason(ParseSampleType(wrong).status()), "INVALID_TENSOR") << wrong;
  }
}

TEST(InferenceTensorsTest, ElementsComeApartAgain) {
  std::string bytes;
  for (const char* element : {"one", "", "three"}) AppendElement(element, bytes);
  EXPECT_EQ(bytes.substr(0, 7), std::string("\3\0\0\0one", 7));
  EXPECT_THAT(SplitElements(bytes, 3).value(), ElementsAre("one", "", "three"));
}

TEST(InferenceTensorsTest, LengthsThatLie) {
  std::string two;
  for (const char* element : {"one", "two"}) AppendElement(element, two);
  const auto fails = [](const std::string& bytes, int64_t count, const char* says) {
    const auto elements = SplitElements(bytes, count);
    EXPECT_EQ(ErrorReason(elements.status()), "INVALID_TENSOR") << says;
    EXPECT_THAT(elements.status().message(), HasSubstr(says));
  };
  fails(two, 1, "holds 1 elements and 7 bytes more; its shape says 1");
  fails(two, 3, "holds 2 elements and 0 bytes more; its shape says 3");
  fails("", 1, "holds 0 elements");
  fails(two.substr(0, 13), 2, "element 1 of image_bytes has 3 bytes");
  fails(two.substr(0, 9), 2, "element 1 of image_bytes");
  fails("\xff\xff\xff\xff", 1, "has 4294967295 bytes");
}

}  // namespace
}  // namespace deweather
