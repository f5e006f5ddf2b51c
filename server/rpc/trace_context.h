// What leads from a caller's log to ours: the id of a request, and W3C Trace Context.
//
// Threads  thread-safe
// Errors   none: what is malformed counts as not sent

#ifndef DEWEATHER_SERVER_RPC_TRACE_CONTEXT_H_
#define DEWEATHER_SERVER_RPC_TRACE_CONTEXT_H_

#include <grpcpp/server_context.h>

#include <optional>
#include <string>
#include <string_view>

namespace deweather {

inline constexpr char kRequestIdHeader[] = "x-request-id";

// 1 to 128 printable characters of ASCII.
bool IsRequestId(std::string_view text);
// 32 hexadecimal digits, never twice the same.
std::string NewRequestId();

struct TraceParent {
  std::string trace_id;   // 32 hexadecimal digits
  std::string parent_id;  // 16
};

// https://www.w3.org/TR/trace-context: "00-TRACE_ID-PARENT_ID-FLAGS", all lower-case hexadecimal, neither id
// all zeros. Nothing: the text is none, or of another version.
std::optional<TraceParent> ParseTraceParent(std::string_view text);

// The caller's `x-request-id`, or a new one.
std::string RequestIdOf(const grpc::ServerContextBase& context);
// The caller's `traceparent`; empty: it sent none.
std::string TraceParentOf(const grpc::ServerContextBase& context);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_TRACE_CONTEXT_H_
