// Pictures in, restored pictures out: the words of the API's restoration.proto, which says more of each.

#ifndef DEWEATHER_RESTORE_H_
#define DEWEATHER_RESTORE_H_

#include <deweather/error.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace deweather {

// Bytes of somebody else's, for the length of a call: a std::string, a std::string_view, or anything with data() and
// size() whose elements are bytes, as std::vector<unsigned char> and std::vector<std::byte>.
class Bytes {
 public:
  Bytes(const void* data, std::size_t size) : view_(static_cast<const char*>(data), size) {}
  template <
      typename Container,
      typename Byte = std::remove_pointer_t<decltype(std::declval<const Container&>().data())>,
      typename = std::enable_if_t<sizeof(Byte) == 1>>
  Bytes(const Container& bytes)  // NOLINT: converts
      : Bytes(bytes.data(), bytes.size()) {}

  std::string_view view() const { return view_; }

 private:
  std::string_view view_;
};

enum class Format { kOfInput = 0, kJpeg = 1, kPng = 2, kWebp = 3, kTiff = 4, kBmp = 5 };

struct RestoreOptions {
  std::string model = {};              // empty: the server's default
  Format format = Format::kOfInput;    // of the restored file
  int quality = 0;                     // of a JPEG or WebP, 1 to 100; 0: as the input's
  bool strip_metadata = false;         // neither EXIF nor colour profile; else both are kept
  std::optional<float> strength = {};  // share of the change, 0 to 1; unset: all of it
  std::string task = {};               // of a model with a gate for each task: one of them
  bool background = false;             // after what others wait for
  bool expert_map = false;             // whether Restored::expert_map is wanted
  bool uncertainty_map = false;        // whether Restored::uncertainty_map is wanted
  std::uint64_t seed = 0;              // of the uncertainty's random passes
};

// Names one immutable version of a model.
struct ModelVersion {
  std::string name;
  std::string version;  // 12 hexadecimal digits, or "builtin"
};

// What the routers did with one picture.
struct Routing {
  struct Layer {
    std::vector<std::int64_t> tokens;  // that kept each expert; they sum up to units * kept
    std::vector<double> gate;          // sum of each expert's gate weight
    double entropy_ratio = 0;          // 0 to 1
    double uncertainty = 0;            // 0 unless the uncertainty map was asked for
  };
  bool by_image = false;  // units are tiles, not tokens
  std::int64_t units = 0;
  int kept = 0;     // experts that worked on each unit
  int unit_px = 0;  // side of a token, which is a pixel of the maps
  std::vector<Layer> layers;
};

// On the server. Tiles overlap in time, so that the parts need not add up.
struct Timings {
  std::chrono::nanoseconds decode{}, queue{}, infer{}, blend{}, encode{}, total{};
  int tiles = 0;
  int batches = 0;
};

struct Restored {
  std::string image;              // the restored file; empty where it went to a file
  Format format = Format::kJpeg;  // of it
  int width_px = 0;
  int height_px = 0;
  ModelVersion model;
  std::optional<Routing> routing;  // unset: the model has no experts
  Timings timings;
  std::string expert_map;       // PNG, a pixel a token; empty unless it was asked for
  std::string uncertainty_map;  // 16-bit PNG, a pixel a token; likewise
  std::string request_id;       // in the server's log
};

// Of RestoreStream.
struct StreamOptions {
  // Frames under way at a time, 1 to 16.
  int window = 4;
  // A server that cannot follow drops the oldest frame that waits, for the newest.
  bool drop_oldest = false;
};

struct FrameResult {
  std::int64_t id = 0;               // that of the frame
  std::optional<Restored> restored;  // unset: see error, or it was dropped for a newer one
  std::optional<Error> error;

  bool dropped() const { return !restored && !error; }
};

}  // namespace deweather

#endif  // DEWEATHER_RESTORE_H_
