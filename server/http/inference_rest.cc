#include "server/http/inference_rest.h"

#include <google/protobuf/util/json_util.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "inference/grpc_service.pb.h"
#include "model/base/error_reason.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "server/http/failure.h"
#include "server/http/infer_reply.h"
#include "server/http/infer_request.h"
#include "server/http/inference_documents.h"
#include "server/rpc/inference_tensors.h"
#include "server/rpc/message.h"

namespace deweather {
namespace {

constexpr char kJsonLengthName[] = "inference-header-content-length";
constexpr char kService[] = "inference.GRPCInferenceService";
constexpr int kOk = 200;
constexpr int kBadRequest = 400;
constexpr int kMethodNotAllowed = 405;
constexpr int kUnsupportedMediaType = 415;
constexpr int kUnavailable = 503;

// Of a path; empty where it has none.
struct Names {
  std::string model = {};
  std::string version = {};
};

HttpReply Reply(std::string body, int status = kOk) {
  return {
      .status = status, .headers = {{"Content-Type", "application/json"}}, .body = std::move(body)};
}

HttpReply Fail(const Failure& failure) {
  HttpReply reply = Reply(ErrorDocument(failure.status.error_message()), HttpStatusOf(failure));
  AddFailureHeaders(failure, &reply);
  return reply;
}

absl::StatusOr<grpc::ByteBuffer> BytesOf(const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes;
  DW_RETURN_IF_ERROR(SerializeMessage(message, &bytes));
  return bytes;
}

template <typename Response>
absl::StatusOr<Response> ResponseOf(grpc::ByteBuffer& bytes) {
  return ParseMessage<Response>(bytes, static_cast<int64_t>(bytes.Length()));
}

// What is asked about the server.
template <typename Request>
absl::StatusOr<grpc::ByteBuffer> ReadNothing(const Names& /*names*/, const std::string& /*body*/) {
  return BytesOf(Request());
}

// And about a model.
template <typename Request>
absl::StatusOr<grpc::ByteBuffer> ReadNames(const Names& names, const std::string& /*body*/) {
  Request request;
  request.set_name(names.model);
  request.set_version(names.version);
  return BytesOf(request);
}

// Clients send no body, or an object.
absl::StatusOr<grpc::ByteBuffer> ReadIndex(const Names& /*names*/, const std::string& body) {
  inference::RepositoryIndexRequest request;
  if (body.empty()) return BytesOf(request);
  const auto status = google::protobuf::util::JsonStringToMessage(body, &request);
  if (status.ok()) return BytesOf(request);
  return WithReason(absl::InvalidArgumentError(
                        absl::StrFormat("the body is no JSON of %s: %s", request.GetTypeName(),
                                        ShownText(std::string(status.message())))),
                    "MALFORMED_MESSAGE");
}

template <typename Response>
HttpReply Write(const Names& /*names*/, grpc::ByteBuffer& bytes) {
  const auto response = ResponseOf<Response>(bytes);
  return response.ok() ? Reply(DocumentOf(*response)) : Fail(FailureOf(response.status()));
}

HttpReply WriteServerReady(const Names& /*names*/, grpc::ByteBuffer& bytes) {
  const auto response = ResponseOf<inference::ServerReadyResponse>(bytes);
  if (!response.ok()) return Fail(FailureOf(response.status()));
  return Reply(DocumentOf(*response), response->ready() ? kOk : kUnavailable);
}

HttpReply WriteModelReady(const Names& names, grpc::ByteBuffer& bytes) {
  const auto response = ResponseOf<inference::ModelReadyResponse>(bytes);
  if (!response.ok()) return Fail(FailureOf(response.status()));
  return Reply(DocumentOf(names.model, *response), response->ready() ? kOk : kUnavailable);
}

// JSON's values may take more bytes than its digits.
absl::Status CheckSize(const inference::ModelInferRequest& message, int64_t limit) {
  const size_t bytes = message.ByteSizeLong();
  if (bytes <= static_cast<size_t>(limit)) return absl::OkStatus();
  return InvalidTensor(absl::StrFormat(
      "the values of the JSON have %d bytes as a message, which has at most %d", bytes, limit));
}

HttpReply WriteInfer(grpc::ByteBuffer& bytes, const BinaryOutputs& binary, int64_t max_bytes) {
  const auto response = ResponseOf<inference::ModelInferResponse>(bytes);
  if (!response.ok()) return Fail(FailureOf(response.status()));
  absl::StatusOr<InferReply> written = WriteInferReply(*response, binary, max_bytes);
  if (!written.ok()) {
    const bool too_large = absl::IsResourceExhausted(written.status());  // also the next time
    return Fail(FailureOf(written.status(), too_large ? kBadRequest : 0));
  }
  if (!written->json_bytes) return Reply(std::move(written->body));
  return {.headers = {{"Content-Type", "application/octet-stream"},
                      {kJsonLengthHeader, absl::StrCat(*written->json_bytes)}},
          .body = std::move(written->body)};
}

void PlanInfer(const HttpRequest& request, Names names, const LimitOptions& limits, Plan* plan) {
  std::optional<std::string> length(request.One(kJsonLengthName));
  const auto binary = std::make_shared<BinaryOutputs>();  // known once the request is read
  plan->max_body_bytes = limits.max_receive_bytes;
  plan->read = [names = std::move(names), length = std::move(length), binary,
                limit = limits.max_receive_bytes](
                   const std::string& body) -> absl::StatusOr<grpc::ByteBuffer> {
    DW_ASSIGN_OR_RETURN(InferRequest infer,
                        ParseInferRequest(names.model, names.version, body, length));
    DW_RETURN_IF_ERROR(CheckSize(infer.message, limit));
    *binary = std::move(infer.binary);
    return BytesOf(infer.message);
  };
  plan->write = [binary, limit = limits.max_send_bytes](grpc::ByteBuffer& bytes) {
    return WriteInfer(bytes, *binary, limit);
  };
}

// How a path that is no ModelInfer is read and answered.
struct Row {
  std::string_view path;  // behind /v2; "M" stands for /models/M[/versions/V]
  std::string_view verb;
  const char* method;
  absl::StatusOr<grpc::ByteBuffer> (*read)(const Names& names, const std::string& body) = nullptr;
  HttpReply (*write)(const Names& names, grpc::ByteBuffer& bytes) = nullptr;
};

constexpr std::array<Row, 8> kRows = {{
    {"", "GET", "ServerMetadata", ReadNothing<inference::ServerMetadataRequest>,
     Write<inference::ServerMetadataResponse>},
    {"/health/live", "GET", "ServerLive", ReadNothing<inference::ServerLiveRequest>,
     Write<inference::ServerLiveResponse>},
    {"/health/ready", "GET", "ServerReady", ReadNothing<inference::ServerReadyRequest>,
     WriteServerReady},
    {"M", "GET", "ModelMetadata", ReadNames<inference::ModelMetadataRequest>,
     Write<inference::ModelMetadataResponse>},
    {"M/ready", "GET", "ModelReady", ReadNames<inference::ModelReadyRequest>, WriteModelReady},
    {"M/config", "GET", "ModelConfig", ReadNames<inference::ModelConfigRequest>,
     Write<inference::ModelConfigResponse>},
    {"M/infer", "POST", "ModelInfer"},
    {"/repository/index", "POST", "RepositoryIndex", ReadIndex,
     Write<inference::RepositoryIndexResponse>},
}};

// Takes `beginning` off, if `path` begins so.
bool Skip(std::string_view beginning, std::string_view& path) {
  if (!path.starts_with(beginning)) return false;
  path.remove_prefix(beginning.size());
  return true;
}

// Takes the segment off that `path` begins with. Of what names of models and versions are made of nothing has to be
// written as %XX: who does has another name, which nobody knows.
bool TakeName(std::string_view& path, std::string& name) {
  name = path.substr(0, path.find('/'));
  path.remove_prefix(name.size());
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
}

// None: there is no such path. `path` is behind /v2.
const Row* FindRow(std::string_view path, Names& names) {
  std::string kind;
  if (Skip("/models/", path)) {
    if (!TakeName(path, names.model)) return nullptr;
    if (Skip("/versions/", path) && !TakeName(path, names.version)) return nullptr;
    kind = "M";
  } else if (!path.empty() && !path.starts_with('/')) {
    return nullptr;
  }
  kind += path;
  const auto* const row = std::ranges::find(kRows, kind, &Row::path);
  return row == kRows.end() ? nullptr : row;
}

// What is wrong with the head.
std::optional<Failure> Wrong(const HttpRequest& request, const Row& row) {
  const bool head = request.method == "HEAD" && row.verb == "GET";
  if (request.method != row.verb && !head) {
    return FailureOf(absl::UnimplementedError(absl::StrFormat("the method is '%s'; %s takes %s",
                                                              ShownText(request.method),
                                                              ShownText(request.path), row.verb)),
                     kMethodNotAllowed);
  }
  for (const std::string_view encoding : request.All("content-encoding")) {
    if (absl::EqualsIgnoreCase({encoding.data(), encoding.size()}, "identity")) continue;
    return FailureOf(
        absl::UnimplementedError(absl::StrFormat(
            "the content encoding is '%s'; bodies come as they are", ShownText(encoding))),
        kUnsupportedMediaType);
  }
  if (request.All(kJsonLengthName).size() > 1) {
    return FailureOf(
        absl::InvalidArgumentError(absl::StrFormat("%s comes twice", kJsonLengthHeader)));
  }
  return std::nullopt;
}

}  // namespace

std::optional<Plan> PlanInference(const HttpRequest& request, const LimitOptions& limits) {
  std::string_view path = request.path;
  if (!Skip("/v2", path) || !(path.empty() || path.starts_with('/'))) return std::nullopt;
  Names names;
  const Row* const row = FindRow(path, names);
  if (row == nullptr) {
    Plan plan = {.rule = AccessRule::kAnyone};
    plan.fail = Fail;
    plan.refused = FailureOf(absl::NotFoundError(absl::StrFormat(
        "there is no '%s' here; docs/kserve.md lists what there is", ShownText(request.path))));
    return plan;
  }
  Plan plan = {.service = kService, .method = row->method};
  plan.fail = [verb = row->verb](const Failure& failure) {
    HttpReply reply = Fail(failure);
    if (reply.status == kMethodNotAllowed) reply.headers.push_back({"Allow", std::string(verb)});
    return reply;
  };
  plan.refused = Wrong(request, *row);
  if (row->read == nullptr) {
    PlanInfer(request, std::move(names), limits, &plan);
    return plan;
  }
  plan.max_body_bytes = row->verb == "POST" ? kMaxPlainMessageBytes : 0;
  plan.read = [names, read = row->read](const std::string& body) { return read(names, body); };
  plan.write = [names, write = row->write](grpc::ByteBuffer& bytes) { return write(names, bytes); };
  return plan;
}

}  // namespace deweather
