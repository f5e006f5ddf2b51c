#include "model/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors are read in place");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr int kMaxDimensions = 8;

constexpr std::array<std::pair<std::string_view, int>, 12> kDtypeBytes = {{{"F64", 8},
                                                                           {"F32", 4},
                                                                           {"F16", 2},
                                                                           {"BF16", 2},
                                                                           {"I64", 8},
                                                                           {"I32", 4},
                                                                           {"I16", 2},
                                                                           {"I8", 1},
                                                                           {"U8", 1},
                                                                           {"BOOL", 1},
                                                                           {"F8_E4M3", 1},
                                                                           {"F8_E5M2", 1}}};

absl::StatusOr<int64_t> DtypeBytes(std::string_view tensor, std::string_view dtype) {
  for (const auto& [name, bytes] : kDtypeBytes) {
    if (name == dtype) return bytes;
  }
  return absl::DataLossError(absl::StrFormat("tensor '%s' has unknown dtype '%s'", tensor, dtype));
}

absl::StatusOr<std::string_view> HeaderText(std::string_view file) {
  if (file.size() < 8) {
    return absl::DataLossError(
        absl::StrFormat("not a safetensors file: %d bytes, at least 8 are needed", file.size()));
  }
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof(length));
  const uint64_t limit = std::min<uint64_t>(file.size() - 8, kMaxHeaderBytes);
  if (length > limit) {
    return absl::DataLossError(absl::StrFormat(
        "the header claims %d bytes; the file has room for %d at most", length, limit));
  }
  return file.substr(8, length);
}

// A list of non-negative integers below 2^53.
absl::StatusOr<std::vector<int64_t>> IntegerList(std::string_view tensor, const json& entry,
                                                 const char* field) {
  const auto found = entry.find(field);
  const auto malformed = [&] {
    return absl::DataLossError(
        absl::StrFormat("tensor '%s': %s is not a list of sizes", tensor, field));
  };
  if (found == entry.end() || !found->is_array() || found->size() > kMaxDimensions) {
    return malformed();
  }
  std::vector<int64_t> values;
  for (const json& value : *found) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() >> 53 != 0) return malformed();
    values.push_back(value.get<int64_t>());
  }
  return values;
}

absl::StatusOr<int64_t> ByteCount(std::string_view tensor, const SafetensorView& view) {
  DW_ASSIGN_OR_RETURN(int64_t bytes, DtypeBytes(tensor, view.dtype));
  for (const int64_t size : view.shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) {
      return absl::DataLossError(
          absl::StrFormat("tensor '%s' has a shape of more than 2^63 bytes", tensor));
    }
  }
  return bytes;
}

absl::StatusOr<SafetensorView> ReadEntry(std::string_view name, const json& entry,
                                         std::string_view data) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string()) {
    return absl::DataLossError(absl::StrFormat("tensor '%s' has no dtype", name));
  }
  SafetensorView view;
  view.dtype = entry["dtype"].get<std::string>();
  DW_ASSIGN_OR_RETURN(view.shape, IntegerList(name, entry, "shape"));
  DW_ASSIGN_OR_RETURN(const std::vector<int64_t> offsets, IntegerList(name, entry, "data_offsets"));
  DW_ASSIGN_OR_RETURN(const int64_t expected, ByteCount(name, view));
  if (offsets.size() != 2 || offsets[0] > offsets[1] ||
      offsets[1] > static_cast<int64_t>(data.size())) {
    return absl::DataLossError(
        absl::StrFormat("tensor '%s' has data_offsets %s; the data is %d bytes", name,
                        entry["data_offsets"].dump(), data.size()));
  }
  if (offsets[1] - offsets[0] != expected) {
    return absl::DataLossError(absl::StrFormat("tensor '%s' spans %d bytes; its shape needs %d",
                                               name, offsets[1] - offsets[0], expected));
  }
  view.bytes = data.substr(offsets[0], expected);
  return view;
}

// Tensors must follow one another: no byte in two of them, none in none.
absl::Status CheckContiguous(const Safetensors& content, std::string_view data) {
  std::vector<std::pair<const char*, const std::string*>> order;
  for (const auto& [name, view] : content.tensors) order.emplace_back(view.bytes.data(), &name);
  // Empty tensors sort before the one that begins where they are.
  std::sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return std::pair(a.first, content.tensors.at(*a.second).bytes.size()) <
           std::pair(b.first, content.tensors.at(*b.second).bytes.size());
  });
  const char* end = data.data();
  for (const auto& [begin, name] : order) {
    if (begin != end) {
      return absl::DataLossError(absl::StrFormat(
          "tensor '%s' begins at byte %d; the one before it ends at %d: tensors %s", *name,
          begin - data.data(), end - data.data(), begin < end ? "overlap" : "leave a gap"));
    }
    end = begin + content.tensors.at(*name).bytes.size();
  }
  if (end == data.data() + data.size()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("the data is %d bytes; the tensors fill %d", data.size(), end - data.data()));
}

absl::Status ReadMetadata(const json& entry, Safetensors& content) {
  if (!entry.is_object()) return absl::DataLossError("__metadata__ is not an object");
  for (const auto& [name, value] : entry.items()) {
    if (!value.is_string()) {
      return absl::DataLossError(absl::StrFormat("__metadata__ '%s' is not text", name));
    }
    content.metadata[name] = value.get<std::string>();
  }
  return absl::OkStatus();
}

// Nesting is bounded before the parser recurses: a header is two objects deep and a list.
absl::Status CheckNesting(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (quoted) {
      if (text[i] == '\\')
        ++i;
      else if (text[i] == '"')
        quoted = false;
    } else if (text[i] == '"') {
      quoted = true;
    } else if (text[i] == '{' || text[i] == '[') {
      if (++depth > 4) return absl::DataLossError("the header nests deeper than 4 levels");
    } else if (text[i] == '}' || text[i] == ']') {
      --depth;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Safetensors> ParseSafetensors(std::string_view file) {
  DW_ASSIGN_OR_RETURN(const std::string_view text, HeaderText(file));
  DW_RETURN_IF_ERROR(CheckNesting(text));
  const json header = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) return absl::DataLossError("the header is not a JSON object");
  const std::string_view data = file.substr(8 + text.size());
  Safetensors content;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      DW_RETURN_IF_ERROR(ReadMetadata(entry, content));
      continue;
    }
    DW_ASSIGN_OR_RETURN(content.tensors[name], ReadEntry(name, entry, data));
  }
  DW_RETURN_IF_ERROR(CheckContiguous(content, data));
  return content;
}

std::string SerializeSafetensors(const Safetensors& content) {
  json header = json::object();
  if (!content.metadata.empty()) header["__metadata__"] = content.metadata;
  size_t end = 0;
  for (const auto& [name, view] : content.tensors) {
    header[name] = {{"dtype", view.dtype},
                    {"shape", view.shape},
                    {"data_offsets", {end, end + view.bytes.size()}}};
    end += view.bytes.size();
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');  // the data begins aligned
  const uint64_t length = text.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof(length));
  file.reserve(8 + text.size() + end);
  file += text;
  for (const auto& [name, view] : content.tensors) file += view.bytes;
  return file;
}

}  // namespace deweather
