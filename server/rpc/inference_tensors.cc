#include "server/rpc/inference_tensors.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/base/error_reason.h"
#include "model/base/name.h"
#include "model/image/rgb_rows.h"

namespace deweather {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are little endian");

constexpr size_t kShownDims = 8;
constexpr size_t kLengthBytes = 4;

// Each kind of sample: how a tensor has it, how a picture has it, and the ways between.
struct Uint8Samples {
  using Stored = uint8_t;
  using Sample = uint8_t;
  static bool IsGood(Stored /*stored*/) { return true; }
  static Sample Load(Stored stored) { return stored; }
  static Stored Store(Sample sample) { return sample; }
  static float Value(Stored stored) { return stored; }
};

constexpr float kMostSample = 65535.0f;

uint16_t SampleOf(float value) { return static_cast<uint16_t>(value * kMostSample + 0.5f); }

// The bits of a float of [0,1] are at most those of 1, or those of -0.
struct Fp32Samples {
  using Stored = uint32_t;
  using Sample = uint16_t;
  static bool IsGood(Stored stored) { return stored <= 0x3F800000u || stored == 0x80000000u; }
  static Sample Load(Stored stored) { return SampleOf(Value(stored)); }
  static Stored Store(Sample sample) { return std::bit_cast<uint32_t>(sample / kMostSample); }
  static float Value(Stored stored) { return std::bit_cast<float>(stored); }
};

struct Bf16Samples {
  using Stored = uint16_t;
  using Sample = uint16_t;
  static bool IsGood(Stored stored) { return stored <= 0x3F80 || stored == 0x8000; }
  static Sample Load(Stored stored) { return SampleOf(Value(stored)); }
  // Rounds to nearest, ties to even.
  static Stored Store(Sample sample) {
    const auto bits = std::bit_cast<uint32_t>(sample / kMostSample);
    return static_cast<Stored>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
  }
  static float Value(Stored stored) { return std::bit_cast<float>(uint32_t{stored} << 16); }
};

// Without branches, so that the compiler makes vectors of them.
struct Fp16Samples {
  using Stored = uint16_t;
  using Sample = uint16_t;
  static constexpr uint32_t kBiasChange = 127 - 15;  // of the exponents
  static bool IsGood(Stored stored) { return stored <= 0x3C00 || stored == 0x8000; }
  // Of a good one: with the exponent where a float has it, the value is 2^112 too small.
  static Sample Load(Stored stored) {
    return SampleOf(std::bit_cast<float>((stored & 0x7FFFu) << 13) * 0x1p112f);
  }
  // Rounds to nearest, ties to even; below 2^-14, where numbers are multiples of 2^-24, there are no ties.
  static Stored Store(Sample sample) {
    const float value = sample / kMostSample;
    const auto bits = std::bit_cast<uint32_t>(value);
    const auto small = static_cast<uint32_t>(static_cast<int32_t>(value * 0x1p24f + 0.5f));
    const uint32_t normal = ((bits + 0xFFF + ((bits >> 13) & 1)) >> 13) - (kBiasChange << 10);
    return static_cast<Stored>(value < 0x1p-14f ? small : normal);
  }
  static float Value(Stored stored) {
    const float size = std::bit_cast<float>((stored & 0x7FFFu) << 13) * 0x1p112f;
    const bool special = (stored & 0x7C00u) == 0x7C00u;  // infinite, or none
    const float value =
        special ? std::bit_cast<float>(0x7F800000u | (stored & 0x3FFu) << 13) : size;
    return (stored & 0x8000u) != 0 ? -value : value;
  }
};

// Calls `work` with the kind of sample that a tensor has.
template <typename Work>
auto WithSamples(SampleType type, const Work& work) {
  switch (type) {
    case SampleType::kUint8:
      return work(Uint8Samples());
    case SampleType::kFp16:
      return work(Fp16Samples());
    case SampleType::kBf16:
      return work(Bf16Samples());
    case SampleType::kFp32:
      break;
  }
  return work(Fp32Samples());
}

template <typename T>
T At(const char* bytes, size_t index) {
  T value;
  std::memcpy(&value, bytes + index * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
void Put(T value, char* bytes, size_t index) {
  std::memcpy(bytes + index * sizeof(T), &value, sizeof(T));
}

// The place of a sample in its tensor, as messages have it.
std::string ShownPlace(const PictureTensor& tensor, int64_t picture, size_t sample) {
  const auto at = static_cast<int64_t>(sample);
  const int64_t width = tensor.width;
  const int64_t pixels = tensor.pixels();
  if (tensor.layout == TensorLayout::kNchw) {
    return ShownShape({picture, at / pixels, at % pixels / width, at % width});
  }
  return ShownShape({picture, at / 3 / width, at / 3 % width, at % 3});
}

// Of the first sample that no picture can have. One pass without a branch, as nearly always there is none.
template <typename Samples>
absl::Status CheckValues(const PictureTensor& tensor, int64_t picture, const char* bytes) {
  using Stored = typename Samples::Stored;
  const auto samples = static_cast<size_t>(tensor.pixels()) * 3;
  bool good = true;
  for (size_t i = 0; i < samples; ++i) good &= Samples::IsGood(At<Stored>(bytes, i));
  if (good) return absl::OkStatus();
  size_t bad = 0;
  while (Samples::IsGood(At<Stored>(bytes, bad))) ++bad;
  return InvalidTensor(absl::StrFormat("image%s is %s; it must be in [0,1]",
                                       ShownPlace(tensor, picture, bad),
                                       ShownNumber(Samples::Value(At<Stored>(bytes, bad)))));
}

// So many samples stay in the first-level cache.
constexpr size_t kRun = 256;

// Of one picture: from planes, or from pixels of three samples, to those.
template <typename Samples>
void ReadSamples(const PictureTensor& tensor, const char* in, typename Samples::Sample* out) {
  const auto pixels = static_cast<size_t>(tensor.pixels());
  const auto load = [in](size_t at, size_t count, typename Samples::Sample* to) {
    for (size_t i = 0; i < count; ++i) {
      to[i] = Samples::Load(At<typename Samples::Stored>(in, at + i));
    }
  };
  if (tensor.layout == TensorLayout::kNhwc) return load(0, pixels * 3, out);
  typename Samples::Sample planes[3][kRun];
  for (size_t at = 0; at < pixels; at += kRun) {
    const size_t run = std::min(kRun, pixels - at);
    for (size_t channel = 0; channel < 3; ++channel) {
      load(channel * pixels + at, run, planes[channel]);
    }
    JoinPlanes(planes[0], planes[1], planes[2], run, out + 3 * at);
  }
}

template <typename Samples>
void WriteSamples(const PictureTensor& tensor, const typename Samples::Sample* in, char* out) {
  const auto pixels = static_cast<size_t>(tensor.pixels());
  const auto store = [out](const typename Samples::Sample* from, size_t count, size_t at) {
    for (size_t i = 0; i < count; ++i) Put(Samples::Store(from[i]), out, at + i);
  };
  if (tensor.layout == TensorLayout::kNhwc) return store(in, pixels * 3, 0);
  typename Samples::Sample planes[3][kRun];
  for (size_t at = 0; at < pixels; at += kRun) {
    const size_t run = std::min(kRun, pixels - at);
    SplitPlanes(in + 3 * at, run, planes[0], planes[1], planes[2]);
    for (size_t channel = 0; channel < 3; ++channel) {
      store(planes[channel], run, channel * pixels + at);
    }
  }
}

int64_t StoredBytes(SampleType type) {
  return WithSamples(type, [](auto samples) {
    return static_cast<int64_t>(sizeof(typename decltype(samples)::Stored));
  });
}

// What is wrong with the sides of a tensor; it has four.
std::optional<std::string> WrongSides(TensorLayout layout, absl::Span<const int64_t> shape) {
  const size_t channels = layout == TensorLayout::kNchw ? 1 : 3;
  if (shape[0] < 1 || shape[0] > kMaxPictures) {
    return absl::StrFormat("it must hold 1 to %d pictures", kMaxPictures);
  }
  if (shape[channels] != 3) return "a picture must have 3 channels";
  for (const int64_t side : shape) {
    if (side < 1 || side > std::numeric_limits<int32_t>::max()) {
      return absl::StrFormat("a side must be 1 to %d", std::numeric_limits<int32_t>::max());
    }
  }
  return std::nullopt;
}

}  // namespace

absl::Status InvalidTensor(std::string_view message) {
  return WithReason(absl::InvalidArgumentError({message.data(), message.size()}), "INVALID_TENSOR");
}

std::string ShownShape(absl::Span<const int64_t> shape) {
  const char* const rest = shape.size() > kShownDims ? ",..." : "";
  return absl::StrCat("[", absl::StrJoin(shape.first(std::min(shape.size(), kShownDims)), ","),
                      rest, "]");
}

std::string_view DatatypeOf(SampleType type) {
  switch (type) {
    case SampleType::kUint8:
      return "UINT8";
    case SampleType::kFp16:
      return "FP16";
    case SampleType::kBf16:
      return "BF16";
    case SampleType::kFp32:
      break;
  }
  return "FP32";
}

absl::StatusOr<SampleType> ParseSampleType(const std::string& datatype) {
  for (const SampleType type :
       {SampleType::kUint8, SampleType::kFp16, SampleType::kBf16, SampleType::kFp32}) {
    if (datatype == DatatypeOf(type)) return type;
  }
  return InvalidTensor(absl::StrFormat(
      "datatype of image is '%s'; it must be UINT8, FP32, FP16 or BF16", ShownText(datatype)));
}

int64_t PictureTensor::picture_bytes() const { return pixels() * 3 * StoredBytes(type); }

ImageInfo PictureTensor::info() const {
  return {.width = width,
          .height = height,
          .channels = 3,
          .bytes_per_sample = type == SampleType::kUint8 ? 1 : 2};
}

absl::StatusOr<PictureTensor> ParsePictureTensor(SampleType type, TensorLayout layout,
                                                 absl::Span<const int64_t> shape,
                                                 int64_t max_pixels) {
  const bool planes = layout == TensorLayout::kNchw;
  if (shape.size() != 4) {
    return InvalidTensor(absl::StrFormat("shape of image is %s; it must be %s", ShownShape(shape),
                                         planes ? "[N,3,H,W]" : "[N,H,W,3]"));
  }
  const std::optional<std::string> wrong = WrongSides(layout, shape);
  if (wrong.has_value()) {
    const char* const as = planes ? "as [N,3,H,W]" : "as [N,H,W,3]";
    return InvalidTensor(
        absl::StrFormat("shape of image is %s, read %s; %s", ShownShape(shape), as, *wrong));
  }
  const int64_t height = shape[planes ? 2 : 1];
  const int64_t width = shape[planes ? 3 : 2];
  if (height > max_pixels / shape[0] / width) {
    return WithReason(absl::InvalidArgumentError(
                          absl::StrFormat("image of shape %s has more pixels than the limit of %d",
                                          ShownShape(shape), max_pixels)),
                      "PIXEL_LIMIT");
  }
  return PictureTensor{.type = type,
                       .layout = layout,
                       .count = shape[0],
                       .width = static_cast<int>(width),
                       .height = static_cast<int>(height)};
}

absl::StatusOr<Image> ToImage(const PictureTensor& tensor, int64_t index, std::string_view bytes) {
  const char* const begin = bytes.data() + index * tensor.picture_bytes();
  return WithSamples(tensor.type, [&](auto samples) -> absl::StatusOr<Image> {
    using Samples = decltype(samples);
    absl::Status status = CheckValues<Samples>(tensor, index, begin);
    if (!status.ok()) return status;
    Image image;
    image.width = tensor.width;
    image.height = tensor.height;
    image.bytes_per_sample = sizeof(typename Samples::Sample);
    image.samples.resize(image.row_bytes() * static_cast<size_t>(image.height));
    ReadSamples<Samples>(tensor, begin,
                         reinterpret_cast<typename Samples::Sample*>(image.samples.data()));
    return image;
  });
}

std::string FromImage(const PictureTensor& tensor, const Image& image) {
  std::string bytes(static_cast<size_t>(tensor.picture_bytes()), '\0');
  WithSamples(tensor.type, [&](auto samples) {
    using Samples = decltype(samples);
    WriteSamples<Samples>(tensor,
                          reinterpret_cast<const typename Samples::Sample*>(image.samples.data()),
                          bytes.data());
  });
  return bytes;
}

absl::StatusOr<std::vector<std::string_view>> SplitElements(std::string_view bytes, int64_t count) {
  std::vector<std::string_view> elements;
  std::string_view rest = bytes;
  while (!rest.empty()) {
    if (static_cast<int64_t>(elements.size()) == count) break;
    const size_t length = rest.size() < kLengthBytes ? 0 : At<uint32_t>(rest.data(), 0);
    if (rest.size() < kLengthBytes + length) {
      return InvalidTensor(absl::StrFormat(
          "element %d of image_bytes has %d bytes behind its length, which takes 4; %d are left",
          elements.size(), length, rest.size()));
    }
    elements.push_back(rest.substr(kLengthBytes, length));
    rest.remove_prefix(kLengthBytes + length);
  }
  if (static_cast<int64_t>(elements.size()) == count && rest.empty()) return elements;
  return InvalidTensor(
      absl::StrFormat("image_bytes holds %d elements and %d bytes more; its shape says %d elements",
                      elements.size(), rest.size(), count));
}

void AppendElement(std::string_view element, std::string& bytes) {
  char length[kLengthBytes];
  Put(static_cast<uint32_t>(element.size()), length, 0);
  bytes.append(length, kLengthBytes);
  bytes.append(element);
}

void AppendFloats(absl::Span<const float> values, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

}  // namespace deweather
