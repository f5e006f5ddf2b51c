#include "server/http/session.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/status.hpp>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "server/http/origin.h"
#include "server/rpc/call_parts.h"
#include "server/rpc/trace_context.h"

namespace deweather {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::beast::error_code;

constexpr size_t kMaxShownBytes = 80;
constexpr size_t kMaxTimeoutDigits = 10;
constexpr size_t kMaxConvertedHere = 256 * 1024;
constexpr size_t kMaxBesideHead = 16 * 1024;  // of a body, in one write with its head
constexpr char kContinue[] = "HTTP/1.1 100 Continue\r\n\r\n";

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// Not an end, but for ever in practice.
absl::Duration OrEver(absl::Duration limit) {
  return limit > absl::ZeroDuration() ? limit : absl::InfiniteDuration();
}

absl::StatusOr<absl::Time> DeadlineOf(const HttpRequest& request) {
  if (request.All("connect-timeout-ms").empty()) return absl::InfiniteFuture();
  const std::optional<std::string_view> text = request.One("connect-timeout-ms");
  if (!text.has_value()) {
    return absl::InvalidArgumentError("connect-timeout-ms stands twice; it must be there once");
  }
  int64_t milliseconds = 0;
  if (text->size() <= kMaxTimeoutDigits && absl::SimpleAtoi(View(*text), &milliseconds) &&
      milliseconds > 0) {
    return absl::Now() + absl::Milliseconds(milliseconds);
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "connect-timeout-ms is '%s'; it must be a positive integer of at most %d digits",
      absl::CHexEscape(View(text->substr(0, kMaxShownBytes))), kMaxTimeoutDigits));
}

Failure BadHead(error_code error, int64_t max_header_bytes) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return FailureOf(WithReason(absl::ResourceExhaustedError(absl::StrFormat(
                                    "the headers are longer than limits.max_header_bytes, %d bytes",
                                    max_header_bytes)),
                                "HEADER_SIZE"),
                     431);
  }
  return FailureOf(WithReason(absl::InvalidArgumentError(
                                  absl::StrCat("this is no HTTP request: ", error.message())),
                              "MALFORMED_REQUEST"),
                   error == http::error::bad_version ? 505 : 400);
}

// Where a body ends is said in one way alone: whoever stands between may know another.
absl::Status CheckFraming(const HttpRequest& request, bool chunks) {
  const std::vector<std::string_view> encodings = request.All("transfer-encoding");
  if (encodings.empty()) return absl::OkStatus();
  const bool alone = encodings.size() == 1 && request.All("content-length").empty();
  if (alone && chunks && absl::EqualsIgnoreCase(View(encodings[0]), "chunked")) {
    return absl::OkStatus();
  }
  return WithReason(
      absl::InvalidArgumentError(absl::StrFormat(
          "transfer-encoding is '%s'; it must be chunked, in HTTP/1.1, without content-length",
          absl::CHexEscape(View(encodings[0].substr(0, kMaxShownBytes))))),
      "MALFORMED_REQUEST");
}

// Of a header that goes on in the next line, which others read otherwise.
bool HasFold(std::string_view head) {
  return head.find("\r\n ") != head.npos || head.find("\r\n\t") != head.npos;
}

Failure TooSlow() {
  return FailureOf(
      WithReason(absl::DeadlineExceededError("the body of the request came too slowly"),
                 "STREAM_IDLE"),
      408);
}

Failure TooLong(std::optional<uint64_t> bytes, int64_t max_bytes) {
  const std::string size =
      bytes.has_value() ? absl::StrCat(*bytes, " bytes") : "more bytes than it may have";
  return FailureOf(
      WithReason(absl::ResourceExhaustedError(absl::StrFormat(
                     "the body has %s; of this request it may have %d", size, max_bytes)),
                 "MESSAGE_SIZE"),
      413);
}

Failure NoRoom(int64_t max_bytes) {
  return FailureOf(
      WithRetryDelay(WithReason(absl::UnavailableError(absl::StrFormat(
                                    "bodies of all requests and replies may have %d bytes at a "
                                    "time (limits.max_transport_bytes), and have",
                                    max_bytes)),
                                "BYTE_BUDGET"),
                     absl::Seconds(1)));
}

// No value of a header begins another.
std::string Printable(std::string value) {
  for (char& c : value) {
    if (c < ' ' || c > '~') c = '?';
  }
  return value;
}

const char* const kOfEveryReply =
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n";

}  // namespace

Session::Session(SessionParts& parts, const asio::any_io_executor& strand,
                 std::shared_ptr<Connection> connection)
    : parts_(parts),
      limits_(parts.routes.limits),
      strand_(strand),
      connection_(std::move(connection)),
      told_(strand) {}

asio::awaitable<void> Session::Run() {
  const std::shared_ptr<Session> self = shared_from_this();
  bool open = co_await connection_->Handshake(limits_.max_handshake);
  while (open) open = co_await ServeOne();
  co_await connection_->Close();
}

void Session::Drain() {
  asio::post(strand_, [self = shared_from_this()] { self->connection_->Wake(); });
}

void Session::Abort() {
  asio::post(strand_, [self = shared_from_this()] {
    self->connection_->Abort();
    self->gone_ = true;
    if (self->call_ != nullptr) self->call_->Cancel();
  });
}

// Whether another request may follow.
asio::awaitable<bool> Session::ServeOne() {
  Exchange exchange(parts_.bodies);
  const bool head = co_await ReadHead(exchange);
  if (!head) co_return false;
  const Occupancy::Place place(parts_.calls);
  const absl::Status taken = TakeHead(exchange);
  if (!taken.ok()) {
    exchange.plan.fail = PlanOf(exchange.request, parts_.routes).fail;
    // Whoever stands between may have read such a request otherwise, and what follows it too.
    exchange.keep = exchange.keep && !absl::IsInvalidArgument(taken);
    const bool refused = co_await Refuse(exchange, FailureOf(taken));
    co_return exchange.keep&& refused;
  }
  const bool answered = co_await Answer(exchange);
  co_return exchange.keep&& answered;
}

asio::awaitable<bool> Session::ReadHead(Exchange& exchange) {
  Parser& parser = exchange.parser;
  parser.eager(false);
  parser.header_limit(static_cast<uint32_t>(limits_.max_header_bytes));
  parser.body_limit(std::numeric_limits<uint64_t>::max());  // ReceivedBody has one
  const absl::Duration idle = first_ ? limits_.max_handshake : OrEver(limits_.max_connection_idle);
  absl::Time deadline = absl::Now() + idle;
  bool begun = false, folded = false;
  while (true) {
    if (!begun && !connection_->pending().empty()) {
      begun = true;
      first_ = false;
      deadline = absl::Now() + limits_.max_handshake;
    }
    error_code error = http::error::need_more;
    if (begun) {
      const std::string_view pending = connection_->pending();
      const size_t used = parser.put(asio::buffer(pending.data(), pending.size()), error);
      folded = folded || HasFold(pending.substr(0, used));
      connection_->Consume(used);
      if (folded && !error) error = http::error::bad_obs_fold;
    }
    if (!error && parser.is_header_done()) co_return true;
    if (error && error != http::error::need_more) {
      const bool answered = co_await AnswerBadHead(error);
      co_return answered;
    }
    if (parts_.draining && !begun) co_return false;
    const Connection::Came came = co_await connection_->Fill(deadline);
    if (came == Connection::Came::kEnd) co_return false;
    if (came == Connection::Came::kNothing && absl::Now() >= deadline) co_return false;
  }
}

// False, as nothing can follow.
asio::awaitable<bool> Session::AnswerBadHead(error_code error) {
  Exchange exchange(parts_.bodies);
  exchange.caller.request_id = NewRequestId();
  exchange.caller.peer = absl::StrCat("http:", connection_->peer());
  const Failure why = BadHead(error, limits_.max_header_bytes);
  LogRefusal(exchange, why);
  const bool sent = co_await Send(exchange, FailureReply(why));
  co_return sent && false;
}

// What every request must be, whatever it is for.
absl::Status Session::TakeHead(Exchange& exchange) {
  const auto& message = exchange.parser.get();
  HttpRequest& request = exchange.request;
  request.method = std::string(message.method_string());
  for (const auto& field : message) {
    request.headers.push_back(
        {absl::AsciiStrToLower(std::string(field.name_string())), std::string(field.value())});
  }
  exchange.begin = absl::Now();
  exchange.head_only = request.method == "HEAD";
  exchange.chunks = message.version() >= 11;
  const bool young = absl::Now() - begun_ < OrEver(limits_.max_connection_age);
  exchange.keep = exchange.parser.keep_alive() && young;
  exchange.caller.peer = absl::StrCat("http:", connection_->peer());
  const std::string_view id = request.One(kRequestIdHeader).value_or("");
  exchange.caller.request_id = IsRequestId(id) ? std::string(id) : NewRequestId();
  exchange.caller.trace_parent = std::string(request.One("traceparent").value_or(""));
  exchange.caller.authorization = request.All("authorization");

  const std::optional<HttpTarget> target =
      ParseTarget(std::string_view(message.target().data(), message.target().size()));
  if (!target.has_value()) {
    return WithReason(
        absl::InvalidArgumentError(absl::StrFormat(
            "the request is for '%s'; it must be a path that begins with /",
            absl::CHexEscape(std::string(message.target().substr(0, kMaxShownBytes))))),
        "MALFORMED_REQUEST");
  }
  request.path = target->path;
  request.query = target->query;
  const absl::Status framing = CheckFraming(request, exchange.chunks);
  return framing.ok() ? CheckPlace(request, exchange.chunks) : framing;
}

// Before HTTP/1.1 no Host is needed, as balancers' probes know; all browsers send one.
absl::Status Session::CheckPlace(const HttpRequest& request, bool chunks) const {
  if (!chunks && request.All("host").empty() && request.All("origin").empty()) {
    return absl::OkStatus();
  }
  const std::optional<std::string_view> host = request.One("host");
  if (!host.has_value() || host->empty()) {
    return WithReason(absl::InvalidArgumentError("the request must have one Host header"),
                      "MALFORMED_REQUEST");
  }
  if (parts_.local_only) {
    const absl::Status local = CheckHostIsLocal(*host);
    if (!local.ok()) return local;
  }
  for (const std::string_view origin : request.All("origin")) {
    const absl::Status own = CheckOrigin(origin, *host);
    if (!own.ok()) return own;
  }
  return absl::OkStatus();
}

absl::Status Session::CheckCaller(const Exchange& exchange) const {
  const Plan& plan = exchange.plan;
  const auto& authorization = exchange.caller.authorization;
  if (plan.rule.has_value()) return CheckRule(*plan.rule, parts_.access, authorization);
  if (parts_.access == nullptr) return absl::OkStatus();
  return parts_.access->Check(authorization, plan.service, plan.method).status();
}

asio::awaitable<bool> Session::Answer(Exchange& exchange) {
  exchange.plan = PlanOf(exchange.request, parts_.routes);
  const absl::Status may = CheckCaller(exchange);
  if (!may.ok()) {
    const bool sent = co_await RefuseByCall(exchange, may);
    co_return sent;
  }
  std::optional<Failure> wrong = exchange.plan.refused;
  absl::StatusOr<absl::Time> deadline = DeadlineOf(exchange.request);
  if (!wrong.has_value() && !deadline.ok()) wrong = FailureOf(deadline.status());
  if (!wrong.has_value()) {
    exchange.caller.deadline = *deadline;
    wrong = co_await ReadBody(exchange);
  }
  bool sent = false;
  if (wrong.has_value()) {
    sent = co_await Refuse(exchange, *wrong);
  } else if (exchange.plan.answer) {
    sent = co_await Send(exchange, exchange.plan.answer());
  } else {
    sent = co_await Call(exchange);
  }
  co_return sent;
}

// Of a body that has not come nothing is read any more; what has come makes room at once.
asio::awaitable<bool> Session::Refuse(Exchange& exchange, const Failure& why) {
  exchange.keep = exchange.keep && exchange.parser.is_done();
  exchange.parser.get().body().text = std::string();
  exchange.share.Return();
  LogRefusal(exchange, why);
  const bool sent = co_await Send(exchange, exchange.plan.fail(why));
  co_return sent;
}

// In the words of a call's line, which it has not become.
void Session::LogRefusal(const Exchange& exchange, const Failure& why) {
  if (parts_.requests == nullptr || why.error.ok()) return;
  const HttpRequest& request = exchange.request;
  const std::string path =
      absl::CHexEscape(absl::StripPrefix(View(request.path).substr(0, kMaxShownBytes), "/"));
  const Arrival arrival = {.method = path.c_str(),
                           .caller = exchange.caller.peer,
                           .peer = exchange.caller.peer,
                           .request_id = exchange.caller.request_id,
                           .trace_parent = exchange.caller.trace_parent,
                           .start = exchange.begin};
  parts_.requests->Write(absl::CHexEscape(View(request.method).substr(0, kMaxShownBytes)) + " ",
                         arrival, why.error, {}, absl::Now());
}

// The service refuses the call too, unread; so it is counted and logged where all others are.
asio::awaitable<bool> Session::RefuseByCall(Exchange& exchange, const absl::Status& why) {
  Failure failure = FailureOf(why);
  if (!exchange.plan.service.empty()) {
    const grpc::Slice nothing;  // gRPC ends the process over a message without a slice
    StartCall(exchange, grpc::ByteBuffer(&nothing, 1));
    const InternalCall::Event event = co_await NextEvent();
    const bool refused = !event.message.has_value() && !event.status.error_details().empty();
    if (refused) failure = {.status = event.status};
    co_await EndCall();  // a token that has become good meanwhile is for the next request
  }
  const bool sent = co_await Refuse(exchange, failure);
  co_return sent;
}

asio::awaitable<std::optional<Failure>> Session::ReadBody(Exchange& exchange) {
  Parser& parser = exchange.parser;
  auto& body = parser.get().body();
  body.max_bytes = exchange.plan.max_body_bytes;
  body.share = &exchange.share;
  const auto length = parser.content_length();
  if (length && *length > static_cast<uint64_t>(body.max_bytes)) {
    co_return TooLong(*length, body.max_bytes);
  }
  Pace pace(limits_.max_stream_idle, absl::Now());
  const std::string_view expected = exchange.request.One("expect").value_or("");
  const bool waits = exchange.chunks && absl::EqualsIgnoreCase(View(expected), "100-continue");
  if (!parser.is_done() && waits) {
    const bool told = co_await connection_->Write(kContinue, pace);
    if (!told) co_return TooSlow();
  }
  parser.eager(true);
  while (!parser.is_done()) {
    error_code error = http::error::need_more;
    const std::string_view pending = connection_->pending();
    size_t used = 0;
    if (!pending.empty()) used = parser.put(asio::buffer(pending.data(), pending.size()), error);
    connection_->Consume(used);
    if (body.too_long) co_return TooLong(std::nullopt, body.max_bytes);
    if (body.no_room) co_return NoRoom(parts_.bodies.max_bytes());
    if (error && error != http::error::need_more) {
      co_return BadHead(error, limits_.max_header_bytes);
    }
    if (parser.is_done()) break;
    if (used == 0 && pending.size() > static_cast<size_t>(limits_.max_header_bytes)) {
      co_return BadHead(http::error::bad_chunk_extension, limits_.max_header_bytes);
    }
    const size_t before = connection_->pending().size();
    if (parts_.draining) co_return FailureOf(Draining());  // as it would be once it had come
    const absl::Time deadline = std::min(pace.deadline(), exchange.caller.deadline);
    const Connection::Came came = co_await connection_->Fill(deadline);
    const bool late = came == Connection::Came::kNothing && absl::Now() >= deadline;
    if (came == Connection::Came::kEnd) {
      co_return BadHead(http::error::partial_message, limits_.max_header_bytes);
    }
    if (late && deadline == exchange.caller.deadline) {
      co_return FailureOf(
          absl::DeadlineExceededError("the deadline passed before the body had come"));
    }
    if (late) co_return TooSlow();
    pace.Moved(static_cast<int64_t>(connection_->pending().size() - before), absl::Now());
  }
  co_return std::nullopt;
}

void Session::StartCall(const Exchange& exchange, grpc::ByteBuffer message) {
  call_ = InternalCall::Start(parts_.channel, exchange.plan.service, exchange.plan.method,
                              exchange.caller, std::move(message));
  if (gone_) call_->Cancel();
}

asio::awaitable<InternalCall::Event> Session::NextEvent() {
  event_.reset();
  call_->Next([self = shared_from_this()](InternalCall::Event event) {
    asio::post(self->strand_, [self, event = std::move(event)]() mutable {
      self->event_ = std::move(event);
      self->told_.Raise();
    });
  });
  while (!event_.has_value()) co_await told_.Wait();
  if (!event_->message.has_value()) call_ = nullptr;  // it is over
  co_return std::move(*event_);
}

asio::awaitable<void> Session::EndCall() {
  if (call_ != nullptr) call_->Cancel();
  while (call_ != nullptr) co_await NextEvent();
}

template <typename Result>
asio::awaitable<Result> Session::Convert(size_t bytes, std::function<Result()> convert) {
  if (bytes <= kMaxConvertedHere) co_return convert();
  const auto run = [&convert]() -> asio::awaitable<Result> { co_return convert(); };
  Result result = co_await asio::co_spawn(parts_.converting, run, asio::use_awaitable);
  co_return result;
}

asio::awaitable<bool> Session::Call(Exchange& exchange) {
  std::string& body = exchange.parser.get().body().text;
  absl::StatusOr<grpc::ByteBuffer> message = co_await Convert<absl::StatusOr<grpc::ByteBuffer>>(
      body.size(), [&] { return exchange.plan.read(std::move(body)); });
  if (!message.ok()) {
    const bool refused = co_await Refuse(exchange, FailureOf(message.status()));
    co_return refused;
  }
  StartCall(exchange, *std::move(message));
  connection_->Watch([this] {
    gone_ = true;
    if (call_ != nullptr) call_->Cancel();
  });
  InternalCall::Event event = co_await NextEvent();
  bool sent = false;
  if (exchange.plan.streams) {
    sent = co_await SendStream(exchange, std::move(event));
  } else {
    sent = co_await SendOne(exchange, std::move(event));
  }
  co_await EndCall();
  connection_->StopWatching();
  co_return sent && !gone_;
}

asio::awaitable<bool> Session::SendOne(Exchange& exchange, InternalCall::Event event) {
  grpc::Status status = event.status;
  if (event.message.has_value()) {
    const InternalCall::Event end = co_await NextEvent();
    status = end.status;
  }
  if (gone_) co_return false;
  if (status.ok() && !event.message.has_value()) {
    status = grpc::Status(grpc::StatusCode::INTERNAL, "the call ended without a reply");
  }
  const Plan& plan = exchange.plan;
  HttpReply reply;
  if (status.ok()) {
    reply = co_await Convert<HttpReply>(event.message->Length(),
                                        [&] { return plan.write(*event.message); });
  } else {
    reply = plan.fail({.status = status});
  }
  event.message.reset();
  const bool sent = co_await Send(exchange, std::move(reply));
  co_return sent;
}

asio::awaitable<bool> Session::SendStream(Exchange& exchange, InternalCall::Event event) {
  exchange.keep = exchange.keep && exchange.chunks && !parts_.leaving;
  Pace pace(limits_.max_stream_idle, absl::Now());
  bool open = co_await connection_->Write(HeadOf(exchange, exchange.plan.head, std::nullopt), pace);
  while (open && event.message.has_value()) {
    const HttpReply piece = exchange.plan.write(*event.message);
    open = co_await SendPiece(exchange, piece.body);
    if (open) event = co_await NextEvent();
  }
  if (!open) co_return false;
  const bool well = event.status.ok();
  const std::string last =
      well ? exchange.plan.last : exchange.plan.fail({.status = event.status}).body;
  open = co_await SendPiece(exchange, last);
  if (open && exchange.chunks) open = co_await SendPiece(exchange, "");
  co_return open;
}

// A chunk; the empty one is the last.
asio::awaitable<bool> Session::SendPiece(Exchange& exchange, std::string_view piece) {
  Pace pace(limits_.max_stream_idle, absl::Now());
  const std::string chunk = absl::StrFormat("%x\r\n%s\r\n", piece.size(), View(piece));
  const bool sent = co_await connection_->Write(exchange.chunks ? chunk : piece, pace);
  co_return sent;
}

asio::awaitable<bool> Session::Send(Exchange& exchange, HttpReply reply) {
  exchange.keep = exchange.keep && !parts_.leaving;
  exchange.share.TakeAnyway(static_cast<int64_t>(reply.body.size()));
  std::string head = HeadOf(exchange, reply, reply.body.size());
  if (exchange.head_only) reply.body.clear();
  if (reply.body.size() <= kMaxBesideHead) head += std::exchange(reply.body, "");
  Pace pace(limits_.max_stream_idle, absl::Now());
  bool sent = co_await connection_->Write(head, pace);
  if (sent) sent = co_await connection_->Write(reply.body, pace);
  co_return sent;
}

std::string Session::HeadOf(const Exchange& exchange, const HttpReply& reply,
                            std::optional<size_t> body_bytes) const {
  const auto reason =
      http::obsolete_reason(http::int_to_status(static_cast<unsigned>(reply.status)));
  std::string head = absl::StrCat("HTTP/1.1 ", reply.status, " ", std::string(reason), "\r\n");
  absl::StrAppend(&head, "Date: ",
                  absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone()),
                  "\r\n", kOfEveryReply, "X-Request-Id: ", exchange.caller.request_id, "\r\n");
  for (const HttpHeader& header : reply.headers) {
    absl::StrAppend(&head, header.name, ": ", Printable(header.value), "\r\n");
  }
  if (!body_bytes.has_value() && exchange.chunks) {
    absl::StrAppend(&head, "Transfer-Encoding: chunked\r\n");
  } else if (body_bytes.has_value() && reply.status != 304) {
    absl::StrAppend(&head, "Content-Length: ", *body_bytes, "\r\n");
  }
  absl::StrAppend(&head, "Connection: ", exchange.keep ? "keep-alive" : "close", "\r\n\r\n");
  return head;
}

}  // namespace deweather
