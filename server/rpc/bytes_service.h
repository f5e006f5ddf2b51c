// A service that is told of a call as soon as its headers have come.
// gRPC reads the one message of a call before it tells of the call: nobody could refuse it unread, or bound how
// long it takes to come. As a stream of messages that are bytes, which is the same on the wire, it is told at once.

#ifndef DEWEATHER_SERVER_RPC_BYTES_SERVICE_H_
#define DEWEATHER_SERVER_RPC_BYTES_SERVICE_H_

#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server/rpc/call_parts.h"
#include "server/rpc/message.h"
#include "server/rpc/unary_call.h"

namespace deweather {

// Its place in the service's descriptor, by which gRPC knows it.
// REQUIRES: both are linked into the program.
int MethodIndex(const std::string& service, const std::string& method);

// `Service` is a generated one, and `Base` its Service, perhaps with some methods whose messages are bytes already.
template <typename Service, typename Base = typename Service::Service>
class BytesService : public Base {
 protected:
  using OpenCall = std::function<BytesReactor*(grpc::CallbackServerContext&)>;

  // From now on each call of `method` is opened with `open`. For constructors.
  void Take(const char* method, OpenCall open) {
    const int index = MethodIndex(Service::service_full_name(), method);
    this->MarkMethodStreamed(index, nullptr);
    this->MarkMethodRawCallback(
        index, new grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                   [open = std::move(open)](grpc::CallbackServerContext* context) {
                     return open(*context);
                   }));
  }

  // The same for one message each way: `begin` is called with the message, and sees that the call is answered.
  // `parts` must outlive the server.
  template <typename Request, typename Response>
  void TakeUnary(const char* method, const CallParts& parts,
                 typename TaskCall<Request, Response>::Begin begin) {
    Take(method, [method, &parts, begin = std::move(begin)](grpc::CallbackServerContext& context) {
      return std::make_shared<TaskCall<Request, Response>>(parts, context, method, begin)->Open();
    });
  }
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_BYTES_SERVICE_H_
