// The JSON of an infer request of the Open Inference Protocol's REST form, as the message that its gRPC form has.
// Numbers become floats as they are read, without a tree in between: what is in memory is at most twice the text, and
// twice that while floats become bytes.
//
// Math     numbers of `data` are rounded to floats; a whole number of 0 to 255 becomes itself
// Threads  thread-safe: a pure function
// Errors   INVALID_ARGUMENT MALFORMED_MESSAGE no JSON, or not of this form: messages name the field, or the byte;
//          INVALID_TENSOR values that are not of their datatype, or not nested as their shape says
// Cost     O(bytes); depth, entries and parameters have limits, so that what is no tensor stays small

#ifndef DEWEATHER_SERVER_HTTP_INFER_JSON_H_
#define DEWEATHER_SERVER_HTTP_INFER_JSON_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "inference/grpc_service.pb.h"

namespace deweather {

// Inputs, outputs, sides of a shape, parameters of one thing: of each at most so many.
inline constexpr int kMaxInferEntries = 64;
// Of a string or a number: files are no JSON, and the parser holds a token several times.
inline constexpr int kMaxTokenBytes = 1 << 16;
// Arrays in arrays, of `data`.
inline constexpr int kMaxDataLevels = 8;

// Without the model, which the path names. `data` is in typed contents: of UINT8 uint_contents, of all else
// fp32_contents. All parameters are where they were, those of the binary extension too.
absl::StatusOr<inference::ModelInferRequest> ReadInferJson(std::string_view json);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_INFER_JSON_H_
