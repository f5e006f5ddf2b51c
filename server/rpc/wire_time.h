// Times and durations as they are in messages.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_SERVER_RPC_WIRE_TIME_H_
#define DEWEATHER_SERVER_RPC_WIRE_TIME_H_

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "absl/time/time.h"

namespace deweather {

void SetTime(absl::Time time, google::protobuf::Timestamp* timestamp);
void SetDuration(absl::Duration duration, google::protobuf::Duration* message);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_WIRE_TIME_H_
