// What goes wrong with a request, and the words that HTTP has for it.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_SERVER_HTTP_FAILURE_H_
#define DEWEATHER_SERVER_HTTP_FAILURE_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "server/http/http_message.h"

namespace deweather {

struct Failure {
  grpc::Status status;  // an error, as a call ends with it: details are google.rpc's
  int http_status = 0;  // 0: that of the code
  absl::Status error =
      absl::OkStatus();  // what it was made of; OK: a call ended with it, and is in the log
};

// With the details that a call of ours would have (server/rpc/grpc_status.h).
Failure FailureOf(const absl::Status& status, int http_status = 0);

// That of the code where the failure has none of its own: 400 INVALID_ARGUMENT, 404 NOT_FOUND, 429
// RESOURCE_EXHAUSTED, 503 UNAVAILABLE, ..., as the Connect protocol has them.
int HttpStatusOf(const Failure& failure);

// What a status wants beside its body: Retry-After where trying again makes sense, WWW-Authenticate with a 401.
void AddFailureHeaders(const Failure& failure, HttpReply* reply);

// The error of the Connect protocol: {"code": "not_found", "message": "...", "details": [...]}.
std::string FailureJson(const Failure& failure);
// The same as a reply.
HttpReply FailureReply(const Failure& failure);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_FAILURE_H_
