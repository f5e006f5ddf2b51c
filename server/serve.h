// A whole server: wires the parts in the order in which they need each other, serves until it is told
// to stop, drains.

#ifndef DEWEATHER_SERVER_SERVE_H_
#define DEWEATHER_SERVER_SERVE_H_

#include <functional>

#include "absl/status/status.h"
#include "model/base/server_options.h"
#include "server/batch/tile.h"

namespace deweather {

// Goes around the model: tests plant faults there.
using DecorateRun = std::function<RunBatch(RunBatch)>;

// Leaves SIGTERM, SIGINT and SIGHUP to Serve, and programs to who started them, whatever was inherited. Call
// it before any thread exists.
void BlockStopSignals();

// Prints where it listens. Before that all is checked that would keep it from serving. Where another server has
// the jobs of the data folder, or the disk is full, this one serves without them, and takes them as soon as it
// can. SIGHUP makes it read certificates and tokens again at once. Returns OK after SIGTERM or SIGINT, once
// what was in flight has ended or drain.timeout is over; a second signal ends the process at once. An error: it could not start, or the
// device failed, after which health says NOT_SERVING and calls are answered UNAVAILABLE.
absl::Status Serve(const ServerOptions& options, const DecorateRun& decorate_run = {});

}  // namespace deweather

#endif  // DEWEATHER_SERVER_SERVE_H_
