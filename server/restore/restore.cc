#include "server/restore/restore.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <new>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/mutex.h"
#include "model/base/name.h"
#include "model/base/random_key.h"
#include "model/base/status_macros.h"
#include "model/base/worker_pool.h"
#include "model/image/tiling.h"
#include "server/batch/batcher.h"
#include "server/batch/call.h"
#include "server/restore/admission.h"
#include "server/restore/live_models.h"
#include "server/restore/metrics.h"
#include "server/restore/occupancy.h"
#include "server/restore/run_batch.h"
#include "server/restore/token_map.h"

namespace deweather {
namespace {

// A picture of more pixels takes tens of milliseconds to decode or encode.
constexpr int64_t kLongPixels = 2'000'000;

bool IsLong(const ImageInfo& info) { return int64_t{info.width} * info.height > kLongPixels; }

absl::Status CheckLength(const std::string& model) {
  if (model.size() <= kMaxNameBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "model's name is %d bytes long; it must be 1 to %d", model.size(), kMaxNameBytes));
}

absl::Status Validate(const RestoreOptions& options) {
  absl::Status status = CheckLength(options.model);
  if (!options.task.empty()) status.Update(ValidateName("task", options.task));
  if (status.ok() && (options.quality < 0 || options.quality > 100)) {
    status = absl::InvalidArgumentError(
        absl::StrFormat("quality is %d; it must be in 1..100, or 0", options.quality));
  }
  if (status.ok() && !(options.strength >= 0.0f && options.strength <= 1.0f)) {
    status = absl::InvalidArgumentError(
        absl::StrFormat("strength is %s; it must be in 0..1", ShownNumber(options.strength)));
  }
  return WithReason(status, "INVALID_OPTION");
}

absl::Status CheckTask(const std::string& task, const LiveModelInfo& model) {
  if (model.tasks.empty()) {
    if (task.empty()) return absl::OkStatus();
    return WithReason(absl::InvalidArgumentError(absl::StrFormat(
                          "task is '%s', but model '%s' has no gate per task", task, model.name)),
                      "UNSUPPORTED_OPTION");
  }
  if (task.empty()) {
    return WithReason(absl::InvalidArgumentError(absl::StrFormat(
                          "model '%s' has a gate for each task, so task must be one of %s",
                          model.name, ShownNames(model.tasks))),
                      "TASK_REQUIRED");
  }
  if (std::ranges::find(model.tasks, task) != model.tasks.end()) return absl::OkStatus();
  return WithReason(
      absl::InvalidArgumentError(absl::StrFormat("task is '%s'; model '%s' knows %s", task,
                                                 model.name, ShownNames(model.tasks))),
      "UNKNOWN_TASK");
}

absl::Status CheckOffered(const RestoreOptions& options, const LiveModelInfo& model) {
  DW_RETURN_IF_ERROR(CheckTask(options.task, model));
  if (!options.uncertainty_map || (model.layers > 0 && !model.per_image)) return absl::OkStatus();
  const char* const why = model.layers == 0
                              ? "routes nothing: it has no router whose uncertainty could be shown"
                              : "routes whole pictures: its router is as uncertain everywhere";
  return WithReason(
      absl::FailedPreconditionError(absl::StrFormat("model '%s' %s", model.name, why)),
      "NOT_ROUTED");
}

// Whether a version that the request may get offers what the options ask of it: which one it gets is
// known when it is pinned. Of several errors the live version's is told.
absl::Status Check(const RestoreOptions& options, const LiveModels& models) {
  DW_RETURN_IF_ERROR(Validate(options));
  DW_ASSIGN_OR_RETURN(const std::vector<LiveModelInfo> serving, models.Serving(options.model));
  absl::Status status;
  for (auto version = serving.rbegin(); version != serving.rend(); ++version) {
    status = CheckOffered(options, *version);
    if (status.ok()) break;
  }
  return status;
}

absl::StatusOr<ImageInfo> Inspect(const std::string& bytes, const DecodeLimits& limits) {
  absl::StatusOr<ImageInfo> info = ReadImageInfo(bytes, limits);
  if (info.ok()) return info;
  const DecodeLimits no_limit{.max_pixels = std::numeric_limits<int64_t>::max()};
  // A false claim of many pixels fails without the limit too, but for another reason.
  const bool too_large = ReadImageInfo(bytes, no_limit).status() != info.status();
  return WithReason(info.status(), too_large ? "PIXEL_LIMIT" : "INVALID_IMAGE");
}

absl::StatusOr<ImageInfo> InfoOf(const RestoreRequest& request, const DecodeLimits& limits) {
  if (!request.raw.has_value()) return Inspect(request.image, limits);
  const ImageInfo& info = request.raw->info;
  const int64_t pixels = int64_t{info.width} * info.height;
  if (pixels <= limits.max_pixels) return info;
  return WithReason(absl::InvalidArgumentError(absl::StrFormat(
                        "picture of %dx%d = %d pixels is over the limit of %d pixels", info.width,
                        info.height, pixels, limits.max_pixels)),
                    "PIXEL_LIMIT");
}

// Side of a token in pixels; 0: none is routed.
int TokenPx(const LiveModelInfo& model) {
  return model.layers > 0 && !model.per_image ? model.tile.multiple_px : 0;
}

// What a request's maps hold.
int64_t MapBytes(const RestoreOptions& options, const ImageInfo& info, int token_px) {
  if (token_px == 0) return 0;
  const int maps = (options.expert_map ? 1 : 0) + (options.uncertainty_map ? 1 : 0);
  return maps * TokenMap::BytesOf(info.width, info.height, token_px);
}

// What a request holds at its largest, but for its maps, by estimate: the file, the pixels, the blender's
// band of accumulators, taken as two rows of tiles (a narrow picture's band may span more, of fewer pixels),
// and restored tiles that wait to be blended.
int64_t BytesInFlight(int64_t encoded_bytes, const ImageInfo& info, const TileGrid& grid,
                      int64_t window_tiles) {
  const int64_t band_rows = std::min<int64_t>(info.height, int64_t{2} * grid.tile_height());
  const int64_t window_pixels = window_tiles * grid.tile_width() * grid.tile_height();
  return encoded_bytes + info.DecodedBytes() +
         (band_rows * info.width + window_pixels) * 3 * int64_t{sizeof(float)};
}

// The same of a request, and of as much of it as is in flight at a time.
Admission::Needs Needs(const RestoreRequest& request, const ImageInfo& info, const TileGrid& grid,
                       const LiveModelInfo& model, int window_tiles) {
  const auto encoded_bytes =
      request.raw.has_value() ? request.raw->bytes : static_cast<int64_t>(request.image.size());
  const int window = std::min(grid.size(), window_tiles);
  return {.bytes = BytesInFlight(encoded_bytes, info, grid, window) +
                   MapBytes(request.options, info, TokenPx(model)),
          .window_tiles = window};
}

absl::Status CheckSize(const char* what, int64_t bytes, int64_t limit) {
  if (bytes <= limit) return absl::OkStatus();
  return WithReason(absl::ResourceExhaustedError(absl::StrFormat(
                        "%s %d bytes; the server sends at most %d", what, bytes, limit)),
                    "REPLY_SIZE");
}

int64_t MapBytes(const RestoreResult& result) {
  return static_cast<int64_t>(result.expert_map_png.size() + result.uncertainty_map_png.size());
}

absl::Status CheckReply(const RestoreResult& result, const RestoreRequest& request) {
  const int64_t bytes = static_cast<int64_t>(result.image.size()) + MapBytes(result);
  DW_RETURN_IF_ERROR(CheckSize("the reply has", bytes, request.max_reply_bytes));
  return request.take_reply ? request.take_reply(bytes) : absl::OkStatus();
}

// A model that calls its input wrong is our fault, not the caller's.
absl::Status ModelFailure(const absl::Status& status) {
  if (absl::IsDeadlineExceeded(status) || absl::IsCancelled(status)) return status;
  const bool ours = absl::IsInvalidArgument(status);
  return WithReason(ours ? absl::InternalError(status.message()) : status, "MODEL_FAILED");
}

TileDrop DropReason(const absl::Status& status) {
  if (absl::IsDeadlineExceeded(status)) return TileDrop::kDeadline;
  return absl::IsCancelled(status) ? TileDrop::kCancelled : TileDrop::kFailed;
}

std::optional<Refusal> RefusalReason(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  if (reason == "BYTE_BUDGET") return Refusal::kByteBudget;
  if (reason == "TILE_BUDGET") return Refusal::kTileBudget;
  if (reason == "CALLER_QUOTA") return Refusal::kCallerQuota;
  if (reason == "DEADLINE_TOO_SHORT") return Refusal::kDeadlineTooShort;
  if (reason == "DRAINING") return Refusal::kDraining;
  if (reason == "NO_LIVE_MODEL") return Refusal::kNoLiveModel;
  return std::nullopt;
}

// Of a task that CheckTask lets through.
int TaskIndex(const std::string& task, const std::vector<std::string>& tasks) {
  if (tasks.empty()) return 0;
  return static_cast<int>(std::ranges::find(tasks, task) - tasks.begin());
}

template <typename T>
void AddTo(std::vector<T>& sums, const std::vector<T>& values) {
  sums.resize(values.size());
  for (size_t i = 0; i < values.size(); ++i) sums[i] += values[i];
}

void AddTo(RoutingSummary& routing, const RestoredTile& tile) {
  ++routing.tiles;
  if (routing.layers == 0) return;
  const auto layer0_end = tile.tokens.begin() + routing.experts;
  routing.units += std::accumulate(tile.tokens.begin(), layer0_end, int64_t{0}) / routing.kept;
  AddTo(routing.tokens, tile.tokens);
  AddTo(routing.gate, tile.gate);
  AddTo(routing.entropy, tile.entropy);  // of tiles with as many units each; a mean at the end
}

}  // namespace

// Members are destroyed in reverse order: the batcher answers into the workers.
struct RestorePipeline::Parts {
  Parts(const RestorePipelineOptions& wanted, LiveModels& live_models, Metrics& server_metrics)
      : options(wanted),
        models(live_models),
        metrics(server_metrics),
        admission(wanted.admission, wanted.max_batch, wanted.workers),
        workers(wanted.workers),
        batcher({.max_batch = wanted.max_batch,
                 .max_batch_delay = wanted.max_batch_delay,
                 .on_device_failure = wanted.on_device_failure},
                {wanted.decorate_run ? wanted.decorate_run(MakeRunBatch(server_metrics))
                                     : MakeRunBatch(server_metrics)}) {}

  absl::Status CheckServing() const {
    if (!draining) return absl::OkStatus();
    return WithReason(absl::UnavailableError("the server is draining"), "DRAINING");
  }

  const RestorePipelineOptions options;
  LiveModels& models;
  Metrics& metrics;
  std::atomic<bool> draining = false;
  Admission admission;
  Occupancy occupancy;
  WorkerPool workers;
  Batcher batcher;
};

// Each step does its part, hands over to the next, a task of the workers, and returns; no two steps
// of one request run at once.
//
// Owns     everything of the request; the tasks and tiles under way keep it alive
// Threads  Admit: the caller's; the other steps: a worker; OnTile: the executor or whoever drops the
//          tile; Cancel: the caller's
class RestorePipeline::Restoration : public std::enable_shared_from_this<Restoration> {
 public:
  Restoration(Parts& parts, RestoreRequest request, RestoreDone done);
  ~Restoration();

  void Begin();

 private:
  using Step = absl::Status (Restoration::*)();
  struct FinishedTile {
    int index = 0;
    absl::StatusOr<RestoredTile> tile;
  };

  // The life of a request, in order.
  absl::Status Admit();
  absl::Status Decode();
  absl::Status Cut();
  absl::Status Blend();
  absl::Status Encode();
  void Finish(absl::StatusOr<RestoreResult> result);

  void Cancel();
  void Then(Step step, TaskOrder order = TaskOrder::kFirst);
  void Run(Step step);
  void Measure(Stage stage, absl::Time start, absl::Duration* total);
  void CountRefusal(Refusal reason);
  Admission::Demand Demand() const;
  absl::StatusOr<Image> Read();
  absl::StatusOr<std::string> Write() const;
  const std::shared_ptr<BatchCost>& Cost() const;
  CostFit Fit() const;

  void PushTiles();
  Tile MakeTile(int index);
  void OnTile(int index, absl::StatusOr<RestoredTile> tile);
  std::vector<FinishedTile> TakeFinished();
  bool MoreFinished();
  absl::Status BlendOne(const FinishedTile& finished);
  void Account(int index, const RestoredTile& tile);
  void AddToMaps(int index, const RestoredTile& tile);
  absl::Status EncodeMaps();

  Parts& parts_;
  const Occupancy::Place place_;  // given up after all else
  RestoreRequest request_;
  const RestoreDone done_;
  const absl::Time start_ = absl::Now();
  const std::shared_ptr<Call> call_ = std::make_shared<Call>();
  std::atomic<bool> over_ = false;                     // `done_` is being called, or has been
  std::atomic<const LiveModelInfo*> given_ = nullptr;  // of model_, once it is there

  // Touched by one step at a time.
  PinnedModel model_;
  std::unique_ptr<Admission::Share> share_;
  ImageInfo info_;
  Image image_;
  std::optional<TileGrid> grid_;
  std::optional<TileSource> source_;
  std::optional<TileBlender> blender_;
  int task_ = 0;  // of the model's tasks, if it has any
  std::optional<TokenMap> expert_map_;
  std::optional<TokenMap> uncertainty_map_;
  std::vector<std::vector<double>> uncertainty_;  // [tiles][layers], to be added in their order
  int next_tile_ = 0;                             // the first that has not been pushed
  int64_t last_batch_ = 0;
  RestoreResult result_;

  Mutex mutex_;
  std::vector<FinishedTile> finished_ ABSL_GUARDED_BY(mutex_);
  bool blending_ ABSL_GUARDED_BY(mutex_) = false;  // a Blend step is posted or runs

  std::optional<std::stop_callback<std::function<void()>>> on_cancel_;
};

RestorePipeline::Restoration::Restoration(Parts& parts, RestoreRequest request, RestoreDone done)
    : parts_(parts), place_(parts.occupancy), request_(std::move(request)), done_(std::move(done)) {
  call_->deadline = request_.deadline;
  call_->caller = request_.caller;
  call_->priority = request_.options.priority;
  if (request_.model != nullptr) model_ = *std::exchange(request_.model, nullptr);
}

// The last pin of a retired version is given up on the executor: freeing it takes time.
RestorePipeline::Restoration::~Restoration() {
  if (model_.restorer.use_count() == 1) {
    parts_.batcher.Post([retired = std::move(model_.restorer)] {});
  }
}

void RestorePipeline::Restoration::Begin() {
  on_cancel_.emplace(request_.cancel, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->Cancel();
  });
  Run(&Restoration::Admit);
}

absl::Status RestorePipeline::Restoration::Admit() {
  if (request_.reservation == nullptr) DW_RETURN_IF_ERROR(parts_.CheckServing());
  const RestoreOptions& options = request_.options;
  DW_RETURN_IF_ERROR(Validate(options));
  if (model_.restorer == nullptr) {
    DW_ASSIGN_OR_RETURN(model_, parts_.models.Pin(options.model));
  }
  given_ = &model_.info;
  DW_RETURN_IF_ERROR(CheckOffered(options, model_.info));
  task_ = TaskIndex(options.task, model_.info.tasks);
  DW_ASSIGN_OR_RETURN(info_, InfoOf(request_, parts_.options.decode_limits));
  grid_.emplace(info_.width, info_.height, model_.info.tile);
  DW_ASSIGN_OR_RETURN(
      share_, parts_.admission.Admit(Demand(), absl::Now(), std::move(request_.reservation)));
  Then(&Restoration::Decode, IsLong(info_) ? TaskOrder::kLong : TaskOrder::kThird);
  return absl::OkStatus();
}

Admission::Demand RestorePipeline::Restoration::Demand() const {
  const Admission::Needs needs =
      Needs(request_, info_, *grid_, model_.info, parts_.options.window_tiles);
  return {.caller = request_.caller,
          .priority = request_.options.priority,
          .bytes = needs.bytes,
          .window_tiles = needs.window_tiles,
          .tiles = grid_->size(),
          .picture_pixels = int64_t{info_.width} * info_.height,
          .overtaken = IsLong(info_),
          .tile_pixels = int64_t{grid_->tile_width()} * grid_->tile_height(),
          .cost = Fit(),
          .deadline = request_.deadline};
}

// Of batches as its tiles are in.
const std::shared_ptr<BatchCost>& RestorePipeline::Restoration::Cost() const {
  return request_.options.uncertainty_map ? model_.map_cost : model_.cost;
}

// A map takes at least as long as none.
CostFit RestorePipeline::Restoration::Fit() const {
  const CostFit fit = Cost()->Fit();
  return fit.known() ? fit : model_.cost->Fit();
}

absl::Status RestorePipeline::Restoration::Decode() {
  const absl::Time start = absl::Now();
  absl::StatusOr<Image> image = Read();
  if (!image.ok()) return WithReason(image.status(), "INVALID_IMAGE");
  image_ = *std::move(image);
  request_.image = std::string();
  Measure(Stage::kDecode, start, &result_.timings.decode);
  return Cut();  // at once: it is too short a step to wake a worker for
}

absl::StatusOr<Image> RestorePipeline::Restoration::Read() {
  if (request_.raw.has_value()) return std::exchange(request_.raw->read, nullptr)();
  return DecodeImage(request_.image, parts_.options.decode_limits);
}

absl::Status RestorePipeline::Restoration::Cut() {
  if (image_.width != grid_->width() || image_.height != grid_->height()) {
    return absl::InternalError("the picture is not of the size that its header says");
  }
  source_.emplace(&image_);
  blender_.emplace(&image_, *grid_, request_.options.strength, parts_.options.window_tiles);
  result_.routing.layers = model_.info.layers;
  result_.routing.experts = model_.info.experts;
  result_.routing.layer_experts = model_.info.layer_experts;
  result_.routing.kept = model_.info.kept;
  result_.routing.per_image = model_.info.per_image;
  result_.routing.unit_px = TokenPx(model_.info);
  PushTiles();
  return absl::OkStatus();
}

// Runs whenever tiles have come back: blends them and lets as many others go.
absl::Status RestorePipeline::Restoration::Blend() {
  for (const FinishedTile& finished : TakeFinished()) DW_RETURN_IF_ERROR(BlendOne(finished));
  if (request_.progress) request_.progress(blender_->added_count(), grid_->size());
  if (blender_->done()) {
    Then(&Restoration::Encode, IsLong(info_) ? TaskOrder::kLong : TaskOrder::kSecond);
    return absl::OkStatus();
  }
  PushTiles();
  if (MoreFinished()) Then(&Restoration::Blend);
  return absl::OkStatus();
}

absl::Status RestorePipeline::Restoration::Encode() {
  const absl::Time start = absl::Now();
  DW_RETURN_IF_ERROR(EncodeMaps());
  absl::StatusOr<std::string> bytes = Write();
  if (!bytes.ok()) return WithReason(bytes.status(), "NOT_ENCODABLE");
  result_.image = *std::move(bytes);
  DW_RETURN_IF_ERROR(CheckReply(result_, request_));
  Measure(Stage::kEncode, start, &result_.timings.encode);
  const StageTimings& timings = result_.timings;
  if (!request_.raw.has_value()) {
    parts_.admission.LearnCodec(int64_t{info_.width} * info_.height,
                                timings.decode + timings.blend + timings.encode);
  }
  result_.format = request_.options.format.value_or(image_.format);
  result_.width = image_.width;
  result_.height = image_.height;
  result_.model = model_.info.name;
  result_.version = model_.info.version;
  for (double& entropy : result_.routing.entropy) entropy /= grid_->size();
  result_.timings.queue /= grid_->size();
  result_.timings.tiles = grid_->size();
  result_.timings.total = absl::Now() - start_;
  // Given back before the reply, so that the caller's next request finds the room.
  blender_.reset();
  image_ = Image();
  share_.reset();
  Finish(std::move(result_));
  return absl::OkStatus();
}

absl::StatusOr<std::string> RestorePipeline::Restoration::Write() const {
  if (request_.raw.has_value()) return request_.raw->write(image_);
  const RestoreOptions& options = request_.options;
  return EncodeImage(
      image_, {.format = options.format, .quality = options.quality, .metadata = options.metadata});
}

// The mean is made in the order of the tiles, so that it is the same in whatever order they came.
absl::Status RestorePipeline::Restoration::EncodeMaps() {
  if (expert_map_.has_value()) {
    DW_ASSIGN_OR_RETURN(result_.expert_map_png, expert_map_->EncodePng8());
  }
  if (uncertainty_map_.has_value()) {
    DW_ASSIGN_OR_RETURN(result_.uncertainty_map_png, uncertainty_map_->EncodePng16());
  }
  DW_RETURN_IF_ERROR(CheckSize("the maps have", MapBytes(result_), request_.max_map_bytes));
  for (const std::vector<double>& layers : uncertainty_) {
    AddTo(result_.routing.uncertainty, layers);
  }
  for (double& layer : result_.routing.uncertainty) layer /= grid_->size();
  return absl::OkStatus();
}

// The first result counts, and what is under way of a request that is over leads nowhere.
void RestorePipeline::Restoration::Finish(absl::StatusOr<RestoreResult> result) {
  if (over_.exchange(true)) return;
  const absl::Status* const cause = request_.cancel_cause.get();
  if (call_->cancelled && absl::IsCancelled(result.status()) && cause != nullptr && !cause->ok()) {
    result = *cause;
  }
  const absl::Status status = result.status();
  const absl::Duration elapsed = absl::Now() - start_;
  parts_.metrics.requests(status.code()).Increment();
  if (const LiveModelInfo* const given = given_; given != nullptr) {
    parts_.metrics.CountOfModel(given->name, given->version, status.code(), elapsed);
  }
  if (status.ok()) {
    parts_.metrics.restore_seconds(call_->priority).Observe(absl::ToDoubleSeconds(elapsed));
  } else {
    parts_.batcher.Drop(*call_, status);
    const std::optional<Refusal> refusal = RefusalReason(status);
    if (refusal.has_value()) CountRefusal(*refusal);
  }
  done_(std::move(result));
}

void RestorePipeline::Restoration::CountRefusal(Refusal reason) {
  parts_.metrics.refused(reason).Increment();
  parts_.metrics.refusal_seconds.Observe(absl::ToDoubleSeconds(absl::Now() - start_));
}

// Queued tiles go at once; the reply is a worker's.
void RestorePipeline::Restoration::Cancel() {
  const absl::Time start = absl::Now();
  call_->cancelled = true;
  parts_.batcher.Drop(*call_, StillWanted(*call_, start));
  parts_.metrics.cancel_seconds.Observe(absl::ToDoubleSeconds(absl::Now() - start));
  parts_.workers.Post(
      [self = shared_from_this()] { self->Finish(StillWanted(*self->call_, absl::Now())); },
      TaskOrder::kFirst);
}

void RestorePipeline::Restoration::Then(Step step, TaskOrder order) {
  parts_.workers.Post([self = shared_from_this(), step] { self->Run(step); }, order);
}

// A step's error ends the request, and so do exceptions (memory), a deadline or a cancel.
void RestorePipeline::Restoration::Run(Step step) {
  if (over_) return;
  absl::Status status = StillWanted(*call_, absl::Now());
  try {
    if (status.ok()) status = (this->*step)();
  } catch (const std::bad_alloc&) {
    status = absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {
    status = absl::InternalError(absl::StrFormat("unexpected exception: %s", error.what()));
  }
  if (!status.ok()) Finish(status);
}

void RestorePipeline::Restoration::Measure(Stage stage, absl::Time start, absl::Duration* total) {
  const absl::Duration elapsed = absl::Now() - start;
  *total += elapsed;
  parts_.metrics.stage_seconds(stage).Observe(absl::ToDoubleSeconds(elapsed));
}

// Keeps at most a window of tiles outstanding, and only those that the blender has room for.
void RestorePipeline::Restoration::PushTiles() {
  const int end =
      std::min(blender_->Admissible(), blender_->added_count() + parts_.options.window_tiles);
  std::vector<Tile> tiles;
  for (; next_tile_ < end; ++next_tile_) tiles.push_back(MakeTile(next_tile_));
  if (!tiles.empty()) parts_.batcher.Push(std::move(tiles));
}

Tile RestorePipeline::Restoration::MakeTile(int index) {
  const RestoreOptions& options = request_.options;
  const TileRect rect = grid_->tile(index);
  return {.call = call_,
          .model = model_.restorer,
          .cost = Cost(),
          .source = &*source_,
          .rect = rect,
          .expert_map = options.expert_map,
          .uncertainty = options.uncertainty_map,
          .key = TileKey(options.seed, rect.x, rect.y),
          .task = task_,
          .done = [self = shared_from_this(), index](absl::StatusOr<RestoredTile> tile) {
            self->OnTile(index, std::move(tile));
          }};
}

void RestorePipeline::Restoration::OnTile(int index, absl::StatusOr<RestoredTile> tile) {
  if (!tile.ok()) parts_.metrics.tiles_dropped(DropReason(tile.status())).Increment();
  if (over_) return;
  bool post = false;
  {
    MutexLock lock(mutex_);
    finished_.push_back({index, std::move(tile)});
    post = !std::exchange(blending_, true);
  }
  if (post) Then(&Restoration::Blend);
}

std::vector<RestorePipeline::Restoration::FinishedTile>
RestorePipeline::Restoration::TakeFinished() {
  MutexLock lock(mutex_);
  return std::exchange(finished_, {});
}

// Whether to blend again; if not, the next tile posts the step.
bool RestorePipeline::Restoration::MoreFinished() {
  MutexLock lock(mutex_);
  blending_ = !finished_.empty();
  return blending_;
}

absl::Status RestorePipeline::Restoration::BlendOne(const FinishedTile& finished) {
  if (!finished.tile.ok()) return ModelFailure(finished.tile.status());
  const absl::Time start = absl::Now();
  DW_RETURN_IF_ERROR(blender_->Add(finished.index, finished.tile->pixels.data()));
  Measure(Stage::kBlend, start, &result_.timings.blend);
  Account(finished.index, *finished.tile);
  return absl::OkStatus();
}

void RestorePipeline::Restoration::Account(int index, const RestoredTile& tile) {
  share_->TileDone();
  AddTo(result_.routing, tile);
  StageTimings& timings = result_.timings;
  timings.queue += tile.wait;
  timings.infer += tile.infer;
  if (std::exchange(last_batch_, tile.batch) != tile.batch) ++timings.batches;
  AddToMaps(index, tile);
}

void RestorePipeline::Restoration::AddToMaps(int index, const RestoredTile& tile) {
  const int token_px = TokenPx(model_.info);
  const auto add = [&](std::optional<TokenMap>& map, const std::vector<float>& values) {
    if (values.empty() || token_px == 0) return;
    if (!map.has_value()) map.emplace(info_.width, info_.height, token_px);
    map->Add(index, grid_->tile(index), values);
  };
  add(expert_map_, {tile.expert_map.begin(), tile.expert_map.end()});
  add(uncertainty_map_, tile.uncertainty_map);
  if (tile.uncertainty.empty()) return;
  uncertainty_.resize(static_cast<size_t>(grid_->size()));
  uncertainty_[static_cast<size_t>(index)] = tile.uncertainty;
}

RestorePipeline::RestorePipeline(const RestorePipelineOptions& options, LiveModels& models,
                                 Metrics& metrics)
    : parts_(std::make_unique<Parts>(options, models, metrics)) {
  metrics.SetLoadProbe([this] {
    const Admission::Held held = parts_->admission.held();
    return Load{parts_->batcher.Depth(), held.requests, held.bytes, parts_->batcher.Pulses()};
  });
}

RestorePipeline::~RestorePipeline() {
  parts_->occupancy.WaitUntilEmpty();
  parts_->metrics.SetLoadProbe(nullptr);
}

void RestorePipeline::Start(RestoreRequest request, RestoreDone done) {
  std::make_shared<Restoration>(*parts_, std::move(request), std::move(done))->Begin();
}

void RestorePipeline::CountRefused(const absl::Status& status) {
  parts_->metrics.requests(status.code()).Increment();
  const std::optional<Refusal> refusal = RefusalReason(status);
  if (refusal.has_value()) parts_->metrics.refused(*refusal).Increment();
}

void RestorePipeline::BeginDrain() { parts_->draining = true; }

absl::Status RestorePipeline::CheckOptions(const RestoreOptions& options) const {
  return Check(options, parts_->models);
}

absl::StatusOr<Admission::Needs> RestorePipeline::NeedsOf(const RestoreRequest& request) const {
  try {
    const RestorePipelineOptions& options = parts_->options;
    DW_ASSIGN_OR_RETURN(const ImageInfo info, InfoOf(request, options.decode_limits));
    const LiveModelInfo& model = request.model->info;
    const TileGrid grid(info.width, info.height, model.tile);
    return Needs(request, info, grid, model, options.window_tiles);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  }
}

absl::Status RestorePipeline::CheckTogether(const Admission::Needs& needs) const {
  return parts_->admission.CheckTogether(needs);
}

absl::StatusOr<Reservation> RestorePipeline::Reserve(const std::string& caller, int64_t bytes,
                                                     Reservation held) {
  const absl::Time start = absl::Now();
  absl::Status status = held == nullptr ? parts_->CheckServing() : absl::OkStatus();
  if (status.ok()) {
    const Admission::Demand demand = {.caller = caller, .bytes = bytes};
    auto share = parts_->admission.Admit(demand, start, std::move(held));
    if (share.ok()) return Reservation(*std::move(share));
    status = share.status();
  }
  CountRefused(status);
  return status;
}

int RestorePipeline::in_flight() const { return parts_->occupancy.count(); }

Executor RestorePipeline::executor() {
  return [this](std::function<void()> task) { parts_->batcher.Post(std::move(task)); };
}

std::vector<Pulse> RestorePipeline::Pulses() const { return parts_->batcher.Pulses(); }

void RestorePipeline::GiveUp(int device, const absl::Status& why) {
  parts_->batcher.GiveUp(device, why);
}

std::vector<int> RestorePipeline::batch_sizes() const {
  return BatchSizes(parts_->options.max_batch);
}

}  // namespace deweather
