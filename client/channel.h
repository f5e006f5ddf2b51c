// How every command reaches a server.

#ifndef DEWEATHER_CLIENT_CHANNEL_H_
#define DEWEATHER_CLIENT_CHANNEL_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/credentials.h"

namespace deweather {

struct ServerFlags {
  std::string server = "127.0.0.1:50051";      // HOST:PORT
  absl::Duration timeout = absl::Seconds(30);  // of one call
  Credentials credentials = {};
};

// INVALID_ARGUMENT unless it is HOST:PORT, an IPv6 host in brackets, a port from 1 to 65535.
absl::Status CheckAddress(std::string_view address);

// Whether a message can hold it: its texts are UTF-8.
bool IsUtf8(std::string_view text);

struct ChannelOptions {
  // gRPC shares one connection among a program's channels to a server.
  bool own_connection = false;
  // Calls go to all addresses of its name in turn, not to the first that answers.
  bool all_servers = false;
  // What only reads is asked again, after tenths of a second, of a server that is UNAVAILABLE.
  bool repeats_reads = true;
};

// Connects lazily; CallHeaders go with every call. Replies of up to 1 GiB are taken: gRPC's own limit of 4 MiB is less than a photo.
std::shared_ptr<grpc::Channel> OpenChannel(const ServerFlags& flags,
                                           const ChannelOptions& options = {});

void SetDeadline(const ServerFlags& flags, grpc::ClientContext& context);

// The same code and message, on one line.
absl::Status FromGrpc(const grpc::Status& status);

// google.rpc.ErrorInfo's reason; empty if the server sent none.
std::string ReasonOf(const grpc::Status& status);

// google.rpc.RetryInfo's delay; 0 if the server sent none.
absl::Duration RetryDelayOf(const grpc::Status& status);

// "UNAVAILABLE: message", or "UNAVAILABLE: about: message".
std::string ErrorLine(const absl::Status& status, const std::string& about = "");

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_CHANNEL_H_
