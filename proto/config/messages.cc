#include "proto/config/messages.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

// Copies a field that the message has onto its namesake.
#define DW_COPY(field) \
  if (message.has_##field()) options->field = message.field()
#define DW_COPY_DURATION(field) \
  if (message.has_##field()) options->field = ToDuration(message.field())

void Copy(const v1::ServerConfig::Threads& message, ThreadOptions* options) {
  DW_COPY(model);
  DW_COPY(workers);
}

void Copy(const v1::ServerConfig::Limits& message, LimitOptions* options) {
  DW_COPY(max_image_pixels);
  DW_COPY(max_receive_bytes);
  DW_COPY(max_send_bytes);
  DW_COPY(max_concurrent_streams);
  DW_COPY(max_transport_bytes);
  DW_COPY(max_large_bytes);
  DW_COPY(max_model_bytes);
  DW_COPY(max_connections);
  DW_COPY(max_header_bytes);
  DW_COPY_DURATION(max_stream_idle);
  DW_COPY_DURATION(max_handshake);
  DW_COPY_DURATION(max_connection_age);
  DW_COPY_DURATION(max_connection_grace);
  DW_COPY_DURATION(max_connection_idle);
}

void Copy(const v1::ServerConfig::Admission& message, AdmissionOptions* options) {
  DW_COPY(max_bytes);
  DW_COPY(max_tiles);
  DW_COPY(max_caller_percent);
}

void Copy(const v1::ServerConfig::Batching& message, BatchingOptions* options) {
  DW_COPY(max_tiles);
  DW_COPY(window_tiles);
  DW_COPY_DURATION(max_batch_time);
  DW_COPY_DURATION(max_delay);
}

void Copy(const v1::ServerConfig::Drain& message, DrainOptions* options) {
  DW_COPY_DURATION(delay);
  DW_COPY_DURATION(timeout);
}

void Copy(const v1::ServerConfig::Training& message, TrainingServiceOptions* options) {
  DW_COPY(enabled);
  DW_COPY(max_running);
  DW_COPY(max_queued);
  DW_COPY(max_failures);
  DW_COPY_DURATION(first_retry);
  DW_COPY_DURATION(stop_grace);
  options->launch = {message.launch().begin(), message.launch().end()};
  DW_COPY(idle);
  DW_COPY(niceness);
  DW_COPY(threads);
  DW_COPY(gpu);
  DW_COPY(max_memory_bytes);
  DW_COPY_DURATION(max_time);
  DW_COPY(max_log_bytes);
  DW_COPY(max_disk_bytes);
  DW_COPY(min_free_bytes);
  DW_COPY(keep_versions);
}

void Copy(const v1::ServerConfig::Datasets& message, DatasetOptions* options) {
  for (const auto& registered : message.registered()) {
    options->registered.push_back({registered.name(), registered.dir()});
  }
  DW_COPY(max_bytes);
  DW_COPY(max_files);
  DW_COPY(max_file_bytes);
  DW_COPY(min_free_bytes);
}

void Copy(const v1::ServerConfig::Promotion& message, PromotionOptions* options) {
  DW_COPY(dataset);
  DW_COPY(max_regression_db);
  DW_COPY_DURATION(timeout);
}

AccessRule ToRule(v1::ServerConfig::Access::Rule rule, AccessRule otherwise) {
  switch (rule) {
    case v1::ServerConfig::Access::RULE_ANYONE:
      return AccessRule::kAnyone;
    case v1::ServerConfig::Access::RULE_TOKEN:
      return AccessRule::kToken;
    case v1::ServerConfig::Access::RULE_NOBODY:
      return AccessRule::kNobody;
    default:
      return otherwise;
  }
}

void Copy(const v1::ServerConfig::Access& message, AccessOptions* options) {
  options->tokens_file = message.tokens_file();
  options->health = ToRule(message.health(), options->health);
  options->reflection = ToRule(message.reflection(), options->reflection);
}

LogFormat ToFormat(v1::ServerConfig::Log::Format format) {
  switch (format) {
    case v1::ServerConfig::Log::FORMAT_TEXT:
      return LogFormat::kText;
    case v1::ServerConfig::Log::FORMAT_JSON:
      return LogFormat::kJson;
    default:
      return LogFormat::kAuto;
  }
}

LogLevel ToLevel(v1::ServerConfig::Log::Level level) {
  switch (level) {
    case v1::ServerConfig::Log::LEVEL_DEBUG:
      return LogLevel::kDebug;
    case v1::ServerConfig::Log::LEVEL_WARN:
      return LogLevel::kWarn;
    case v1::ServerConfig::Log::LEVEL_ERROR:
      return LogLevel::kError;
    default:
      return LogLevel::kInfo;
  }
}

void Copy(const v1::ServerConfig::Log& message, LogOptions* options) {
  options->format = ToFormat(message.format());
  options->level = ToLevel(message.level());
  DW_COPY(max_requests_per_second);
}

Precision ToPrecision(v1::ServerConfig::Precision precision) {
  switch (precision) {
    case v1::ServerConfig::PRECISION_F32:
      return Precision::kF32;
    case v1::ServerConfig::PRECISION_BF16:
      return Precision::kBf16;
    default:
      return Precision::kAuto;
  }
}

ExpertKind ToKind(v1::ModelSpec::Kind kind) {
  switch (kind) {
    case v1::ModelSpec::KIND_DENSE:
      return ExpertKind::kDense;
    case v1::ModelSpec::KIND_FFN:
      return ExpertKind::kFfn;
    default:
      return ExpertKind::kFme;
  }
}

Calibration ToCalibration(v1::ModelSpec::Calibration calibration) {
  switch (calibration) {
    case v1::ModelSpec::CALIBRATION_PAPER:
      return Calibration::kPaper;
    case v1::ModelSpec::CALIBRATION_CONFIDENCE:
      return Calibration::kConfidence;
    default:
      return Calibration::kNone;
  }
}

void CopyExperts(const v1::ModelSpec& message, ModelConfig* options) {
  options->kind = ToKind(message.kind());
  const auto& by_block = message.experts_by_block();
  options->experts_by_block = {by_block.begin(), by_block.end()};
  if (!options->routed()) {
    options->experts = options->kept = 0;
  } else if (!by_block.empty()) {
    options->experts = *std::max_element(by_block.begin(), by_block.end());
  }
  DW_COPY(experts);
  DW_COPY(kept);
  options->stem = message.stem() == v1::ModelSpec::STEM_NONE ? Stem::kNone : Stem::kStar;
  options->first_expert = message.first_expert() == v1::ModelSpec::FIRST_EXPERT_GELU
                              ? FirstExpert::kGelu
                              : FirstExpert::kModulate;
  options->residual_ffn = message.residual_ffn();
}

void CopyRouter(const v1::ModelSpec& message, ModelConfig* options) {
  options->gate = message.gate() == v1::ModelSpec::GATE_PAPER ? Gate::kPaper : Gate::kReleased;
  options->tasks = {message.tasks().begin(), message.tasks().end()};
  options->calibration = ToCalibration(message.calibration());
  DW_COPY(router_passes);
  DW_COPY(router_dropout);
}

void Copy(const v1::ModelSpec& message, ModelConfig* options) {
  CopyExperts(message, options);
  CopyRouter(message, options);
  DW_COPY(embed_dim);
  DW_COPY(depth);
  DW_COPY(heads);
  DW_COPY(head_dim);
  DW_COPY(patch);
  DW_COPY(channels);
  DW_COPY(tail_scale);
  DW_COPY(mlp_ratio);
  DW_COPY(tile_px);
  DW_COPY(overlap_px);
  options->residual = message.residual();
}

// What stands behind the last '/' that something follows; "pairs" if nothing does.
std::string LastPart(std::string_view path) {
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  path.remove_prefix(path.rfind('/') + 1);
  return path.empty() ? "pairs" : std::string(path);
}

absl::StatusOr<PairedSource> ToSource(const v1::Data::Pairs& message, int index) {
  const bool folders = !message.input_dir().empty() || !message.truth_dir().empty();
  if (!message.dir().empty() && folders) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "data.pairs[%d].dir is '%s' beside input_dir or truth_dir; it must be one or the others",
        index, message.dir()));
  }
  PairedSource source;
  source.input_dir = message.input_dir();
  source.truth_dir = message.truth_dir();
  if (!message.dir().empty()) {
    source.input_dir = message.dir() + "/input";
    source.truth_dir = message.dir() + "/gt";
  }
  if (source.input_dir.empty() || source.truth_dir.empty()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("data.pairs[%d] needs a dir, or both an input_dir and a truth_dir", index));
  }
  PairedSource* const options = &source;
  DW_COPY(weight);
  DW_COPY(loss_weight);
  source.task = message.task().empty() ? LastPart(message.dir()) : message.task();
  return source;
}

absl::StatusOr<CleanSource> ToSource(const v1::Data::Clean& message, int index) {
  if (message.dir().empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("data.clean[%d] needs a dir", index));
  }
  CleanSource source{message.dir()};
  CleanSource* const options = &source;
  DW_COPY(weight);
  DW_COPY(loss_weight);
  DW_COPY(weather);
  DW_COPY(untouched_share);
  return source;
}

absl::Status Copy(const v1::Data& message, DataOptions* options) {
  for (int i = 0; i < message.pairs_size(); ++i) {
    DW_ASSIGN_OR_RETURN(PairedSource source, ToSource(message.pairs(i), i));
    options->pairs.push_back(std::move(source));
  }
  for (int i = 0; i < message.clean_size(); ++i) {
    DW_ASSIGN_OR_RETURN(CleanSource source, ToSource(message.clean(i), i));
    options->clean.push_back(std::move(source));
  }
  DW_COPY(crop_px);
  DW_COPY(augment);
  DW_COPY(loader_threads);
  DW_COPY(prefetch_batches);
  DW_COPY(cache_mebibytes);
  DW_COPY(max_unreadable);
  return absl::OkStatus();
}

void Copy(const v1::Optimizer& message, OptimizerOptions* options) {
  DW_COPY(learning_rate);
  DW_COPY(min_learning_rate);
  DW_COPY(warmup_steps);
  DW_COPY(weight_decay);
  DW_COPY(beta1);
  DW_COPY(beta2);
  DW_COPY(clip_norm);
}

LossKind ToLoss(v1::TrainConfig::Loss loss) {
  switch (loss) {
    case v1::TrainConfig::LOSS_L1:
      return LossKind::kL1;
    case v1::TrainConfig::LOSS_CHARBONNIER:
      return LossKind::kCharbonnier;
    case v1::TrainConfig::LOSS_LOG_MSE:
      return LossKind::kLogMse;
    default:
      return LossKind::kSmoothL1;
  }
}

void CopyNumbers(const v1::TrainConfig& message, TrainOptions* options) {
  DW_COPY(name);
  DW_COPY(batch);
  DW_COPY(accumulate);
  DW_COPY(steps);
  DW_COPY(ema_decay);
  DW_COPY(balance_weight);
  DW_COPY(uncertainty_weight);
  DW_COPY(seed);
  DW_COPY(device);
  DW_COPY(threads);
  DW_COPY(checkpoint_every_steps);
  DW_COPY(frequency_weight);
  DW_COPY(keep_checkpoints);
  DW_COPY(max_bad_steps);
  DW_COPY(log_every_steps);
  DW_COPY_DURATION(max_time);
  DW_COPY_DURATION(rank_timeout);
}

absl::Status Copy(const v1::TrainConfig::Distill& message, DistillOptions* options) {
  if (message.teacher().empty()) return absl::InvalidArgumentError("distill needs a teacher");
  options->teacher = message.teacher();
  DW_COPY(weight);
  return absl::OkStatus();
}

#undef DW_COPY
#undef DW_COPY_DURATION

}  // namespace

absl::StatusOr<ServerOptions> ToOptions(const v1::ServerConfig& message) {
  ServerOptions options;
  if (message.has_listen()) options.listen = message.listen();
  if (message.has_metrics_listen()) options.metrics_listen = message.metrics_listen();
  options.http_listen = message.http_listen();
  options.model = message.model();
  options.data_dir = message.data_dir();
  if (message.has_device()) options.device = message.device();
  options.precision = ToPrecision(message.precision());
  Copy(message.threads(), &options.threads);
  Copy(message.limits(), &options.limits);
  Copy(message.drain(), &options.drain);
  Copy(message.admission(), &options.admission);
  Copy(message.batching(), &options.batching);
  Copy(message.training(), &options.training);
  Copy(message.datasets(), &options.datasets);
  Copy(message.promotion(), &options.promotion);
  options.tls = {message.tls().certificate_file(), message.tls().key_file(),
                 message.tls().client_ca_file()};
  options.allow_plaintext_beyond_loopback = message.allow_plaintext_beyond_loopback();
  Copy(message.access(), &options.access);
  Copy(message.log(), &options.log);
  // No larger than what training's loader decodes, and than what the server decodes at all.
  options.datasets.max_image_pixels =
      std::min(options.limits.max_image_pixels, DatasetOptions().max_image_pixels);
  return options;
}

absl::StatusOr<TrainOptions> ToOptions(const v1::TrainConfig& message) {
  TrainOptions options;
  CopyNumbers(message, &options);
  Copy(message.model(), &options.model);
  options.model.name = options.name;
  DW_RETURN_IF_ERROR(Copy(message.data(), &options.data));
  Copy(message.optimizer(), &options.optimizer);
  options.loss = ToLoss(message.loss());
  options.balance = message.balance() == v1::TrainConfig::BALANCE_PAPER ? BalanceKind::kPaper
                                                                        : BalanceKind::kGshard;
  if (message.has_distill()) DW_RETURN_IF_ERROR(Copy(message.distill(), &options.distill));
  options.precision = message.precision() == v1::TrainConfig::PRECISION_BF16 ? TrainPrecision::kBf16
                                                                             : TrainPrecision::kF32;
  if (message.has_evaluate() && message.evaluate().pairs_dir().empty()) {
    return absl::InvalidArgumentError("evaluate needs a pairs_dir");
  }
  const auto& folders = message.evaluate().pairs_dir();
  options.evaluate = {{folders.begin(), folders.end()},
                      message.evaluate().every_steps(),
                      message.evaluate().patience()};
  options.output_dir = message.output_dir();
  options.init_from = message.init_from();
  options.resume = message.resume();
  return options;
}

}  // namespace deweather
