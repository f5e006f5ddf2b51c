// What a Client does with pictures.

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cpp/convert.h"
#include "client/cpp/frame_call.h"
#include "client/cpp/link.h"
#include "client/cpp/output_file.h"
#include "client/restore_large.h"
#include "client/restore_picture.h"
#include "deweather/client.h"
#include "model/base/file.h"

namespace deweather {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

absl::StatusOr<std::string> ReadPiece(std::FILE* file, const std::string& path, int64_t offset,
                                      size_t most) {
  std::string piece(most, '\0');
  const ssize_t got = pread(fileno(file), piece.data(), most, offset);
  if (got < 0) return DiskError(errno, absl::StrCat("cannot read ", path));
  piece.resize(static_cast<size_t>(got));
  return piece;
}

// A regular file and its size.
File OpenPicture(const std::string& path, int64_t* bytes) {
  File file(std::fopen(path.c_str(), "rb"));
  struct stat about {};
  if (file == nullptr || fstat(fileno(file.get()), &about) != 0) {
    Throw(DiskError(errno, absl::StrCat("cannot open ", path)));
  }
  if (!S_ISREG(about.st_mode)) {
    Throw(absl::FailedPreconditionError(absl::StrCat(path, " is no regular file")));
  }
  *bytes = about.st_size;
  return file;
}

}  // namespace

Restored Client::Restore(Bytes image, const RestoreOptions& options,
                         const CallOptions& call) const {
  const CallWishes wishes(*link_, call);
  v1::RestoreRequest request;
  request.set_image(std::string(image.view()));
  *request.mutable_options() = ToMessage(options);
  v1::RestoreResponse response;
  const grpc::Status status = RestorePicture(
      *link_->restoration, wishes.ForPicture(*link_), request, [](int, int) {}, &response);
  if (!status.ok()) Throw(*link_, wishes, status);
  return ToRestored(std::move(response), wishes.request_id);
}

Restored Client::RestoreFile(const std::string& path, const RestoreOptions& options,
                             const CallOptions& call) const {
  const absl::StatusOr<std::string> image = ReadFile(path);
  if (!image.ok()) Throw(image.status());
  return Restore(*image, options, call);
}

Restored Client::RestoreLarge(const std::string& input, const std::string& output,
                              const RestoreOptions& options, const OnProgress& on_progress,
                              const CallOptions& call) const {
  const CallWishes wishes(*link_, call);
  const v1::RestoreOptions message = ToMessage(options);
  PictureEnds ends;
  const File source = OpenPicture(input, &ends.image_bytes);
  OutputFile restored(output);
  ends.read = [&](int64_t offset, size_t most) {
    return ReadPiece(source.get(), input, offset, most);
  };
  ends.write = [&](std::string_view piece) { return restored.Append(piece); };
  if (on_progress) ends.on_progress = on_progress;
  v1::RestoreResponse response;
  const auto attempt = [&](grpc::ClientContext& context) -> grpc::Status {
    const absl::Status begun = restored.Begin();
    if (!begun.ok()) Throw(begun);
    return deweather::RestoreLarge(*link_->restoration, context, message, ends, &response);
  };
  const grpc::Status status = AttemptPicture(wishes.ForPicture(*link_), attempt);
  if (!status.ok()) Throw(*link_, wishes, status);
  const absl::Status committed = restored.Commit();
  if (!committed.ok()) Throw(committed);
  return ToRestored(std::move(response), wishes.request_id);
}

FrameStream Client::RestoreStream(const RestoreOptions& options, const StreamOptions& stream,
                                  const CallOptions& call) const {
  return FrameStream(std::make_unique<FrameStream::Call>(link_, call, ToMessage(options), stream));
}

int64_t Client::RestoreFrames(const NextFrame& next, const TakeResult& take,
                              const RestoreOptions& options, const StreamOptions& stream_options,
                              const CallOptions& call) const {
  FrameStream stream = RestoreStream(options, stream_options, call);
  std::exception_ptr thrown;
  std::jthread pusher([&] {
    try {
      std::int64_t id = 0;
      for (std::optional<std::string> frame; (frame = next());) {
        if (!stream.Push(*frame, id++)) return;
      }
      stream.Close();
    } catch (...) {
      thrown = std::current_exception();
      stream.Cancel();
    }
  });
  int64_t taken = 0;
  try {
    for (FrameResult& result : stream) {
      take(result);
      ++taken;
    }
  } catch (...) {
    stream.Cancel();
    pusher.join();
    if (thrown) std::rethrow_exception(thrown);
    throw;
  }
  return taken;
}

}  // namespace deweather
