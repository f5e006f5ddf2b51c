// From tiles of pictures to one tensor, through their model, and back.
//
// Shapes   pixels gathered, converted and padded straight into [B,3,H,W] f32 in [0,1]
// Threads  the executor thread only
// Errors   the model's own for every tile; INTERNAL for each tile with a non-finite pixel; never
//          throws
// Cost     one batch of input and one of output; each result owns its 3*H*W floats

#ifndef DEWEATHER_SERVER_RESTORE_RUN_BATCH_H_
#define DEWEATHER_SERVER_RESTORE_RUN_BATCH_H_

#include "server/batch/tile.h"
#include "server/restore/metrics.h"

namespace deweather {

// Counts what it runs in `metrics`, which must outlive the function: only tiles that came out well
// count towards the experts' series.
RunBatch MakeRunBatch(Metrics& metrics);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RESTORE_RUN_BATCH_H_
