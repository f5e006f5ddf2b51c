// Tensors of pictures, as the Open Inference Protocol has them, into pictures and back.
//
// Math     floats become samples of 16 bits and come back as sample / 65535: off by at most 1/131070, and by
//          what their datatype rounds; k/255 comes back as it was
// Shapes   [N,3,H,W] (NCHW) or [N,H,W,3] (NHWC), RGB, rows without padding, little endian
// Threads  thread-safe: pure functions
// Errors   INVALID_ARGUMENT INVALID_TENSOR a datatype, a shape, a number of bytes or a value that cannot be;
//          PIXEL_LIMIT more pixels than the limit. Messages name the value, and where it is

#ifndef DEWEATHER_SERVER_RPC_INFERENCE_TENSORS_H_
#define DEWEATHER_SERVER_RPC_INFERENCE_TENSORS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/image/codec.h"
#include "model/image/image.h"

namespace deweather {

// Pictures of one request, at most.
inline constexpr int64_t kMaxPictures = 64;

enum class SampleType { kUint8, kFp16, kBf16, kFp32 };
enum class TensorLayout { kNchw, kNhwc };

// "UINT8", "FP16", "BF16", "FP32".
std::string_view DatatypeOf(SampleType type);
absl::StatusOr<SampleType> ParseSampleType(const std::string& datatype);

// Of N pictures of one size.
struct PictureTensor {
  SampleType type = SampleType::kUint8;
  TensorLayout layout = TensorLayout::kNchw;
  int64_t count = 0;  // 1..kMaxPictures
  int width = 0;      // both at least 1
  int height = 0;

  int64_t pixels() const { return int64_t{width} * height; }  // of one picture
  int64_t picture_bytes() const;
  ImageInfo info() const;  // of each of the pictures that ToImage makes
};

// `max_pixels` is the limit of all pictures together.
absl::StatusOr<PictureTensor> ParsePictureTensor(SampleType type, TensorLayout layout,
                                                 absl::Span<const int64_t> shape,
                                                 int64_t max_pixels);

// `bytes` are those of the whole tensor.
// REQUIRES: 0 <= index < tensor.count, and as many bytes as its pictures have together.
absl::StatusOr<Image> ToImage(const PictureTensor& tensor, int64_t index, std::string_view bytes);

// The bytes of one picture.
// REQUIRES: the image is one that ToImage made of such a tensor, with other samples.
std::string FromImage(const PictureTensor& tensor, const Image& image);

// What the raw form of a tensor of BYTES holds: each element behind its length, 4 bytes.
absl::StatusOr<std::vector<std::string_view>> SplitElements(std::string_view bytes, int64_t count);
void AppendElement(std::string_view element, std::string& bytes);

// Raw form of floats.
void AppendFloats(absl::Span<const float> values, std::string& bytes);

// With the reason INVALID_TENSOR.
absl::Status InvalidTensor(std::string_view message);

// As messages have it: "[1,3,-1]".
std::string ShownShape(absl::Span<const int64_t> shape);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_INFERENCE_TENSORS_H_
