// What a server is told. A ServerConfig file fills it (proto/config), flags override it.

#ifndef DEWEATHER_MODEL_BASE_SERVER_OPTIONS_H_
#define DEWEATHER_MODEL_BASE_SERVER_OPTIONS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/base/precision.h"

namespace deweather {

struct ThreadOptions {
  int model = 0;    // that compute one batch together; 0: one per processor
  int workers = 0;  // that decode, blend and encode; 0: one per processor, at least 2

  friend bool operator==(const ThreadOptions&, const ThreadOptions&) = default;
};

struct LimitOptions {
  int64_t max_image_pixels = 200'000'000;
  int64_t max_receive_bytes = int64_t{64} << 20;       // of one request
  int64_t max_send_bytes = int64_t{256} << 20;         // of one reply
  int max_concurrent_streams = 64;                     // calls at a time on one connection
  int64_t max_transport_bytes = int64_t{1024} << 20;   // that gRPC holds for all connections
  int64_t max_large_bytes = int64_t{1024} << 20;       // of one picture that comes in chunks
  absl::Duration max_stream_idle = absl::Seconds(60);  // for a message to arrive, or to be read
  int64_t max_model_bytes = int64_t{8192} << 20;       // of weights, of all models that are live
  int max_connections = 4096;                          // at a time
  int max_header_bytes = 16384;                        // of a call
  absl::Duration max_handshake = absl::Seconds(10);    // of a new connection, TLS included
  absl::Duration max_connection_age = absl::ZeroDuration();  // 0: none
  absl::Duration max_connection_grace = absl::Minutes(10);   // for calls on one past its age
  absl::Duration max_connection_idle = absl::Minutes(5);     // without a call; 0: no limit

  friend bool operator==(const LimitOptions&, const LimitOptions&) = default;
};

struct DrainOptions {
  absl::Duration delay = absl::Seconds(5);     // still serving, while health says NOT_SERVING
  absl::Duration timeout = absl::Seconds(30);  // then, for the calls in flight

  friend bool operator==(const DrainOptions&, const DrainOptions&) = default;
};

struct AdmissionOptions {
  int64_t max_bytes =
      int64_t{2} << 30;         // that requests in flight hold: files, pixels, accumulators
  int64_t max_tiles = 16384;    // of them, that wait or run
  int max_caller_percent = 50;  // of either, that one caller may hold

  friend bool operator==(const AdmissionOptions&, const AdmissionOptions&) = default;
};

struct BatchingOptions {
  int max_tiles = 8;  // of a batch
  absl::Duration max_delay = absl::ZeroDuration();
  int window_tiles = 32;                             // of one picture, that wait or run
  absl::Duration max_batch_time = absl::Minutes(5);  // before the device counts as hung; 0: never

  friend bool operator==(const BatchingOptions&, const BatchingOptions&) = default;
};

struct TrainingServiceOptions {
  bool enabled = true;                            // this server may run the jobs of its data folder
  int max_running = 1;                            // jobs at a time
  int max_queued = 10000;                         // more are refused
  int max_failures = 3;                           // crashes of a job's program after which it fails
  absl::Duration first_retry = absl::Seconds(5);  // after a crash; doubled each time, up to 10 min
  absl::Duration stop_grace = absl::Seconds(30);  // for a checkpoint, before a program is killed
  std::vector<std::string> launch = {};  // what a job's arguments follow; empty: deweather-train
  bool idle = true;                      // programs compute when nobody else wants to
  int niceness = 10;
  int threads = 0;       // that a run computes with, at most; 0: its own choice
  std::string gpu = {};  // CUDA_VISIBLE_DEVICES of programs; empty: ours
  int64_t max_memory_bytes = int64_t{8} << 30;  // resident, of a job's processes; 0: no limit
  absl::Duration max_time = absl::InfiniteDuration();  // of an attempt
  int64_t max_log_bytes = int64_t{16} << 20;           // of what a program printed
  int64_t max_disk_bytes = int64_t{64} << 30;          // of all jobs' folders
  int64_t min_free_bytes = int64_t{1} << 30;           // of the disk, below which no job is taken
  int keep_versions = 0;  // of one model, the newest that jobs made; 0: all

  friend bool operator==(const TrainingServiceOptions&, const TrainingServiceOptions&) = default;
};

struct RegisteredDataset {
  std::string name;
  std::string dir;  // holds input/ and gt/, or clean pictures

  friend bool operator==(const RegisteredDataset&, const RegisteredDataset&) = default;
};

struct DatasetOptions {
  std::vector<RegisteredDataset> registered = {};
  int64_t max_bytes = int64_t{16} << 30;  // of all uploads
  int64_t max_files = 100'000;            // of one
  int64_t max_file_bytes = int64_t{64} << 20;
  int64_t max_image_pixels = 200'000'000;     // of a picture in it
  int64_t min_free_bytes = int64_t{1} << 30;  // of the disk, below which no upload goes on

  friend bool operator==(const DatasetOptions&, const DatasetOptions&) = default;
};

// What a new version has to show before it goes live, where the caller asks for nothing else.
struct PromotionOptions {
  std::string dataset = {};                    // pairs that it is measured on; empty: none
  double max_regression_db = 0.1;              // of PSNR-RGB against the live version, [0, 100]
  absl::Duration timeout = absl::Minutes(30);  // of the measurement

  friend bool operator==(const PromotionOptions&, const PromotionOptions&) = default;
};

// PEM files; empty: none.
struct TlsOptions {
  std::string certificate_file = {};  // none: no TLS
  std::string key_file = {};
  std::string client_ca_file = {};  // of the certificates that callers must show

  friend bool operator==(const TlsOptions&, const TlsOptions&) = default;
};

// kToken: whoever has one, of whatever group; anyone where there is no tokens_file.
enum class AccessRule { kAnyone, kToken, kNobody };

struct AccessOptions {
  std::string tokens_file = {};  // none: whoever reaches the server may call everything
  AccessRule health = AccessRule::kAnyone;
  AccessRule reflection = AccessRule::kToken;

  friend bool operator==(const AccessOptions&, const AccessOptions&) = default;
};

enum class LogFormat { kAuto, kText, kJson };
enum class LogLevel { kDebug, kInfo, kWarn, kError };

struct LogOptions {
  LogFormat format = LogFormat::kAuto;
  LogLevel level = LogLevel::kInfo;
  int max_requests_per_second = 50;  // lines about requests

  friend bool operator==(const LogOptions&, const LogOptions&) = default;
};

struct ServerOptions {
  std::string listen = "127.0.0.1:50051";         // HOST:PORT of gRPC; port 0: any free one
  std::string metrics_listen = "127.0.0.1:9464";  // HOST:PORT of /metrics; empty: none
  std::string http_listen;                        // HOST:PORT of HTTP; empty: none
  std::string model;                              // path, name or "identity"; empty: as shipped
  std::string data_dir;                           // empty: none
  std::string device = "auto";                    // auto, cpu, cuda, cuda:N
  Precision precision = Precision::kAuto;
  ThreadOptions threads;
  LimitOptions limits;
  DrainOptions drain;
  AdmissionOptions admission;
  BatchingOptions batching;
  TrainingServiceOptions training;
  DatasetOptions datasets;
  PromotionOptions promotion;
  TlsOptions tls;
  // Of `listen` and `http_listen` without TLS, and of `metrics_listen`.
  bool allow_plaintext_beyond_loopback = false;
  AccessOptions access;
  LogOptions log;

  friend bool operator==(const ServerOptions&, const ServerOptions&) = default;
};

// Whether HOST of HOST:PORT is this machine alone: 127.0.0.0/8, [::1], localhost. No other name is looked up.
bool IsLoopback(std::string_view address);

// INVALID_ARGUMENT; the message begins with the path of the field and names its value and range.
absl::Status Validate(const ServerOptions& options);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_SERVER_OPTIONS_H_
