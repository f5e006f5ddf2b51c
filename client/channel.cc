#include "client/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace deweather {
namespace {

constexpr int kMaxReplyBytes = 1 << 30;

// The first detail of this kind; an empty one if there is none.
template <typename Detail>
Detail DetailOf(const grpc::Status& status) {
  google::rpc::Status message;
  if (!message.ParseFromString(status.error_details())) return {};
  for (const google::protobuf::Any& any : message.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) return detail;
  }
  return {};
}

}  // namespace

std::shared_ptr<grpc::Channel> OpenChannel(const ServerFlags& flags, Connection connection) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReplyBytes);
  arguments.SetMaxSendMessageSize(-1);  // the server's limit counts, and its error names it
  arguments.SetUserAgentPrefix("deweather");
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, connection == Connection::kOwn ? 1 : 0);
  return grpc::CreateCustomChannel(flags.server, grpc::InsecureChannelCredentials(), arguments);
}

void SetDeadline(const ServerFlags& flags, grpc::ClientContext& context) {
  context.set_deadline(absl::ToChronoTime(absl::Now() + flags.timeout));
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  std::string message = status.error_message();
  std::replace(message.begin(), message.end(), '\n', ' ');
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), message);
}

std::string ReasonOf(const grpc::Status& status) {
  return DetailOf<google::rpc::ErrorInfo>(status).reason();
}

absl::Duration RetryDelayOf(const grpc::Status& status) {
  const google::protobuf::Duration delay = DetailOf<google::rpc::RetryInfo>(status).retry_delay();
  return std::max(absl::Seconds(delay.seconds()) + absl::Nanoseconds(delay.nanos()),
                  absl::ZeroDuration());
}

std::string ErrorLine(const absl::Status& status, const std::string& about) {
  const std::string subject = about.empty() ? "" : absl::StrCat(about, ": ");
  return absl::StrCat(absl::StatusCodeToString(status.code()), ": ", subject, status.message());
}

}  // namespace deweather
