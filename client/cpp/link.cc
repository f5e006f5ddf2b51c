#include "client/cpp/link.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "client/call_headers.h"
#include "client/credentials.h"
#include "client/diagnose.h"
#include "client/stop_signal.h"

namespace deweather {
namespace {

constexpr size_t kMaxRequestIdBytes = 128;  // the server takes no more

ErrorCode CodeOf(int code) { return static_cast<ErrorCode>(code); }

absl::Duration TimeOf(const char* what, std::chrono::milliseconds time) {
  if (time.count() > 0) return absl::FromChrono(time);
  Throw(absl::InvalidArgumentError(
      absl::StrFormat("%s is %d ms; it must be above 0", what, time.count())));
}

std::string RequestIdOf(const CallOptions& call) {
  if (call.request_id.empty()) return NewRequestId();
  const bool visible = std::all_of(call.request_id.begin(), call.request_id.end(),
                                   [](char c) { return c > ' ' && c < '\x7f'; });
  if (visible && call.request_id.size() <= kMaxRequestIdBytes) return call.request_id;
  Throw(absl::InvalidArgumentError(
      absl::StrFormat("request_id has %d bytes; it must have 1 to %d visible ASCII characters",
                      call.request_id.size(), kMaxRequestIdBytes)));
}

// What is said of files: their names come last, in quotes, and are not ours.
std::string BeforeNames(const std::string& text) {
  const size_t quote = std::min(text.find('\''), text.size());
  return InOptionNames(text.substr(0, quote)) + text.substr(quote);
}

Credentials CredentialsOf(const ClientOptions& options, const Say& say) {
  const CredentialFlags flags = {.tls = options.tls,
                                 .tls_ca = options.tls_ca_file,
                                 .tls_cert = options.tls_cert_file,
                                 .tls_key = options.tls_key_file,
                                 .tls_name = options.tls_name,
                                 .token_file = options.token_file,
                                 .token = options.token,
                                 .token_over_plaintext = options.token_over_plaintext,
                                 .say = [&](const std::string& line) { say(BeforeNames(line)); }};
  absl::StatusOr<Credentials> credentials = ReadCredentials(flags, options.server);
  if (!credentials.ok()) {
    Throw(absl::InvalidArgumentError(BeforeNames(std::string(credentials.status().message()))));
  }
  return *std::move(credentials);
}

Say SayOf(const ClientOptions& options) {
  if (!options.on_notice) return [](const std::string&) {};
  return options.on_notice;
}

// As Explained. What the server says by itself is left as it is.
absl::Status ExplainedHere(const Link& link, const grpc::Status& status) {
  const absl::Status words = Explained(link.flags, status);
  const bool advises =
      absl::IsUnauthenticated(words) || (absl::IsUnavailable(words) && ReasonOf(status).empty());
  if (!advises) return words;
  return absl::Status(words.code(), InOptionNames(std::string(words.message())));
}

// What a status lacks: gRPC says of a deadline only that it is over.
absl::Status InWords(const Link& link, const CallWishes& wishes, const grpc::Status& status) {
  const bool reasoned = !ReasonOf(status).empty();
  if (status.error_code() == grpc::StatusCode::CANCELLED && *wishes.stop) {
    return absl::CancelledError("cancelled by the caller");
  }
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && !reasoned) {
    return absl::DeadlineExceededError(
        absl::StrFormat("not done after %s", absl::FormatDuration(wishes.time)));
  }
  return ExplainedHere(link, status);
}

}  // namespace

std::string InOptionNames(const std::string& text) {
  // The longest that fits is replaced.
  return absl::StrReplaceAll(
      text, {{"the flags --tls... (or the environment's DEWEATHER_TLS_...)", "the tls options"},
             {" (or DEWEATHER_TOKEN_FILE)", ""},
             {"--tls-ca FILE", "tls_ca_file"},
             {"--tls-ca", "tls_ca_file"},
             {"--tls-cert FILE", "tls_cert_file"},
             {"--tls-cert", "tls_cert_file"},
             {"--tls-key FILE", "tls_key_file"},
             {"--tls-key", "tls_key_file"},
             {"--tls-name NAME", "tls_name"},
             {"--tls", "tls"},
             {"--token-file FILE", "token or token_file"},
             {"it is that of --token-file", "it is that of token or token_file"},
             {"--token-file", "token_file"},
             {"--token-over-plaintext", "token_over_plaintext"},
             {"--token", "token"}});
}

void CheckLabels(const std::map<std::string, std::string>& labels) {
  for (const auto& [key, value] : labels) {
    CheckText("label", key);
    CheckText("label", value);
  }
}

void CheckText(const char* what, std::string_view text) {
  if (IsUtf8(text)) return;
  Throw(absl::InvalidArgumentError(absl::StrFormat(
      "%s '%s' is no UTF-8", what, absl::CHexEscape(absl::string_view(text.data(), text.size())))));
}

void Throw(const absl::Status& status) {
  throw Error(CodeOf(status.raw_code()), std::string(status.message()));
}

void Throw(const Link& link, const CallWishes& wishes, const grpc::Status& status) {
  const absl::Status words = InWords(link, wishes, status);
  throw Error(CodeOf(words.raw_code()), std::string(words.message()), ReasonOf(status),
              absl::ToChronoMilliseconds(RetryDelayOf(status)), wishes.request_id);
}

std::shared_ptr<const Link> Connect(const ClientOptions& options) {
  const absl::Status address = CheckAddress(options.server);
  if (!address.ok()) Throw(address);
  auto link = std::make_shared<Link>();
  link->say = SayOf(options);
  link->retries = options.retries;
  link->flags = {.server = options.server,
                 .timeout = TimeOf("deadline", options.deadline),
                 .credentials = CredentialsOf(options, link->say)};
  const auto pictures = OpenChannel(link->flags, {.all_servers = true, .repeats_reads = false});
  const auto reads = OpenChannel(link->flags, {.repeats_reads = options.retries});
  link->restoration = v1::RestorationService::NewStub(pictures);
  link->models = v1::ModelService::NewStub(reads);
  link->training = v1::TrainingService::NewStub(reads);
  link->health = grpc::health::v1::Health::NewStub(reads);
  link->patient = v1::TrainingService::NewStub(OpenChannel(link->flags, {.repeats_reads = false}));
  return link;
}

CallWishes::CallWishes(const Link& link, const CallOptions& call)
    : time(call.deadline ? TimeOf("CallOptions::deadline", *call.deadline) : link.flags.timeout),
      deadline(absl::Now() + time),
      request_id(RequestIdOf(call)),
      timed(call.deadline.has_value()),
      stoppable(call.cancellation.has_value()),
      stop(stoppable ? call.cancellation->stop_ : std::make_shared<std::atomic<bool>>(false)) {}

void CallWishes::Prepare(grpc::ClientContext& context) const {
  context.set_deadline(absl::ToChronoTime(deadline));
  SetRequestId(request_id, context);
}

std::jthread CallWishes::CancelWhenStopped(grpc::ClientContext& context) const {
  return stoppable ? CancelOn(*stop, context) : std::jthread();
}

PictureCall CallWishes::ForPicture(const Link& link) const {
  return {.deadline = deadline,
          .request_id = request_id,
          .stop = stoppable ? stop.get() : nullptr,
          .repeats = link.retries};
}

RetryOptions CallWishes::Patience(const Link& link) const {
  return {.patience = time,
          .repeats = link.retries,
          .words = [&link](const grpc::Status& status) { return ExplainedHere(link, status); },
          .say = link.say,
          .request_id = request_id};
}

}  // namespace deweather
