// One picture in, the restored picture out: the life of a request, from bytes to bytes.
// Every step is a short task that hands over to the next; no thread ever waits for the model.
//
//   admit → decode → tiles → batches → blend → encode → done
//
// Owns     RestorePipeline owns the workers, the batcher with its executor thread, and every
//          request in flight; a request pins its model version until it ends
// Threads  thread-safe; `done` runs on a worker, on the executor or inside Start, never under a lock
// Errors   INVALID_ARGUMENT not a picture, over the pixel limit, or a bad option
//          NOT_FOUND no such model · FAILED_PRECONDITION a map of a router that the model has not
//          RESOURCE_EXHAUSTED a budget is spent · UNAVAILABLE draining, or no live model
//          DEADLINE_EXCEEDED, CANCELLED · INTERNAL the model failed or gave non-finite pixels
//          Each message names value and limit; ErrorReason gives its reason. Never throws.
// Cost     memory: the encoded bytes, one copy of the pixels, a band of the blender and a window
//          of tiles

#ifndef DEWEATHER_SERVER_RESTORE_RESTORE_H_
#define DEWEATHER_SERVER_RESTORE_RESTORE_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/error_reason.h"
#include "model/image/codec.h"
#include "model/image/image.h"
#include "server/batch/call.h"
#include "server/batch/pulse.h"
#include "server/batch/tile.h"
#include "server/restore/admission.h"

namespace deweather {

class LiveModels;
class Metrics;
struct PinnedModel;

// What a caller may choose. The zero value is what RestoreOptions of the wire means by default.
struct RestoreOptions {
  std::string model = {};  // a live model's name; empty or "default": the default one
  std::optional<ImageFormat> format = {};  // of the reply; default: the input's
  int quality = 0;                         // 1..100 for JPEG and WebP; 0: as the input's
  MetadataPolicy metadata = MetadataPolicy::kPreserve;
  float strength = 1.0f;         // 0..1: I + strength * (restored - I)
  uint64_t seed = 0;             // of the uncertainty passes
  std::string task = {};         // of a model with one gate per task; empty: none
  bool expert_map = false;       // fill RestoreResult::expert_map_png
  bool uncertainty_map = false;  // fill RestoreResult::uncertainty_map_png
  Priority priority = Priority::kNormal;
};

// Room in the budgets, given back when destroyed (server/restore/admission.h).
using Reservation = std::unique_ptr<Admission::Share>;

// A picture that comes in no file: what stands for a file's header, decoder and encoder.
struct RawPicture {
  ImageInfo info = {};  // of what `read` gives
  int64_t bytes = 0;    // that it takes until it is read
  // Both are called on a worker, at most once; `read` is let go of then.
  std::function<absl::StatusOr<Image>()> read = {};
  std::function<absl::StatusOr<std::string>(const Image&)> write = {};
};

struct RestoreRequest {
  std::string image;  // an encoded picture
  RestoreOptions options;
  absl::Time deadline = absl::InfiniteFuture();
  std::string caller;            // who asks: the queue and the quotas are fair between callers
  Reservation reservation = {};  // made while the picture arrived; given back when it is admitted
  // Largest reply, its picture and maps together; a larger one is RESOURCE_EXHAUSTED.
  int64_t max_reply_bytes = std::numeric_limits<int64_t>::max();
  int64_t max_map_bytes = std::numeric_limits<int64_t>::max();  // the same of the maps alone
  // Asked with the reply's size before the reply counts as one; an error becomes the result instead.
  // Called on a worker, at most once. May be empty.
  std::function<absl::Status(int64_t bytes)> take_reply = {};
  // Tiles restored so far and in all; called on a worker, ascending, `total` at the end. May be empty.
  std::function<void(int done, int total)> progress = {};
  std::stop_token cancel;  // request_stop() at any time, from any thread: the call ends soon, with
                           // CANCELLED, or DEADLINE_EXCEEDED where the deadline has passed
  // What to end with instead of CANCELLED: written, if at all, before `cancel`. May be null.
  std::shared_ptr<const absl::Status> cancel_cause = {};
  std::optional<RawPicture> raw = {};  // instead of `image`; options of files do not matter then
  // What pictures that belong together are restored with; null: what options.model names.
  std::shared_ptr<const PinnedModel> model = {};
};

// Which experts worked on one picture, summed over its tiles (overlaps and reflected borders count
// in every tile that covers them). Per layer, the sum of `tokens` is units * kept, exactly.
struct RoutingSummary {
  int layers = 0;   // layers with a router; 0: the model routes nothing and all below is empty
  int experts = 0;  // E, of the largest layer
  std::vector<int> layer_experts = {};  // [layers]: E of each
  int kept = 0;                         // K
  bool per_image = false;               // what is routed: whole images, not tokens
  int unit_px = 0;                      // side of a token; 0: images are routed
  int64_t tiles = 0;                    // tiles the model ran on
  int64_t units = 0;                    // units (tokens, or images) routed, in each layer
  std::vector<int64_t> tokens;          // [layers][experts]: units that kept the expert
  std::vector<double> gate;             // [layers][experts]: sum of the gate weights of those units
  std::vector<double> entropy;  // [layers]: mean over units of the router's entropy / ln E, 0..1
  // [layers]: mean over units of what the uncertainty map shows; empty unless that was asked for.
  std::vector<double> uncertainty = {};
};

// Where the time went. Stages of different tiles overlap, so they need not add up to `total`.
struct StageTimings {
  absl::Duration decode;  // headers and pixels
  absl::Duration queue;   // mean wait of a tile for its batch
  absl::Duration infer;   // sum of this picture's shares of its batches' run times
  absl::Duration blend;   // sum over tiles
  absl::Duration encode;
  absl::Duration total;  // from Start to done
  int tiles = 0;
  int batches = 0;  // that held at least one of the tiles
};

struct RestoreResult {
  std::string image;  // encoded, or what RawPicture::write made of it
  ImageFormat format = ImageFormat::kPng;
  int width = 0;  // after EXIF orientation
  int height = 0;
  std::string model;
  std::string version;
  RoutingSummary routing;
  StageTimings timings;
  // If asked for and the model routes tokens: an 8-bit grey PNG, one pixel per token of the
  // picture, its value the token's heaviest expert in the last layer. Else empty.
  std::string expert_map_png;
  // If asked for: a 16-bit grey PNG, one pixel per token of the picture, its value the router's
  // uncertainty, averaged over layers, times 65535. The same picture, task, version and seed give the same
  // on the same device at the same precision.
  std::string uncertainty_map_png;
};

// Called exactly once for each Start. Must not throw.
using RestoreDone = std::function<void(absl::StatusOr<RestoreResult>)>;

// Runs a task on the thread that runs the model, between batches.
using Executor = std::function<void(std::function<void()>)>;

struct RestorePipelineOptions {
  int workers = 2;                  // threads for decode, blend and encode; >= 1
  int max_batch = 8;                // tiles a batch, at most; >= 1
  int window_tiles = 32;            // of one request, queued or being restored; >= 1
  DecodeLimits decode_limits = {};  // pixel limit of one picture
  AdmissionOptions admission = {};
  absl::Duration max_batch_delay = absl::ZeroDuration();            // see BatcherOptions
  std::function<void(const absl::Status&)> on_device_failure = {};  // see BatcherOptions
  std::function<RunBatch(RunBatch)> decorate_run = {};  // around the model: tests plant faults
};

class RestorePipeline {
 public:
  // `models` and `metrics` must outlive the pipeline.
  RestorePipeline(const RestorePipelineOptions& options, LiveModels& models, Metrics& metrics);

  // Waits for the requests in flight: cancel them first, or let them end.
  // REQUIRES: nobody calls Start or uses executor() any more.
  ~RestorePipeline();

  RestorePipeline(const RestorePipeline&) = delete;
  RestorePipeline& operator=(const RestorePipeline&) = delete;

  // Admits or refuses on the calling thread, then posts the first step and returns. Whatever goes wrong
  // reaches `done`, a refusal before Start returns.
  void Start(RestoreRequest request, RestoreDone done);

  // What a picture holds while it is restored, by its header. The errors of headers.
  // REQUIRES: it names a model.
  absl::StatusOr<Admission::Needs> NeedsOf(const RestoreRequest& request) const;

  // Whether pictures that need so much together can be in flight at the same time for one caller:
  // INVALID_ARGUMENT if that can never be. A single one always can.
  absl::Status CheckTogether(const Admission::Needs& needs) const;

  // What is wrong with options whatever the picture, an unknown model among it: for transports that
  // know them before the picture.
  absl::Status CheckOptions(const RestoreOptions& options) const;

  // Room for the bytes of a picture that arrives in pieces, before they do: RESOURCE_EXHAUSTED or
  // UNAVAILABLE as a request of that size would get. `held`, if any, is given up for it in the same
  // step, whatever the answer.
  absl::StatusOr<Reservation> Reserve(const std::string& caller, int64_t bytes,
                                      Reservation held = nullptr);

  // Counts a request that its transport refused, so that the metrics know of every one.
  void CountRefused(const absl::Status& status);

  // From now on Start answers UNAVAILABLE; what is in flight goes on. Idempotent.
  void BeginDrain();

  // Requests that still hold something; the `done` of every other one has returned.
  int in_flight() const;

  // For LiveModels::Load: warm-up runs where batches run.
  Executor executor();

  // What each device is at, for who watches them.
  std::vector<Pulse> Pulses() const;

  // A device that hangs is reported as one that failed, and all tiles are answered (Batcher::GiveUp). Its run
  // never ends, and neither does then the destructor.
  void GiveUp(int device, const absl::Status& why);

  // Sizes a batch may have, ascending: every one is warmed before a model becomes live.
  std::vector<int> batch_sizes() const;

 private:
  struct Parts;       // what all requests share
  class Restoration;  // one request on its way

  std::unique_ptr<Parts> parts_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RESTORE_RESTORE_H_
