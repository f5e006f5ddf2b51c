// What all calls of one service share, and what every one of them does alike.

#ifndef DEWEATHER_SERVER_RPC_CALL_PARTS_H_
#define DEWEATHER_SERVER_RPC_CALL_PARTS_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/server_options.h"
#include "server/access/access.h"
#include "server/restore/admission.h"
#include "server/restore/occupancy.h"
#include "server/restore/restore.h"
#include "server/rpc/open_calls.h"

namespace deweather {

class RequestLog;

// Threads  thread-safe
class UnreadReplies {
 public:
  using Share = std::shared_ptr<Admission::Share>;

  explicit UnreadReplies(int64_t max_bytes);

  // RESOURCE_EXHAUSTED BYTE_BUDGET, unless nobody else has unread replies.
  absl::StatusOr<Share> Take(const std::string& caller, int64_t bytes);

  // Makes `request` take room for its reply as soon as its size is known, and its refusal the request's
  // result. The room is in the returned place then, which the request does not outlive.
  std::shared_ptr<Share> TakeFor(RestoreRequest& request);

 private:
  std::shared_ptr<Admission> room_;  // of each share too: requests may outlive the service
};

// What a server knows of calls, whatever service they are for.
struct Entrance {
  RequestLog* requests = nullptr;  // none: only what the server is to blame for is logged
  const Access* access = nullptr;  // none: whoever comes may call everything
};

struct CallParts {
  const std::string service;  // full name
  const Entrance entrance;
  Occupancy& calls;  // a call is in it until its reply has been sent
  const LimitOptions limits;
  OpenCalls open = {};
};

// Of calls that restore.
struct RestorationParts : CallParts {
  RestorePipeline& pipeline;
  UnreadReplies unread;  // replies of streams are in it until they have been sent
};

absl::Time DeadlineOf(const grpc::CallbackServerContext& context);

// Whether it is a fault of the server's, and none of a caller's.
bool IsServersFault(const absl::Status& error);

// The same; a read-only data folder in words that tell a caller where to go.
absl::Status ForCallers(const absl::Status& status);

// UNAVAILABLE, with the reason DRAINING.
absl::Status Draining();

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_CALL_PARTS_H_
