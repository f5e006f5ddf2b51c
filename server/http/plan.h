// What is done about a request, decided by its head alone: who may, how long its body may be, which call it
// becomes and how that is answered. One function a part of the API makes plans (PlanRestore, PlanConnect, ...);
// sessions carry them out.

#ifndef DEWEATHER_SERVER_HTTP_PLAN_H_
#define DEWEATHER_SERVER_HTTP_PLAN_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "model/base/server_options.h"
#include "server/http/failure.h"
#include "server/http/http_message.h"

namespace deweather {

struct Plan {
  // The call: the service's full name, and the method's within it. Empty: there is none, and `answer` is all.
  std::string service = {};
  std::string method = {};
  // Who may; none: whom the groups of the call's method let in (server/access).
  std::optional<AccessRule> rule = {};
  // What is wrong with the head. Told to who may call, and the body is not read.
  std::optional<Failure> refused = {};
  int64_t max_body_bytes = 0;

  // Without a call.
  std::function<HttpReply()> answer = {};

  // The call's message, out of a body.
  std::function<absl::StatusOr<grpc::ByteBuffer>(std::string body)> read = {};
  // The reply, out of the call's. Of a stream: one piece of it.
  std::function<HttpReply(grpc::ByteBuffer& message)> write = {};
  // Whatever goes wrong, from the token on.
  std::function<HttpReply(const Failure& failure)> fail = {};

  // The call sends a stream: the reply has the status and the headers of `head`, and its body is what `write`
  // makes of each message, and then `last`; or, if the stream breaks, the body of `fail`.
  bool streams = false;
  HttpReply head = {};
  std::string last = {};
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_PLAN_H_
