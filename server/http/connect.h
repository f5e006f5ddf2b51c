// The Connect protocol (https://connectrpc.com/docs/protocol): POST /deweather.v1.SERVICE/METHOD, with the call's
// message as JSON (protobuf's mapping) or in protobuf's own form. Every method that takes one message is served; of
// those that answer with a stream each message is an envelope: a byte of flags, four of length, the message.
//
// Threads  thread-safe: pure functions
// Errors   INVALID_ARGUMENT MALFORMED_MESSAGE a body that is no message of the method; UNIMPLEMENTED
//          NOT_SERVED a stream from the caller, compression

#ifndef DEWEATHER_SERVER_HTTP_CONNECT_H_
#define DEWEATHER_SERVER_HTTP_CONNECT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/base/server_options.h"
#include "server/http/http_message.h"
#include "server/http/plan.h"

namespace deweather {

// Nothing: the path is no method of ours.
std::optional<Plan> PlanConnect(const HttpRequest& request, const LimitOptions& limits);

// Of a message of a stream, and of its end.
enum class EnvelopeFlag : uint8_t { kMessage = 0, kEnd = 2 };
std::string Envelope(EnvelopeFlag flag, std::string_view content);

// What is in the one envelope that `body` must be.
absl::StatusOr<std::string> OpenEnvelope(std::string_view body);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_CONNECT_H_
