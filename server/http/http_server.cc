#include "server/http/http_server.h"

#include <grpcpp/support/channel_arguments.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <exception>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/base/mutex.h"
#include "model/base/processors.h"
#include "model/base/status_macros.h"
#include "server/http/asio.h"
#include "server/http/session.h"
#include "server/http/tls_contexts.h"

namespace deweather {

namespace asio = boost::asio;

struct HttpServer::State {
  State(const HttpServerParts& of, bool local_only);

  void Stop();
  // Takes the socket over.
  void Serve(int fd);
  void ForEachSession(void (Session::*tell)());
  void Forget(const Session* session, const std::exception_ptr& error);

  asio::thread_pool converters;
  SessionParts parts;
  TlsContexts tls;
  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  Mutex mutex;
  std::unordered_map<const Session*, std::weak_ptr<Session>> sessions ABSL_GUARDED_BY(mutex);
  std::unique_ptr<Listener> listener;
  std::vector<std::thread> threads;  // last: they use all of the above
};

namespace {

int ThreadCount() { return std::max(2, UsableProcessors()); }

std::shared_ptr<grpc::Channel> ChannelTo(grpc::Server& server) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // the server has limits of its own
  arguments.SetMaxSendMessageSize(-1);
  return server.InProcessChannel(arguments);
}

SessionParts SessionPartsOf(const HttpServerParts& of, bool local_only,
                            const asio::any_io_executor& converting) {
  return {.channel = ChannelTo(of.server),
          .calls = of.calls,
          .access = of.access,
          .requests = of.requests,
          .local_only = local_only,
          .routes = {.limits = of.limits, .health = of.health, .metrics = of.metrics},
          .bodies = BodyBudget(of.limits.max_transport_bytes),
          .converting = converting};
}

}  // namespace

HttpServer::State::State(const HttpServerParts& of, bool local_only)
    : converters(ThreadCount()),
      parts(SessionPartsOf(of, local_only, converters.get_executor())),
      tls(of.certificates) {
  for (int i = 0; i < ThreadCount(); ++i) threads.emplace_back([this] { io.run(); });
}

void HttpServer::State::Stop() {
  if (listener != nullptr) listener->Stop();
  ForEachSession(&Session::Abort);
  work.reset();
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  parts.channel = nullptr;
}

void HttpServer::State::Serve(int fd) {
  std::shared_ptr<asio::ssl::context> context;
  if (!tls.plaintext()) {
    context = tls.Current();
    if (context == nullptr) {
      close(fd);
      return;
    }
  }
  const asio::any_io_executor strand = asio::make_strand(io);
  const auto session = std::make_shared<Session>(
      parts, strand, std::make_shared<Connection>(strand, fd, std::move(context)));
  {
    MutexLock lock(mutex);
    sessions[session.get()] = session;
  }
  // The function holds the session until it runs, and then the session itself.
  asio::co_spawn(
      strand, [session] { return session->Run(); },
      [this, raw = session.get()](const std::exception_ptr& error) { Forget(raw, error); });
}

void HttpServer::State::Forget(const Session* session, const std::exception_ptr& error) {
  {
    MutexLock lock(mutex);
    sessions.erase(session);
  }
  if (error == nullptr) return;
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& why) {  // out of memory, say: its connection ends, and no other
    spdlog::error("http: a connection ended: {}", why.what());
  }
}

void HttpServer::State::ForEachSession(void (Session::*tell)()) {
  std::vector<std::shared_ptr<Session>> open;
  {
    MutexLock lock(mutex);
    for (const auto& [raw, weak] : sessions) {
      if (std::shared_ptr<Session> session = weak.lock()) open.push_back(std::move(session));
    }
  }
  for (const std::shared_ptr<Session>& session : open) ((*session).*tell)();
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& listen,
                                                              const HttpServerParts& parts) {
  const bool local_only = parts.access == nullptr && parts.certificates == nullptr;
  auto state = std::make_unique<State>(parts, local_only);
  DW_ASSIGN_OR_RETURN(state->listener,
                      Listener::Start(listen, parts.limits.max_connections,
                                      [raw = state.get()](int fd) { raw->Serve(fd); }));
  std::string address =
      absl::StrCat(listen.substr(0, listen.rfind(':')), ":", state->listener->port());
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state), std::move(address)));
}

HttpServer::HttpServer(std::unique_ptr<State> state, std::string address)
    : state_(std::move(state)), address_(std::move(address)) {}

HttpServer::~HttpServer() { Stop(); }

void HttpServer::Stop() { state_->Stop(); }

void HttpServer::EndKeepAlive() { state_->parts.leaving = true; }

void HttpServer::BeginDrain() {
  EndKeepAlive();
  state_->parts.draining = true;
  state_->listener->Stop();
  state_->ForEachSession(&Session::Drain);
}

Listener& HttpServer::listener() { return *state_->listener; }

int64_t HttpServer::held_bytes() const { return state_->parts.bodies.held_bytes(); }

}  // namespace deweather
