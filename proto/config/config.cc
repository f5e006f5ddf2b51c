#include "proto/config/config.h"

#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "proto/config/messages.h"
#include "proto/config/text_format.h"

namespace deweather {
namespace {

absl::StatusOr<std::string> ReadConfig(const std::string& path) {
  DW_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  if (text.size() <= kMaxConfigBytes) return text;
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s has %d bytes; a configuration has at most %d", path, text.size(), kMaxConfigBytes));
}

template <typename Message, typename Options>
absl::StatusOr<Options> Parse(const std::string& text, const std::string& file) {
  Message message;
  FieldPlaces places{file, {}};
  DW_RETURN_IF_ERROR(ParseText(text, &message, &places));
  absl::StatusOr<Options> options = ToOptions(message);
  const absl::Status status = options.ok() ? Validate(*options) : options.status();
  if (!status.ok()) return AtField(status, message, places);
  return options;
}

}  // namespace

absl::StatusOr<ServerOptions> ParseServerConfig(const std::string& text, const std::string& file) {
  return Parse<v1::ServerConfig, ServerOptions>(text, file);
}

absl::StatusOr<TrainOptions> ParseTrainConfig(const std::string& text, const std::string& file) {
  return Parse<v1::TrainConfig, TrainOptions>(text, file);
}

absl::StatusOr<ServerOptions> LoadServerConfig(const std::string& path) {
  DW_ASSIGN_OR_RETURN(const std::string text, ReadConfig(path));
  return ParseServerConfig(text, path);
}

absl::StatusOr<TrainOptions> LoadTrainConfig(const std::string& path) {
  DW_ASSIGN_OR_RETURN(const std::string text, ReadConfig(path));
  return ParseTrainConfig(text, path);
}

}  // namespace deweather
