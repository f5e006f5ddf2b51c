// Frames of a camera or a video, restored in order.

#ifndef DEWEATHER_FRAME_STREAM_H_
#define DEWEATHER_FRAME_STREAM_H_

#include <deweather/export.h>
#include <deweather/restore.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>

namespace deweather {

// One call of RestoreStream. Every frame that is pushed has one result, in the order of the frames.
//
//   one thread   while (frames are left) {
//                  if (stream.HasRoom() && stream.Push(frame, id)) continue;  // with the next frame
//                  std::optional<FrameResult> result = stream.Next();
//                  if (!result) break;
//                  Take(*result);
//                }
//                stream.Close(); for (FrameResult& result : stream) Take(result);
//   two threads  one pushes and closes, which blocks while the window is full; the other reads to the end
//
// Client::RestoreFrames is the second, in one call.
//
// Threads  one may push while another reads; Cancel is for any
// Errors   of the whole stream, as Error by Next; a frame's own are in its result
class DEWEATHER_EXPORT FrameStream {
 public:
  class Iterator;

  FrameStream(FrameStream&&) noexcept;
  FrameStream& operator=(FrameStream&&) noexcept;
  // Cancels what is under way.
  ~FrameStream();

  // Sends a picture's file. Blocks while `window` frames are under way, which are those whose result was not yet read
  // (with drop_oldest 512). False: the stream has ended, and Next says why.
  bool Push(Bytes image, std::int64_t id = 0);

  // Whether Push would not block.
  bool HasRoom() const;

  // No frame follows.
  void Close();

  // The next result, waited for; nullopt after the last one. Throws Error if the call ended with one, at every call.
  std::optional<FrameResult> Next();

  // Ends the call; Next throws kCancelled.
  void Cancel() noexcept;

  // The results to the end, each once.
  Iterator begin();
  Iterator end();

 private:
  friend class Client;
  class Call;
  DEWEATHER_HIDDEN explicit FrameStream(std::unique_ptr<Call> call);

  std::unique_ptr<Call> call_;
};

// An input iterator over what Next returns.
class FrameStream::Iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = FrameResult;
  using difference_type = std::ptrdiff_t;
  using pointer = FrameResult*;
  using reference = FrameResult&;

  Iterator() = default;
  explicit Iterator(FrameStream& stream) : stream_(&stream) { ++*this; }

  FrameResult& operator*() { return *result_; }
  FrameResult* operator->() { return &*result_; }
  Iterator& operator++() {
    result_ = stream_->Next();
    if (!result_) stream_ = nullptr;
    return *this;
  }
  void operator++(int) { ++*this; }
  bool operator==(const Iterator& other) const { return stream_ == other.stream_; }
  bool operator!=(const Iterator& other) const { return stream_ != other.stream_; }

 private:
  FrameStream* stream_ = nullptr;
  std::optional<FrameResult> result_;
};

inline FrameStream::Iterator FrameStream::begin() { return Iterator(*this); }
inline FrameStream::Iterator FrameStream::end() { return Iterator(); }

}  // namespace deweather

#endif  // DEWEATHER_FRAME_STREAM_H_
