#include "server/http/connect.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "server/rpc/message.h"

namespace deweather {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

constexpr std::string_view kPackage = "/deweather.v1.";
constexpr size_t kEnvelopeBytes = 5;
constexpr size_t kMaxShownBytes = 80;

// How messages are written.
enum class Form { kJson, kBinary };

struct ContentType {
  const char* text;
  bool streams;
  Form form;
};

constexpr ContentType kContentTypes[] = {{"application/json", false, Form::kJson},
                                         {"application/proto", false, Form::kBinary},
                                         {"application/connect+json", true, Form::kJson},
                                         {"application/connect+proto", true, Form::kBinary}};

const ContentType* FindContentType(std::string_view text, bool streams) {
  for (const ContentType& type : kContentTypes) {
    if (type.text == text && type.streams == streams) return &type;
  }
  return nullptr;
}

// Of "/deweather.v1.SERVICE/METHOD".
const MethodDescriptor* FindMethod(std::string_view path) {
  if (!path.starts_with(kPackage)) return nullptr;
  const size_t slash = path.find('/', 1);
  if (slash == std::string_view::npos) return nullptr;
  const auto* const service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
      std::string(path.substr(1, slash - 1)));
  return service == nullptr ? nullptr
                            : service->FindMethodByName(std::string(path.substr(slash + 1)));
}

std::unique_ptr<Message> NewMessage(const Descriptor& type) {
  auto* const factory = google::protobuf::MessageFactory::generated_factory();
  return std::unique_ptr<Message>(factory->GetPrototype(&type)->New());
}

// `why` quotes the body, which may be anything.
absl::Status Unreadable(const Descriptor& type, std::string why) {
  for (char& c : why) {
    if (c == '\n') c = ' ';
    if (c < ' ' || c > '~') c = '?';
  }
  return WithReason(
      absl::InvalidArgumentError(absl::StrCat("the body is no ", type.full_name(), ": ", why)),
      "MALFORMED_MESSAGE");
}

absl::StatusOr<grpc::ByteBuffer> ReadMessage(const Descriptor& type, Form form,
                                             const std::string& text) {
  const std::unique_ptr<Message> message = NewMessage(type);
  if (form == Form::kJson) {
    const auto status = google::protobuf::util::JsonStringToMessage(text, message.get());
    if (!status.ok()) return Unreadable(type, std::string(status.message()));
  } else if (!message->ParseFromString(text)) {
    return Malformed(type.full_name());
  }
  grpc::ByteBuffer bytes;
  DW_RETURN_IF_ERROR(SerializeMessage(*message, &bytes));
  return bytes;
}

absl::StatusOr<std::string> WriteMessage(const Descriptor& type, Form form,
                                         grpc::ByteBuffer& bytes) {
  const std::unique_ptr<Message> message = NewMessage(type);
  const grpc::Status parsed =
      grpc::SerializationTraits<Message>::Deserialize(&bytes, message.get());
  if (!parsed.ok()) return absl::InternalError(parsed.error_message());
  if (form == Form::kBinary) return message->SerializeAsString();
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(*message, &json);
  if (!status.ok()) return absl::InternalError(std::string(status.message()));
  return json;
}

HttpReply OfType(const ContentType& type, std::string body) {
  return {.headers = {{"Content-Type", type.text}}, .body = std::move(body)};
}

void PlanUnary(const MethodDescriptor& method, const ContentType& type, Plan* plan) {
  const Descriptor* const in = method.input_type();
  const Descriptor* const out = method.output_type();
  plan->read = [in, &type](const std::string& body) { return ReadMessage(*in, type.form, body); };
  plan->write = [out, &type](grpc::ByteBuffer& message) {
    absl::StatusOr<std::string> text = WriteMessage(*out, type.form, message);
    if (!text.ok()) return FailureReply(FailureOf(text.status()));
    return OfType(type, *std::move(text));
  };
}

// However it goes, the status of HTTP is 200, and the last envelope tells.
void PlanStream(const MethodDescriptor& method, const ContentType& type, Plan* plan) {
  const Descriptor* const in = method.input_type();
  const Descriptor* const out = method.output_type();
  plan->streams = true;
  plan->head = OfType(type, "");
  plan->last = Envelope(EnvelopeFlag::kEnd, "{}");
  plan->fail = [&type](const Failure& failure) {
    return OfType(
        type, Envelope(EnvelopeFlag::kEnd, absl::StrCat("{\"error\":", FailureJson(failure), "}")));
  };
  plan->read = [in, &type](const std::string& body) -> absl::StatusOr<grpc::ByteBuffer> {
    DW_ASSIGN_OR_RETURN(const std::string text, OpenEnvelope(body));
    return ReadMessage(*in, type.form, text);
  };
  plan->write = [out, &type, fail = plan->fail](grpc::ByteBuffer& message) {
    absl::StatusOr<std::string> text = WriteMessage(*out, type.form, message);
    if (!text.ok()) return fail(FailureOf(text.status()));
    return OfType(type, Envelope(EnvelopeFlag::kMessage, *text));
  };
}

absl::Status NotServed(const std::string& why) {
  return WithReason(absl::UnimplementedError(why), "NOT_SERVED");
}

// What is wrong with the headers, beside the content type.
absl::Status CheckHeaders(const HttpRequest& request) {
  for (const char* const name : {"content-encoding", "connect-content-encoding"}) {
    for (const std::string_view encoding : request.All(name)) {
      if (encoding == "identity") continue;
      return NotServed(
          absl::StrFormat("%s is '%s'; it must be identity: pictures are compressed", name,
                          absl::CHexEscape(std::string(encoding.substr(0, kMaxShownBytes)))));
    }
  }
  for (const std::string_view version : request.All("connect-protocol-version")) {
    if (version == "1") continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("connect-protocol-version is '%s'; it must be 1",
                        absl::CHexEscape(std::string(version.substr(0, kMaxShownBytes)))));
  }
  return absl::OkStatus();
}

Failure WrongContentType(const HttpRequest& request, bool streams) {
  const char* const wanted = streams ? "application/connect+json or application/connect+proto"
                                     : "application/json or application/proto";
  const std::string type = request.content_type().substr(0, kMaxShownBytes);
  return FailureOf(
      WithReason(absl::InvalidArgumentError(absl::StrFormat(
                     "the content type is '%s'; it must be %s", absl::CHexEscape(type), wanted)),
                 "MALFORMED_MESSAGE"),
      415);
}

int64_t MessageLimit(const MethodDescriptor& method, const LimitOptions& limits) {
  const bool picture = method.full_name() == "deweather.v1.RestorationService.Restore";
  return picture ? limits.max_receive_bytes : kMaxPlainMessageBytes;
}

}  // namespace

std::optional<Plan> PlanConnect(const HttpRequest& request, const LimitOptions& limits) {
  const MethodDescriptor* const method = FindMethod(request.path);
  if (method == nullptr) return std::nullopt;
  Plan plan = {.service = method->service()->full_name(),
               .method = method->name(),
               .max_body_bytes = MessageLimit(*method, limits)};
  plan.fail = FailureReply;
  if (method->client_streaming()) {
    plan.refused = FailureOf(NotServed(absl::StrFormat(
        "%s takes a stream; over HTTP only methods that take one message are served",
        method->full_name())));
    return plan;
  }
  const bool streams = method->server_streaming();
  const ContentType* const type = FindContentType(request.content_type(), streams);
  if (type == nullptr) {
    plan.refused = WrongContentType(request, streams);
    return plan;
  }
  if (streams) {
    plan.max_body_bytes += static_cast<int64_t>(kEnvelopeBytes);
    PlanStream(*method, *type, &plan);
  } else {
    PlanUnary(*method, *type, &plan);
  }
  const absl::Status headers = CheckHeaders(request);
  if (!headers.ok()) plan.refused = FailureOf(headers);
  return plan;
}

std::string Envelope(EnvelopeFlag flag, std::string_view content) {
  std::string bytes(1, static_cast<char>(flag));
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes += static_cast<char>((content.size() >> shift) & 0xFF);
  }
  bytes += content;
  return bytes;
}

absl::StatusOr<std::string> OpenEnvelope(std::string_view body) {
  const auto bad = [](const std::string& why) {
    return WithReason(absl::InvalidArgumentError(why), "MALFORMED_MESSAGE");
  };
  if (body.size() < kEnvelopeBytes) {
    return bad(absl::StrFormat("the body has %d bytes; an envelope has at least %d", body.size(),
                               kEnvelopeBytes));
  }
  if (body[0] != 0) {
    return bad(absl::StrFormat("the envelope's flags are %d; they must be 0",
                               static_cast<unsigned char>(body[0])));
  }
  size_t length = 0;
  for (size_t i = 1; i < kEnvelopeBytes; ++i) {
    length = length << 8 | static_cast<unsigned char>(body[i]);
  }
  const size_t come = body.size() - kEnvelopeBytes;
  if (length != come) {
    return bad(absl::StrFormat(
        "the envelope says %d bytes and %d follow; the body must be one envelope", length, come));
  }
  return std::string(body.substr(kEnvelopeBytes));
}

}  // namespace deweather
