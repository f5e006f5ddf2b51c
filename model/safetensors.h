// The safetensors file format, read into memory and checked before anything is believed.
//
// Layout   u64 little-endian: bytes of the header | header: a JSON object, name ->
//          {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__" -> {name: text} | data.
//          Offsets count from the start of the data; tensors neither overlap nor leave gaps.
// Errors   DATA_LOSS, naming the tensor, the value and the limit, for a file that is not like that

#ifndef DEWEATHER_MODEL_SAFETENSORS_H_
#define DEWEATHER_MODEL_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deweather {

struct SafetensorView {
  std::string dtype;           // F32, BF16, F16, I64, ...
  std::vector<int64_t> shape;  // row-major
  std::string_view bytes;      // little-endian; within the text that was parsed
};

struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::map<std::string, SafetensorView> tensors;
};

// `file` is the whole file and must outlive the result.
absl::StatusOr<Safetensors> ParseSafetensors(std::string_view file);

// The whole file; tensors in the order of their names.
std::string SerializeSafetensors(const Safetensors& content);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_SAFETENSORS_H_
