// What a Client is made of, and what each of its calls carries. Here statuses become exceptions.

#ifndef DEWEATHER_CLIENT_CPP_LINK_H_
#define DEWEATHER_CLIENT_CPP_LINK_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/channel.h"
#include "client/restore_picture.h"
#include "client/retry.h"
#include "deweather/error.h"
#include "deweather/options.h"
#include "deweather/v1/model.grpc.pb.h"
#include "deweather/v1/restoration.grpc.pb.h"
#include "deweather/v1/training.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace deweather {

// The connections of one client.
//
// Threads  constant after Connect
struct Link {
  ServerFlags flags;  // whose timeout is the deadline
  bool retries = true;
  Say say;
  std::unique_ptr<v1::RestorationService::Stub> restoration;  // over all servers of the name
  std::unique_ptr<v1::ModelService::Stub> models;
  std::unique_ptr<v1::TrainingService::Stub> training;
  std::unique_ptr<v1::TrainingService::Stub>
      patient;  // of calls that CallUntilAnswered repeats, lest attempts multiply
  std::unique_ptr<grpc::health::v1::Health::Stub> health;
};

// Throws Error.
std::shared_ptr<const Link> Connect(const ClientOptions& options);

// What one call of the library was told, for all of its attempts. Throws kInvalidArgument.
struct CallWishes {
  CallWishes(const Link& link, const CallOptions& call);

  // An attempt: the deadline, if there is one, and the id.
  void Prepare(grpc::ClientContext& context) const;
  // Cancels the call once the wish to stop is there, until the thread is destroyed; none if nobody can wish it.
  std::jthread CancelWhenStopped(grpc::ClientContext& context) const;

  PictureCall ForPicture(const Link& link) const;
  // Of calls that wait for long: `time` without an answer.
  RetryOptions Patience(const Link& link) const;

  absl::Duration time;
  absl::Time deadline;
  std::string request_id;
  bool timed;      // the caller named a deadline
  bool stoppable;  // the caller has a Cancellation
  std::shared_ptr<const std::atomic<bool>> stop;
};

// What is wrong on this side, before or beside a call.
[[noreturn]] void Throw(const absl::Status& status);

// Of a call that ended.
[[noreturn]] void Throw(const Link& link, const CallWishes& wishes, const grpc::Status& status);

// Throws kInvalidArgument unless a message can hold it: protobuf would print that it cannot.
void CheckText(const char* what, std::string_view text);
void CheckLabels(const std::map<std::string, std::string>& labels);

// `text` with the names of ClientOptions in place of the flags of `deweather`.
std::string InOptionNames(const std::string& text);

// One unary call.
template <typename Stub, typename Request, typename Response>
Response Call(const Link& link, const CallOptions& options, Stub& stub,
              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
              const Request& request) {
  const CallWishes wishes(link, options);
  grpc::ClientContext context;
  wishes.Prepare(context);
  const std::jthread canceller = wishes.CancelWhenStopped(context);
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (!status.ok()) Throw(link, wishes, status);
  return response;
}

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_CPP_LINK_H_
