// Reads configuration files, protobuf's text format, into plain structs.
// A field that is left out keeps the struct's default; an unknown field is an error. Paths in a file
// are relative to the working folder.
//
// Threads  thread-safe: pure functions
// Errors   ReadFile's; INVALID_ARGUMENT anything wrong with the file: "FILE:LINE: " and then
//          the path of the field, its value and its limit; never throws

#ifndef DEWEATHER_PROTO_CONFIG_CONFIG_H_
#define DEWEATHER_PROTO_CONFIG_CONFIG_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/server_options.h"
#include "model/base/train_options.h"

namespace deweather {

// A file with more is refused.
inline constexpr size_t kMaxConfigBytes = size_t{1} << 20;

// A flag of the command line, which overrides a field of the file.
struct FieldFlag {
  std::string name;   // "--listen"
  std::string field;  // "listen"
  std::function<absl::Status(ServerOptions&)> set;
};

// What only the machine knows, asked when all else is well. Its errors begin with the path of a field.
using MachineCheck = std::function<absl::Status(const ServerOptions&)>;

// deweather.v1.ServerConfig with `flags` on top, validated as a whole. An error of a field that a flag has set
// names the flag instead of the file.
absl::StatusOr<ServerOptions> LoadServerConfig(const std::string& path,
                                               const std::vector<FieldFlag>& flags = {},
                                               const MachineCheck& check = {});

// deweather.v1.TrainConfig, validated.
absl::StatusOr<TrainOptions> LoadTrainConfig(const std::string& path);

// The same of a text that is already in memory; `file` stands for it in messages.
absl::StatusOr<ServerOptions> ParseServerConfig(const std::string& text, const std::string& file,
                                                const std::vector<FieldFlag>& flags = {},
                                                const MachineCheck& check = {});
absl::StatusOr<TrainOptions> ParseTrainConfig(const std::string& text, const std::string& file);

}  // namespace deweather

#endif  // DEWEATHER_PROTO_CONFIG_CONFIG_H_
