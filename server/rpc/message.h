// The one message of a call that sends no stream, as bytes and parsed.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_SERVER_RPC_MESSAGE_H_
#define DEWEATHER_SERVER_RPC_MESSAGE_H_

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deweather {

// How gRPC sees a call whose messages are bytes to it.
using BytesReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// Of a message that carries no picture.
constexpr int64_t kMaxPlainMessageBytes = int64_t{1} << 20;

// INVALID_ARGUMENT, with the reason MALFORMED_MESSAGE.
absl::Status Malformed(const std::string& type);

// RESOURCE_EXHAUSTED, as gRPC's own, with the reason MESSAGE_SIZE, unless `bytes` are at most `limit`.
absl::Status CheckMessageSize(const std::string& type, int64_t bytes, int64_t limit);

// CANCELLED: the caller ended the call, or was cut off, before its message was there.
absl::Status NoMessage();

// Of at most `max_bytes`. Takes the bytes away.
template <typename Message>
absl::StatusOr<Message> ParseMessage(grpc::ByteBuffer& bytes, int64_t max_bytes) {
  Message message;
  const absl::Status fits =
      CheckMessageSize(message.GetTypeName(), static_cast<int64_t>(bytes.Length()), max_bytes);
  if (!fits.ok()) return fits;
  if (grpc::SerializationTraits<Message>::Deserialize(&bytes, &message).ok()) return message;
  return Malformed(message.GetTypeName());
}

// INTERNAL: it has more bytes than a message may have.
template <typename Message>
absl::Status SerializeMessage(const Message& message, grpc::ByteBuffer* bytes) {
  bool own_buffer = false;
  const grpc::Status status =
      grpc::SerializationTraits<Message>::Serialize(message, bytes, &own_buffer);
  return status.ok() ? absl::OkStatus() : absl::InternalError(status.error_message());
}

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_MESSAGE_H_
