// Between messages of ModelService and what LiveModels knows.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_SERVER_RPC_MODEL_CONVERT_H_
#define DEWEATHER_SERVER_RPC_MODEL_CONVERT_H_

#include "deweather/v1/model.pb.h"
#include "server/restore/live_models.h"

namespace deweather {

v1::Model ToMessage(const ModelStatus& status);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_MODEL_CONVERT_H_
