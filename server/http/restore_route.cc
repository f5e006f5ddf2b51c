#include "server/http/restore_route.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "deweather/v1/restoration.grpc.pb.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "server/rpc/message.h"

namespace deweather {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

constexpr size_t kMaxShownBytes = 80;

constexpr std::array<const char*, 8> kOptions = {
    "model", "format", "quality", "metadata_policy", "strength", "priority", "task", "seed"};

absl::Status BadValue(const QueryOption& option, const std::string& what) {
  const std::string shown = absl::CHexEscape(option.value.substr(0, kMaxShownBytes));
  return WithReason(absl::InvalidArgumentError(
                        absl::StrFormat("%s is '%s'; it must be %s", option.name, shown, what)),
                    "INVALID_OPTION");
}

// "FORMAT_JPEG" of an enum whose value 0 is "FORMAT_UNSPECIFIED": "jpeg".
std::string ShortName(const EnumDescriptor& type, int index) {
  const std::string& zero = type.value(0)->name();
  const size_t prefix = zero.size() - std::string("UNSPECIFIED").size();
  return absl::AsciiStrToLower(type.value(index)->name().substr(prefix));
}

absl::Status SetEnum(const QueryOption& option, const FieldDescriptor& field,
                     v1::RestoreOptions* options) {
  const EnumDescriptor& type = *field.enum_type();
  std::vector<std::string> names;
  for (int i = 1; i < type.value_count(); ++i) {
    names.push_back(ShortName(type, i));
    if (names.back() != option.value) continue;
    options->GetReflection()->SetEnum(options, &field, type.value(i));
    return absl::OkStatus();
  }
  return BadValue(option, absl::StrCat("one of ", absl::StrJoin(names, ", ")));
}

absl::Status SetOption(const QueryOption& option, const FieldDescriptor& field,
                       v1::RestoreOptions* options) {
  const auto* const reflection = options->GetReflection();
  int32_t integer = 0;
  uint64_t large = 0;
  float number = 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM:
      return SetEnum(option, field, options);
    case FieldDescriptor::CPPTYPE_INT32:
      if (!absl::SimpleAtoi(option.value, &integer)) return BadValue(option, "an integer");
      reflection->SetInt32(options, &field, integer);
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_UINT64:
      if (!absl::SimpleAtoi(option.value, &large)) {
        return BadValue(option, "an integer in [0, 18446744073709551615]");
      }
      reflection->SetUInt64(options, &field, large);
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_FLOAT:
      if (!absl::SimpleAtof(option.value, &number)) return BadValue(option, "a number");
      reflection->SetFloat(options, &field, number);
      return absl::OkStatus();
    default:
      reflection->SetString(options, &field, option.value);
      return absl::OkStatus();
  }
}

const char* ContentTypeOf(v1::RestoreOptions::Format format) {
  switch (format) {
    case v1::RestoreOptions::FORMAT_JPEG:
      return "image/jpeg";
    case v1::RestoreOptions::FORMAT_PNG:
      return "image/png";
    case v1::RestoreOptions::FORMAT_WEBP:
      return "image/webp";
    case v1::RestoreOptions::FORMAT_TIFF:
      return "image/tiff";
    case v1::RestoreOptions::FORMAT_BMP:
      return "image/bmp";
    default:
      return "application/octet-stream";
  }
}

std::string Timing(const char* stage, const google::protobuf::Duration& time) {
  const double milliseconds = static_cast<double>(time.seconds()) * 1e3 + time.nanos() / 1e6;
  return absl::StrFormat("%s;dur=%.3f", stage, milliseconds);
}

std::string ServerTiming(const v1::Timings& timings) {
  return absl::StrJoin({Timing("decode", timings.decode()), Timing("queue", timings.queue()),
                        Timing("infer", timings.infer()), Timing("blend", timings.blend()),
                        Timing("encode", timings.encode()), Timing("total", timings.total())},
                       ", ");
}

absl::StatusOr<grpc::ByteBuffer> ReadRestore(const v1::RestoreOptions& options, std::string body) {
  v1::RestoreRequest request;
  *request.mutable_options() = options;
  request.set_image(std::move(body));
  grpc::ByteBuffer bytes;
  DW_RETURN_IF_ERROR(SerializeMessage(request, &bytes));
  return bytes;
}

HttpReply WriteRestore(grpc::ByteBuffer& message) {
  auto response =
      ParseMessage<v1::RestoreResponse>(message, static_cast<int64_t>(message.Length()));
  if (!response.ok()) return FailureReply(FailureOf(response.status()));
  return WriteRestoreReply(*std::move(response));
}

}  // namespace

absl::StatusOr<v1::RestoreOptions> ParseRestoreQuery(std::string_view query) {
  v1::RestoreOptions options;
  DW_ASSIGN_OR_RETURN(const std::vector<QueryOption> parsed, ParseQuery(query));
  for (const QueryOption& option : parsed) {
    if (std::find(kOptions.begin(), kOptions.end(), option.name) == kOptions.end()) {
      return WithReason(absl::InvalidArgumentError(
                            absl::StrFormat("%s is no option; there are %s",
                                            absl::CHexEscape(option.name.substr(0, kMaxShownBytes)),
                                            absl::StrJoin(kOptions, ", "))),
                        "INVALID_OPTION");
    }
    const FieldDescriptor* const field =
        v1::RestoreOptions::descriptor()->FindFieldByName(option.name);
    DW_RETURN_IF_ERROR(SetOption(option, *field, &options));
  }
  return options;
}

HttpReply WriteRestoreReply(v1::RestoreResponse response) {
  HttpReply reply;
  reply.headers = {
      {"Content-Type", ContentTypeOf(response.format())},
      {"Deweather-Model", absl::StrCat(response.model().name(), "@", response.model().version())},
      {"Server-Timing", ServerTiming(response.timings())}};
  reply.body = std::move(*response.mutable_image());
  return reply;
}

Plan PlanRestore(const HttpRequest& request, const LimitOptions& limits) {
  Plan plan = {.service = v1::RestorationService::service_full_name(),
               .method = "Restore",
               .max_body_bytes = limits.max_receive_bytes};
  plan.fail = FailureReply;
  absl::StatusOr<v1::RestoreOptions> options = ParseRestoreQuery(request.query);
  if (request.content_type() == "multipart/form-data") {
    options = WithReason(
        absl::InvalidArgumentError("the content type is multipart/form-data; the body must be the "
                                   "picture's file itself (curl --data-binary @FILE)"),
        "MALFORMED_MESSAGE");
  }
  if (!options.ok()) {
    plan.refused = FailureOf(options.status());
    return plan;
  }
  plan.read = [options = *std::move(options)](std::string body) {
    return ReadRestore(options, std::move(body));
  };
  plan.write = WriteRestore;
  return plan;
}

}  // namespace deweather
