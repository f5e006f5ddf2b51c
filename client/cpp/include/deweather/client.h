// A client of deweather-server: takes rain, snow, haze and drops out of pictures, and trains and promotes models.
//
//   const deweather::Client client({"127.0.0.1:50051"});
//   const deweather::Restored restored = client.RestoreFile("rainy.jpg");
//
// Only the standard library is in these headers, C++17 or later. The library keeps what it is made of to itself, so that
// a program may have a gRPC or messages of its own.
//
// Threads  thread-safe: one client for a whole program; it shares one connection among its calls. Not across fork: gRPC
//          shares connections among all clients of a process, so fork before the first call, or exec
// Errors   Error; std::bad_alloc, and std::system_error where the system gives no thread. What a callback throws ends
//          its call and comes through
// Cost     calls block; the first one connects

#ifndef DEWEATHER_CLIENT_H_
#define DEWEATHER_CLIENT_H_

#include <deweather/error.h>
#include <deweather/export.h>
#include <deweather/frame_stream.h>
#include <deweather/jobs.h>
#include <deweather/models.h>
#include <deweather/options.h>
#include <deweather/restore.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace deweather {

enum class Health { kUnknown = 0, kServing = 1, kNotServing = 2, kServiceUnknown = 3 };

class DEWEATHER_EXPORT Client {
 public:
  // Connects with the first call. kInvalidArgument: no HOST:PORT, a file that is none or not what it is for, a token
  // that would cross a network in the clear.
  explicit Client(const ClientOptions& options = {});
  // What was moved from can be assigned to and destroyed, and nothing else.
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  // Its calls are over before; a FrameStream goes on without it.
  ~Client();

  // Of a service by its full name; empty: of the whole server. kServiceUnknown: it has none of that name.
  Health CheckHealth(const std::string& service = "", const CallOptions& call = {}) const;

  // A JPEG, PNG, WebP, TIFF or BMP file. One that is too large for a message goes in chunks by itself.
  Restored Restore(Bytes image, const RestoreOptions& options = {},
                   const CallOptions& call = {}) const;
  // The same of a file.
  Restored RestoreFile(const std::string& path, const RestoreOptions& options = {},
                       const CallOptions& call = {}) const;

  // From file to file in chunks, with little memory here however large they are. `output` appears whole or not at all,
  // and replaces a file that is there, but nothing else: kFailedPrecondition. `on_progress` is told tiles, done and in
  // all, on the calling thread.
  using OnProgress = std::function<void(int done, int tiles)>;
  Restored RestoreLarge(const std::string& input, const std::string& output,
                        const RestoreOptions& options = {}, const OnProgress& on_progress = nullptr,
                        const CallOptions& call = {}) const;

  // Frames, by hand. Without CallOptions::deadline the stream may last as long as it likes.
  FrameStream RestoreStream(const RestoreOptions& options = {}, const StreamOptions& stream = {},
                            const CallOptions& call = {}) const;

  // Frames, from where they come to where they go: `next` gives each file, in a thread of its own, and nullopt after
  // the last; `take` gets each result, in order, on the calling thread; ids count up from 0. Returns their number. A
  // call that has failed is told once `next` returns.
  using NextFrame = std::function<std::optional<std::string>()>;
  using TakeResult = std::function<void(FrameResult& result)>;
  std::int64_t RestoreFrames(const NextFrame& next, const TakeResult& take,
                             const RestoreOptions& options = {}, const StreamOptions& stream = {},
                             const CallOptions& call = {}) const;

  std::vector<Model> ListModels(const CallOptions& call = {}) const;
  Model GetModel(const std::string& name, const CallOptions& call = {}) const;
  // Never sent again by itself. Once begun it goes on, even if the call ends.
  Model Promote(const Promotion& promotion, const CallOptions& call = {}) const;
  // Ends a trial, or makes the version live that was live before.
  Model Rollback(const std::string& name, const CallOptions& call = {}) const;

  Job SubmitJob(const Submission& submission, const CallOptions& call = {}) const;
  Job GetJob(const std::string& id, const CallOptions& call = {}) const;
  // The newest first.
  std::vector<Job> ListJobs(const JobFilter& filter = {}, const CallOptions& call = {}) const;
  Job CancelJob(const std::string& id, const std::string& reason = "",
                const CallOptions& call = {}) const;
  // A new job, that goes on from the last checkpoint of one that failed or was cancelled.
  Job ResumeJob(const std::string& id, const std::string& request_id = "",
                const CallOptions& call = {}) const;

  // Each event after number `after_event` once and in order, until the job's end or until `on_event` returns false.
  // Returns the job as it was then. A server that was away is asked again. One that hangs while nothing happens to the
  // job is noticed within 7 minutes.
  using OnEvent = std::function<bool(const JobEvent& event)>;
  Job WatchJob(const std::string& id, const OnEvent& on_event, std::int64_t after_event = 0,
               const CallOptions& call = {}) const;

  // Files of a job: checkpoints first, the newest at the front.
  std::vector<Artifact> ListArtifacts(const std::string& id, const CallOptions& call = {}) const;
  // `path` appears when the file is whole and has the SHA-256 that the server says, and replaces what is there. One that
  // broke off goes on where it ended, also in a later program: until then it lies in PATH.part.
  using OnBytes = std::function<void(std::int64_t done, std::int64_t total)>;
  void DownloadArtifact(const std::string& id, const std::string& artifact, const std::string& path,
                        const OnBytes& on_bytes = nullptr, const CallOptions& call = {}) const;

 private:
  std::shared_ptr<const struct Link> link_;
};

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_H_
