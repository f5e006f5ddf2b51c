// One connection's requests, one after the other: read the head, decide, read the body, call, reply.
// Whatever is wrong with a request is found out as early as it can be, and nothing more of it is read.
//
// Owns     itself, until its connection is closed
// Threads  Start, Drain and Abort from any; all else on its strand

#ifndef DEWEATHER_SERVER_HTTP_SESSION_H_
#define DEWEATHER_SERVER_HTTP_SESSION_H_

#include <grpcpp/channel.h>

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/beast/http/parser.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/access/access.h"
#include "server/http/asio.h"
#include "server/http/body_budget.h"
#include "server/http/connection.h"
#include "server/http/internal_call.h"
#include "server/http/received_body.h"
#include "server/http/routes.h"
#include "server/restore/occupancy.h"
#include "server/rpc/request_log.h"

namespace deweather {

// What all sessions of a server share; outlives them.
struct SessionParts {
  std::shared_ptr<grpc::Channel> channel;  // to this process's own services
  Occupancy& calls;                        // a request is in it until its reply has been sent
  const Access* access;                    // none: there are no tokens
  RequestLog* requests;                    // of those that became no call; none: no log
  bool local_only;                         // nothing else tells whether a host's name is ours
  RouteParts routes;
  BodyBudget bodies;
  boost::asio::any_io_executor
      converting;                      // large messages, so that no short request is behind one
  std::atomic<bool> leaving = false;   // connections end with the reply that is under way
  std::atomic<bool> draining = false;  // nothing more is read
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(SessionParts& parts, const boost::asio::any_io_executor& strand,
          std::shared_ptr<Connection> connection);

  boost::asio::awaitable<void> Run();

  // To be called after parts.draining was set.
  void Drain();
  void Abort();

 private:
  using Parser = boost::beast::http::request_parser<ReceivedBody>;

  // A request from its first byte to its last, and what is decided about it.
  struct Exchange {
    explicit Exchange(BodyBudget& bodies) : share(bodies) {}

    Parser parser;
    BodyBudget::Share share;
    HttpRequest request;
    Caller caller;
    absl::Time begin = absl::Now();  // when its head had come
    bool head_only = false;          // HEAD
    bool chunks = true;              // HTTP/1.1
    bool keep = false;               // the connection, after it
    Plan plan;
  };

  boost::asio::awaitable<bool> ServeOne();
  // False: the connection ends without a reply.
  boost::asio::awaitable<bool> ReadHead(Exchange& exchange);
  boost::asio::awaitable<bool> AnswerBadHead(boost::beast::error_code error);
  absl::Status TakeHead(Exchange& exchange);
  absl::Status CheckPlace(const HttpRequest& request, bool chunks) const;
  absl::Status CheckCaller(const Exchange& exchange) const;

  boost::asio::awaitable<bool> Answer(Exchange& exchange);
  boost::asio::awaitable<bool> Refuse(Exchange& exchange, const Failure& why);
  void LogRefusal(const Exchange& exchange, const Failure& why);
  boost::asio::awaitable<bool> RefuseByCall(Exchange& exchange, const absl::Status& why);
  // Nothing: it is there.
  boost::asio::awaitable<std::optional<Failure>> ReadBody(Exchange& exchange);
  boost::asio::awaitable<bool> Call(Exchange& exchange);
  // `convert`s a message of so many bytes, where it holds up nobody.
  template <typename Result>
  boost::asio::awaitable<Result> Convert(size_t bytes, std::function<Result()> convert);
  void StartCall(const Exchange& exchange, grpc::ByteBuffer message);
  boost::asio::awaitable<InternalCall::Event> NextEvent();
  // Cancels it if it is not over.
  boost::asio::awaitable<void> EndCall();

  // False: the connection is closed.
  boost::asio::awaitable<bool> Send(Exchange& exchange, HttpReply reply);
  boost::asio::awaitable<bool> SendOne(Exchange& exchange, InternalCall::Event event);
  boost::asio::awaitable<bool> SendStream(Exchange& exchange, InternalCall::Event event);
  boost::asio::awaitable<bool> SendPiece(Exchange& exchange, std::string_view piece);
  // Without `body_bytes` the body comes in chunks.
  std::string HeadOf(const Exchange& exchange, const HttpReply& reply,
                     std::optional<size_t> body_bytes) const;

  SessionParts& parts_;
  const LimitOptions& limits_;
  const boost::asio::any_io_executor strand_;
  const std::shared_ptr<Connection> connection_;
  const absl::Time begun_ = absl::Now();
  bool first_ = true;                   // no request has come
  std::shared_ptr<InternalCall> call_;  // none, or it is over
  bool gone_ = false;                   // the caller, during the call
  Event told_;                          // by the call
  std::optional<InternalCall::Event> event_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_SESSION_H_
