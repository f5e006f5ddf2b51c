#include "proto/config/config.h"

#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "proto/config/messages.h"
#include "proto/config/text_format.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

absl::Status TooLarge(const std::string& path, const std::string& bytes) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s has %s bytes; a configuration has at most %d", path, bytes, kMaxConfigBytes));
}

// A pipe has no size, and a device may have no end.
absl::StatusOr<std::string> ReadStream(const std::string& path) {
  std::string text(kMaxConfigBytes + 1, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() <= kMaxConfigBytes) return text;
  return TooLarge(path, absl::StrCat("more than ", kMaxConfigBytes));
}

absl::StatusOr<std::string> ReadConfig(const std::string& path) {
  std::error_code error;
  const fs::file_type type = fs::status(path, error).type();
  if (type == fs::file_type::fifo || type == fs::file_type::character) return ReadStream(path);
  const uintmax_t bytes = fs::file_size(path, error);
  if (!error && bytes > kMaxConfigBytes) return TooLarge(path, absl::StrCat(bytes));
  DW_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  if (text.size() > kMaxConfigBytes) return TooLarge(path, absl::StrCat(text.size()));
  return text;
}

// The flag that has set the field that `error` begins with; null: none has.
const FieldFlag* FlagOf(std::string_view error, const std::vector<FieldFlag>& flags) {
  for (const FieldFlag& flag : flags) {
    if (error.starts_with(flag.field) && error.substr(flag.field.size()).starts_with(' ')) {
      return &flag;
    }
  }
  return nullptr;
}

absl::Status SetAll(const std::vector<FieldFlag>& flags, ServerOptions& options) {
  for (const FieldFlag& flag : flags) {
    const absl::Status status = flag.set(options);
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat(flag.name, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

// Where the field stands that `error` begins with: in a flag, else in the file, if there is one.
absl::Status Located(const absl::Status& error, const v1::ServerConfig& message,
                     const FieldPlaces& places, const std::vector<FieldFlag>& flags) {
  const std::string text(error.message());
  if (const FieldFlag* const flag = FlagOf(text, flags)) {
    return absl::Status(error.code(), absl::StrCat(flag->name, text.substr(flag->field.size())));
  }
  return places.file.empty() ? error : AtField(error, message, places);
}

absl::Status CheckAll(const ServerOptions& options, const MachineCheck& check) {
  DW_RETURN_IF_ERROR(Validate(options));
  return check ? check(options) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<ServerOptions> ParseServerConfig(const std::string& text, const std::string& file,
                                                const std::vector<FieldFlag>& flags,
                                                const MachineCheck& check) {
  v1::ServerConfig message;
  FieldPlaces places{file, {}};
  DW_RETURN_IF_ERROR(ParseText(text, &message, &places));
  absl::StatusOr<ServerOptions> options = ToOptions(message);
  if (!options.ok()) return AtField(options.status(), message, places);
  DW_RETURN_IF_ERROR(SetAll(flags, *options));
  const absl::Status status = CheckAll(*options, check);
  return status.ok() ? options : Located(status, message, places, flags);
}

absl::StatusOr<TrainOptions> ParseTrainConfig(const std::string& text, const std::string& file) {
  v1::TrainConfig message;
  FieldPlaces places{file, {}};
  DW_RETURN_IF_ERROR(ParseText(text, &message, &places));
  absl::StatusOr<TrainOptions> options = ToOptions(message);
  const absl::Status status = options.ok() ? Validate(*options) : options.status();
  if (!status.ok()) return AtField(status, message, places);
  return options;
}

absl::StatusOr<ServerOptions> LoadServerConfig(const std::string& path,
                                               const std::vector<FieldFlag>& flags,
                                               const MachineCheck& check) {
  DW_ASSIGN_OR_RETURN(const std::string text, ReadConfig(path));
  return ParseServerConfig(text, path, flags, check);
}

absl::StatusOr<TrainOptions> LoadTrainConfig(const std::string& path) {
  DW_ASSIGN_OR_RETURN(const std::string text, ReadConfig(path));
  return ParseTrainConfig(text, path);
}

}  // namespace deweather
