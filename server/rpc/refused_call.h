// A stream that is answered as soon as it is opened: nothing of it is read.
//
// Owns     itself, until gRPC is done with it

#ifndef DEWEATHER_SERVER_RPC_REFUSED_CALL_H_
#define DEWEATHER_SERVER_RPC_REFUSED_CALL_H_

#include "absl/status/status.h"
#include "server/restore/occupancy.h"
#include "server/rpc/arrival.h"
#include "server/rpc/call_parts.h"
#include "server/rpc/grpc_status.h"

namespace deweather {

template <typename Reactor>
class RefusedCall final : public Reactor {
 public:
  RefusedCall(const CallParts& parts, const Arrival& arrival, const absl::Status& why)
      : place_(parts.calls) {
    Leave(parts, arrival, why);
    this->Finish(ToGrpc(why));
  }
  void OnDone() override { delete this; }

 private:
  const Occupancy::Place place_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_REFUSED_CALL_H_
