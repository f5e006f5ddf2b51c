#include "model/image/exif.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace deweather {
namespace {

constexpr uint16_t kTagOrientation = 0x0112;
constexpr uint16_t kTagExifIfd = 0x8769;
constexpr uint16_t kTagGpsIfd = 0x8825;
constexpr uint16_t kTagInteropIfd = 0xA005;
constexpr uint16_t kTagPixelXDimension = 0xA002;
constexpr uint16_t kTagPixelYDimension = 0xA003;
// ImageDescription, Make, Model, Software, DateTime, Artist, Copyright.
constexpr uint16_t kTextTags[] = {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298};

constexpr uint16_t kAscii = 2;
constexpr uint16_t kShort = 3;
constexpr uint16_t kLong = 4;
constexpr size_t kEntryBytes = 12;
constexpr size_t kMaxCopiedBytes = 4 << 20;  // entries may share their values, copies do not

// Bytes of one value of an entry's type, 0 for a type that does not exist.
size_t TypeBytes(uint16_t type) {
  constexpr uint8_t kBytes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4};
  return type < std::size(kBytes) ? kBytes[type] : 0;
}

// Reads a block; every access is checked against its end.
class Block {
 public:
  explicit Block(std::string_view bytes) : bytes_(bytes), big_endian_(bytes.substr(0, 1) == "M") {}

  bool valid() const {
    using namespace std::string_view_literals;
    const std::string_view magic = bytes_.substr(0, 4);
    return bytes_.size() >= 8 && (magic == "II*\0"sv || magic == "MM\0*"sv);
  }
  bool big_endian() const { return big_endian_; }
  std::string_view bytes() const { return bytes_; }

  bool Has(size_t offset, size_t count) const {
    return offset <= bytes_.size() && count <= bytes_.size() - offset;
  }
  uint16_t U16(size_t at) const { return static_cast<uint16_t>(Number(at, 2)); }
  uint32_t U32(size_t at) const { return Number(at, 4); }

 private:
  uint32_t Number(size_t at, size_t count) const {
    if (!Has(at, count)) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < count; ++i) {
      const size_t place = big_endian_ ? i : count - 1 - i;
      value = value << 8 | static_cast<uint8_t>(bytes_[at + place]);
    }
    return value;
  }

  std::string_view bytes_;
  bool big_endian_;
};

void Put(std::string& bytes, size_t at, uint32_t value, size_t count, bool big_endian) {
  for (size_t i = 0; i < count; ++i) {
    const size_t place = big_endian ? count - 1 - i : i;
    bytes[at + place] = static_cast<char>(value >> (8 * i) & 0xFF);
  }
}

// One directory entry whose value lies inside the block.
struct Entry {
  size_t at = 0;  // of the entry itself
  uint16_t tag = 0;
  uint16_t type = 0;
  uint32_t count = 0;
  size_t value_at = 0;
  size_t value_bytes = 0;

  bool is_inline() const { return value_bytes <= 4; }
};

std::optional<Entry> ReadEntry(const Block& block, size_t at) {
  Entry entry{
      .at = at, .tag = block.U16(at), .type = block.U16(at + 2), .count = block.U32(at + 4)};
  const uint64_t bytes = uint64_t{entry.count} * TypeBytes(entry.type);
  if (bytes == 0 || bytes > block.bytes().size()) return std::nullopt;
  entry.value_bytes = static_cast<size_t>(bytes);
  entry.value_at = entry.is_inline() ? at + 8 : block.U32(at + 8);
  if (!block.Has(entry.value_at, entry.value_bytes)) return std::nullopt;
  return entry;
}

struct Directory {
  std::vector<Entry> entries;  // readable ones
  bool complete = false;       // all of them are
  size_t next_at = 0;          // where the next directory's offset stands; 0: beyond the block
};

Directory ReadDirectory(const Block& block, size_t at) {
  Directory directory;
  if (!block.Has(at, 2)) return directory;
  const size_t count = block.U16(at);
  if (!block.Has(at + 2, count * kEntryBytes)) return directory;
  for (size_t i = 0; i < count; ++i) {
    const std::optional<Entry> entry = ReadEntry(block, at + 2 + i * kEntryBytes);
    if (entry.has_value()) directory.entries.push_back(*entry);
  }
  directory.complete = directory.entries.size() == count;
  const size_t next_at = at + 2 + count * kEntryBytes;
  if (block.Has(next_at, 4)) directory.next_at = next_at;
  return directory;
}

const Entry* Find(const Directory& directory, uint16_t tag) {
  for (const Entry& entry : directory.entries) {
    if (entry.tag == tag) return &entry;
  }
  return nullptr;
}

// The value of a SHORT or LONG entry.
uint32_t Value(const Block& block, const Entry& entry) {
  return entry.type == kShort ? block.U16(entry.value_at) : block.U32(entry.value_at);
}

void SetNumber(std::string& bytes, const Directory& directory, uint16_t tag, int value,
               bool big_endian) {
  const Entry* entry = Find(directory, tag);
  if (entry == nullptr || entry->count != 1) return;
  if (entry->type != kShort && entry->type != kLong) return;
  Put(bytes, entry->value_at, static_cast<uint32_t>(value), entry->type == kShort ? 2 : 4,
      big_endian);
}

bool IsTextTag(uint16_t tag) {
  return std::find(std::begin(kTextTags), std::end(kTextTags), tag) != std::end(kTextTags);
}

// Copies directories out of one block into another, value by value.
class DirectoryCopy {
 public:
  // `out` will stand `base` bytes into the file that its offsets count from.
  DirectoryCopy(const Block& from, uint32_t base, std::string& out)
      : from_(from), base_(base), out_(out) {}

  // The directory at `at` and, in it, the interoperability directory. Returns its place.
  uint32_t Copy(size_t at) {
    std::vector<Pointer> pointers;
    const Directory directory = ReadDirectory(from_, at);
    const Entry* interop = Find(directory, kTagInteropIfd);
    if (interop != nullptr && at != Value(from_, *interop)) {
      const Directory inner = ReadDirectory(from_, Value(from_, *interop));
      pointers.push_back({kTagInteropIfd, Write(inner.entries, {})});
    }
    return Write(directory.entries, pointers);
  }

  struct Pointer {
    uint16_t tag;
    uint32_t offset;
  };

  // Entries whose tag is in `pointers` point there; tags of other directories are dropped.
  uint32_t Write(const std::vector<Entry>& entries, const std::vector<Pointer>& pointers) {
    out_.resize(out_.size() + out_.size() % 2);
    const size_t begin = out_.size();
    out_.resize(begin + 2);
    std::string values;
    const size_t values_at = begin + 2 + entries.size() * kEntryBytes + 4;
    uint32_t count = 0;
    for (const Entry& entry : entries) {
      if (AppendEntry(entry, pointers, values_at, values)) ++count;
    }
    Put(out_, begin, count, 2, from_.big_endian());
    out_.resize(values_at);  // dropped entries leave a gap behind the end mark, which is zero
    out_ += values;
    return base_ + static_cast<uint32_t>(begin);
  }

 private:
  bool AppendEntry(const Entry& entry, const std::vector<Pointer>& pointers, size_t values_at,
                   std::string& values) {
    std::string raw(from_.bytes().substr(entry.at, kEntryBytes));
    const auto pointer = std::find_if(pointers.begin(), pointers.end(),
                                      [&](const Pointer& p) { return p.tag == entry.tag; });
    if (pointer != pointers.end()) {
      Put(raw, 8, pointer->offset, 4, from_.big_endian());
    } else if (IsDirectoryTag(entry.tag)) {
      return false;
    } else if (!entry.is_inline()) {
      if (values_at + values.size() + entry.value_bytes > kMaxCopiedBytes) return false;
      const size_t place = base_ + values_at + values.size();
      Put(raw, 8, static_cast<uint32_t>(place), 4, from_.big_endian());
      values += from_.bytes().substr(entry.value_at, entry.value_bytes);
      values.resize(values.size() + values.size() % 2);
    }
    out_ += raw;
    return true;
  }

  static bool IsDirectoryTag(uint16_t tag) {
    return tag == kTagExifIfd || tag == kTagGpsIfd || tag == kTagInteropIfd;
  }

  const Block& from_;
  const uint32_t base_;
  std::string& out_;
};

}  // namespace

int ExifOrientation(std::string_view exif) {
  const Block block(exif);
  if (!block.valid()) return 1;
  const Directory ifd0 = ReadDirectory(block, block.U32(4));
  const Entry* entry = Find(ifd0, kTagOrientation);
  if (entry == nullptr || (entry->type != kShort && entry->type != kLong)) return 1;
  const uint32_t value = Value(block, *entry);
  return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
}

std::string UprightExif(std::string_view exif, int width, int height) {
  const Block block(exif);
  if (!block.valid()) return {};
  std::string upright(exif);
  const Directory ifd0 = ReadDirectory(block, block.U32(4));
  SetNumber(upright, ifd0, kTagOrientation, 1, block.big_endian());
  if (ifd0.next_at != 0) Put(upright, ifd0.next_at, 0, 4, block.big_endian());
  if (const Entry* entry = Find(ifd0, kTagExifIfd); entry != nullptr) {
    const Directory photo = ReadDirectory(block, Value(block, *entry));
    SetNumber(upright, photo, kTagPixelXDimension, width, block.big_endian());
    SetNumber(upright, photo, kTagPixelYDimension, height, block.big_endian());
  }
  return upright;
}

std::vector<ExifText> ExifTexts(std::string_view exif) {
  std::vector<ExifText> texts;
  const Block block(exif);
  if (!block.valid()) return texts;
  for (const Entry& entry : ReadDirectory(block, block.U32(4)).entries) {
    if (!IsTextTag(entry.tag) || entry.type != kAscii) continue;
    const std::string_view text = exif.substr(entry.value_at, entry.value_bytes);
    texts.push_back({entry.tag, text.substr(0, text.find('\0'))});
  }
  return texts;
}

std::string ExifFromTiff(std::string_view file) {
  const Block from(file);
  if (!from.valid()) return {};
  std::string block(file.substr(0, 4));
  block.resize(8);
  DirectoryCopy copy(from, 0, block);
  std::vector<Entry> kept;
  std::vector<DirectoryCopy::Pointer> pointers;
  for (const Entry& entry : ReadDirectory(from, from.U32(4)).entries) {
    const bool is_directory = entry.tag == kTagExifIfd || entry.tag == kTagGpsIfd;
    if (is_directory && pointers.size() < 2) {
      pointers.push_back({entry.tag, copy.Copy(Value(from, entry))});
    }
    if (is_directory || IsTextTag(entry.tag)) kept.push_back(entry);
  }
  if (kept.empty()) return {};
  Put(block, 4, copy.Write(kept, pointers), 4, from.big_endian());
  return block;
}

bool TiffDirectoriesAreComplete(std::string_view file) {
  const Block block(file);
  if (!block.valid()) return true;
  const Directory ifd0 = ReadDirectory(block, block.U32(4));
  if (!ifd0.complete) return false;
  const Entry* entry = Find(ifd0, kTagExifIfd);
  return entry == nullptr || ReadDirectory(block, Value(block, *entry)).complete;
}

PlacedExif PlaceExif(std::string_view exif, uint32_t file_offset) {
  PlacedExif placed;
  const Block from(exif);
  if (!from.valid()) return placed;
  DirectoryCopy copy(from, file_offset, placed.bytes);
  const Directory ifd0 = ReadDirectory(from, from.U32(4));
  if (const Entry* entry = Find(ifd0, kTagExifIfd); entry != nullptr) {
    placed.exif_ifd = copy.Copy(Value(from, *entry));
  }
  if (const Entry* entry = Find(ifd0, kTagGpsIfd); entry != nullptr) {
    placed.gps_ifd = copy.Copy(Value(from, *entry));
  }
  return placed;
}

bool ExifIsBigEndian(std::string_view exif) { return Block(exif).big_endian(); }

}  // namespace deweather
