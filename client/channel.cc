#include "client/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/call_headers.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace deweather {
namespace {

constexpr int kMaxReplyBytes = 1 << 30;
// A server that is back is found again soon, gRPC's own longest pause is 2 minutes; and a stream that is silent
// for hours notices that its connection is dead. gRPC's servers take no more than a ping in 5 minutes.
constexpr int kFirstReconnectMs = 500;
constexpr int kLongestReconnectMs = 2'000;
constexpr int kKeepaliveMs = 360'000;
constexpr int kKeepaliveAnswerMs = 20'000;

// gRPC's own retries, of calls that change nothing and are small. Each call has one who repeats it, lest attempts
// multiply: `restore` sends a picture again by itself (restore_command.cc), since of a picture that was lost with
// its server there may be one more attempt and of one that was refused several, which this policy cannot tell apart,
// and gRPC keeps no more than 256 KiB of a call to send again; watches, downloads and submissions go on by
// CallUntilAnswered (retry.h), for as long as the user is patient. Deadlines are --timeout's, for all attempts.
// After ten failures in a row nothing is repeated until calls succeed.
constexpr char kRepeatedReads[] = R"({
  "methodConfig": [{
    "name": [
      {"service": "grpc.health.v1.Health", "method": "Check"},
      {"service": "deweather.v1.ModelService", "method": "ListModels"},
      {"service": "deweather.v1.ModelService", "method": "GetModel"},
      {"service": "deweather.v1.TrainingService", "method": "ListJobs"},
      {"service": "deweather.v1.TrainingService", "method": "GetJob"},
      {"service": "deweather.v1.TrainingService", "method": "ListCheckpoints"},
      {"service": "deweather.v1.TrainingService", "method": "ListDatasets"}],
    "retryPolicy": {
      "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "0.5s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]}}],
  "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.5}
})";

// Of the character that the text begins with; 0 if that is none.
size_t CharacterBytes(std::string_view text) {
  constexpr std::array<uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  const auto byte = [&](size_t i) -> uint32_t {
    return i < text.size() ? static_cast<uint8_t>(text[i]) : 0;
  };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC0 || lead > 0xF4) return 0;
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  uint32_t character = lead & (0x7Fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    character = character << 6 | (byte(i) & 0x3F);
  }
  const bool surrogate = character >= 0xD800 && character <= 0xDFFF;
  return character >= kLeast[bytes] && character <= 0x10FFFF && !surrogate ? bytes : 0;
}

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

std::shared_ptr<grpc::ChannelCredentials> ChannelCredentialsOf(const Credentials& credentials) {
  if (!credentials.tls) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials({credentials.ca, credentials.key, credentials.certificate});
}

}  // namespace

absl::Status CheckAddress(std::string_view address) {
  const size_t colon = address.rfind(':');
  const std::string_view host = address.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const bool named = !host.empty() && host.find_first_of(":[] ") == std::string_view::npos;
  int port = 0;
  const bool numbered = colon != std::string_view::npos &&
                        absl::SimpleAtoi(std::string(address.substr(colon + 1)), &port) &&
                        port >= 1 && port <= 65535;
  if (numbered && (bracketed || named)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("'%s' is no HOST:PORT with a port from 1 to 65535", address));
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

std::shared_ptr<grpc::Channel> OpenChannel(const ServerFlags& flags,
                                           const ChannelOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReplyBytes);
  arguments.SetMaxSendMessageSize(-1);  // the server's limit counts, and its error names it
  arguments.SetUserAgentPrefix("deweather");
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstReconnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kLongestReconnectMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveAnswerMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // no limit
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, options.own_connection ? 1 : 0);
  if (options.all_servers) arguments.SetLoadBalancingPolicyName("round_robin");
  if (options.repeats_reads) arguments.SetServiceConfigJSON(kRepeatedReads);
  if (!flags.credentials.name.empty()) arguments.SetSslTargetNameOverride(flags.credentials.name);
  // No proxy has this machine's own addresses, nor is to see what is sent there in the clear.
  if (IsLoopback(flags.server)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      flags.server, ChannelCredentialsOf(flags.credentials), arguments,
      CallHeaders(flags.credentials.token));
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
