// What every call of a channel carries: who calls, and an id to find it by in the server's log.

#ifndef DEWEATHER_CLIENT_CALL_HEADERS_H_
#define DEWEATHER_CLIENT_CALL_HEADERS_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_interceptor.h>

#include <memory>
#include <string>
#include <vector>

namespace deweather {

// Of a context that has none of its own, a new one is made.
inline constexpr char kRequestIdHeader[] = "x-request-id";

// 128 random bits as 32 hexadecimal digits.
std::string NewRequestId();

// Gives the call `id`, unless it is empty.
void SetRequestId(const std::string& id, grpc::ClientContext& context);

using InterceptorFactories =
    std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>;

// `token`, unless it is empty, and an id. What the server does not explain to callers (INTERNAL, UNKNOWN,
// DATA_LOSS, and UNAVAILABLE with a reason) ends with " (request ID)", so that its log can be asked.
//
// An interceptor, since gRPC's credentials of a call want a channel with TLS, and contexts are made in many
// places.
InterceptorFactories CallHeaders(const std::string& token);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_CALL_HEADERS_H_
