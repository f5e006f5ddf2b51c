#include "server/http/infer_json.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "server/rpc/inference_tensors.h"

namespace deweather {
namespace {

using inference::InferParameter;
using inference::ModelInferRequest;
using Input = ModelInferRequest::InferInputTensor;
using Parameters = google::protobuf::Map<std::string, InferParameter>;

absl::Status Malformed(const std::string& message) {
  return WithReason(absl::InvalidArgumentError(message), "MALFORMED_MESSAGE");
}

bool IsByte(double value) { return value >= 0 && value <= 255 && value == std::floor(value); }

bool IsFloat(double value) { return std::abs(value) <= std::numeric_limits<float>::max(); }

// The values of one input's `data`, and how they are nested.
class DataReader {
 public:
  // There are at most `left` values more, for which nothing is reserved yet.
  DataReader(Input& input, int64_t& left) : input_(input) {
    const int values = ExpectedValues(left);
    input_.mutable_contents()->mutable_fp32_contents()->Reserve(values);
    left -= values;
  }

  bool is_open() const { return !counts_.empty(); }

  absl::Status Open() {
    if (std::ssize(counts_) == kMaxDataLevels) {
      return InvalidTensor(
          absl::StrFormat("data of %s is nested deeper than %d arrays", Name(), kMaxDataLevels));
    }
    counts_.push_back(0);
    if (counts_.size() > sides_.size()) sides_.push_back(kUnknown);
    return absl::OkStatus();
  }

  absl::Status Close() {
    int64_t& side = sides_[counts_.size() - 1];
    const int64_t count = counts_.back();
    if (side != kUnknown && side != count) return Ragged(side, count);
    side = count;
    counts_.pop_back();
    if (is_open()) ++counts_.back();
    return absl::OkStatus();
  }

  absl::Status Add(double value) {
    auto& values = *input_.mutable_contents()->mutable_fp32_contents();
    if (!IsByte(value) && !no_byte_) no_byte_ = {values.size(), value};
    if (!IsFloat(value) && !no_float_) no_float_ = {values.size(), value};
    values.Add(static_cast<float>(IsFloat(value) ? value : 0));
    return Counted();
  }

  absl::Status Refuse(std::string_view what) const {
    return InvalidTensor(absl::StrFormat(
        "data of %s holds %s; it must be numbers, and files come as binary data", Name(), what));
  }

  // Once name, datatype and shape are known too, which may come behind the values.
  absl::Status Finish() {
    const std::string& datatype = input_.datatype();
    if (datatype == "FP16" || datatype == "BF16" || datatype == "BYTES") {
      return InvalidTensor(absl::StrFormat(
          "%s is %s with data, which JSON has no numbers of: it must come as binary data", Name(),
          datatype));
    }
    DW_RETURN_IF_ERROR(CheckNesting());
    if (datatype == "UINT8") return ToBytes();
    if (datatype != "FP32" || !no_float_) return absl::OkStatus();
    return InvalidTensor(absl::StrFormat("value %d of %s is %s; FP32 goes to %s", no_float_->index,
                                         Name(), ShownNumber(no_float_->value),
                                         ShownNumber(std::numeric_limits<float>::max())));
  }

 private:
  static constexpr int64_t kUnknown = -1;

  struct Unfit {
    int index;
    double value;
  };

  // By the shape, if that came first.
  int ExpectedValues(int64_t most) const {
    most = std::min<int64_t>(most, std::numeric_limits<int>::max());
    int64_t values = input_.shape().empty() ? 0 : 1;
    for (const int64_t side : input_.shape()) {
      if (side < 1) return 0;
      values = side > most / values ? most : values * side;
      if (values == 0) return 0;
    }
    return static_cast<int>(values);
  }

  std::string Name() const { return ShownText(input_.name()); }

  absl::Status Ragged(int64_t side, int64_t other) const {
    return InvalidTensor(absl::StrFormat(
        "data of %s has arrays of %d and of %d entries side by side", Name(), side, other));
  }

  // A value where others are arrays would make a side of nothing.
  absl::Status Counted() {
    const size_t level = counts_.size();
    if (level_ == 0) level_ = level;
    if (level_ != level || sides_.size() != level) {
      return InvalidTensor(absl::StrFormat("data of %s has values at depth %d and at depth %d",
                                           Name(), std::min(level_, level),
                                           std::max(sides_.size(), level)));
    }
    ++counts_.back();
    return absl::OkStatus();
  }

  absl::Status CheckNesting() const {
    if (sides_.size() <= 1) return absl::OkStatus();  // flat
    const auto& shape = input_.shape();
    if (std::ranges::equal(sides_, shape)) return absl::OkStatus();
    return InvalidTensor(absl::StrFormat("data of %s is nested as %s; its shape is %s", Name(),
                                         ShownShape(sides_), ShownShape(shape)));
  }

  absl::Status ToBytes() {
    if (no_byte_) {
      return InvalidTensor(
          absl::StrFormat("value %d of %s is %s; UINT8 is a whole number of 0 to 255",
                          no_byte_->index, Name(), ShownNumber(no_byte_->value)));
    }
    auto& contents = *input_.mutable_contents();
    auto& values = *contents.mutable_uint_contents();
    values.Reserve(contents.fp32_contents_size());
    for (const float value : contents.fp32_contents()) values.Add(static_cast<uint32_t>(value));
    google::protobuf::RepeatedField<float>().Swap(contents.mutable_fp32_contents());
    return absl::OkStatus();
  }

  Input& input_;
  std::vector<int64_t> counts_;  // of each array that is open: its entries so far
  std::vector<int64_t> sides_;   // of each level: what its arrays hold
  size_t level_ = 0;             // of values; 0: none yet
  std::optional<Unfit> no_byte_;
  std::optional<Unfit> no_float_;
};

// What is being read. The form has no depth of its own but that of `data`, so nothing recurses.
enum class Place {
  kDocument,
  kRequest,
  kParameters,
  kInputs,
  kInput,
  kShape,
  kOutputs,
  kOutput,
  kData
};

// Called by nlohmann's parser with each token; false ends it, and `status` says why.
class RequestReader {
 public:
  explicit RequestReader(size_t bytes) : values_left_(static_cast<int64_t>(bytes / 2)) {}

  absl::Status status() const { return status_; }
  ModelInferRequest& message() { return message_; }

  bool null() {
    // Of what may be left out.
    if (At(Place::kRequest, "id") || At(Place::kRequest, "parameters") ||
        At(Place::kRequest, "outputs") ||
        ((place() == Place::kInput || place() == Place::kOutput) && key_ == "parameters")) {
      return true;
    }
    return Value("null");
  }

  bool boolean(bool value) {
    if (place() == Place::kParameters) return Take([&](auto& to) { to.set_bool_param(value); });
    return Value(value ? "true" : "false");
  }

  bool number_integer(int64_t value) {
    if (place() == Place::kParameters) return Take([&](auto& to) { to.set_int64_param(value); });
    return Whole(value, static_cast<double>(value));
  }

  bool number_unsigned(uint64_t value) {
    if (place() == Place::kParameters) return Take([&](auto& to) { to.set_uint64_param(value); });
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return number_float(static_cast<double>(value), "");
    }
    return Whole(static_cast<int64_t>(value), static_cast<double>(value));
  }

  // `text` is how it stands there.
  bool number_float(double value, const std::string& text) {
    if (place() == Place::kParameters) return Take([&](auto& to) { to.set_double_param(value); });
    if (place() == Place::kData) return Keep(data_->Add(value));
    return Value(text.empty() ? ShownNumber(value) : ShownText(text));
  }

  bool string(std::string& value) {
    switch (place()) {
      case Place::kParameters:
        return Take([&](auto& to) { to.set_string_param(std::move(value)); });
      case Place::kData:
        return Keep(data_->Refuse("a string"));
      default:
        break;
    }
    std::string* const text = TextField();
    if (text == nullptr) return Value(absl::StrFormat("'%s'", ShownText(value)));
    *text = std::move(value);
    return true;
  }

  bool binary(std::vector<uint8_t>& /*value*/) { return false; }  // no JSON has it

  bool start_object(size_t /*entries*/) {
    switch (place()) {
      case Place::kDocument:
        return Enter(Place::kRequest);
      case Place::kInputs:
        return Room(message_.inputs_size()) && (message_.add_inputs(), Enter(Place::kInput));
      case Place::kOutputs:
        return Room(message_.outputs_size()) && (message_.add_outputs(), Enter(Place::kOutput));
      case Place::kRequest:
      case Place::kInput:
      case Place::kOutput:
        if (key_ == "parameters") return Enter(Place::kParameters);
        break;
      default:
        break;
    }
    return Value("an object");
  }

  bool key(std::string& name) {
    if (place() == Place::kParameters) {
      if (ParametersHere().contains(name)) return Twice(name);
      key_ = std::move(name);
      return Room(ParametersHere().size());
    }
    auto& seen = seen_.back();
    if (std::ranges::find(seen, name) != seen.end()) return Twice(name);
    key_ = std::move(name);
    if (!IsKnown())
      return Keep(Malformed(absl::StrFormat("unknown field '%s'", ShownText(Where()))));
    seen.push_back(key_);
    return true;
  }

  bool end_object() {
    const Place ended = place();
    Leave();
    if (ended != Place::kInput || !data_) return true;
    const bool good = Keep(data_->Finish());
    data_.reset();
    return good;
  }

  bool start_array(size_t /*entries*/) {
    if (At(Place::kRequest, "inputs")) return Enter(Place::kInputs);
    if (At(Place::kRequest, "outputs")) return Enter(Place::kOutputs);
    if (At(Place::kInput, "shape")) return Enter(Place::kShape);
    if (At(Place::kInput, "data")) {
      data_.emplace(*message_.mutable_inputs()->rbegin(), values_left_);
      return Enter(Place::kData) && Keep(data_->Open());
    }
    if (place() == Place::kData) return Keep(data_->Open());
    return Value("an array");
  }

  bool end_array() {
    if (place() == Place::kData) {
      if (!Keep(data_->Close())) return false;
      if (data_->is_open()) return true;
    }
    Leave();
    return true;
  }

  bool parse_error(size_t byte, const std::string& token,
                   const nlohmann::detail::exception& error) {
    constexpr int kNumberOverflow = 406;
    constexpr size_t kShown = 32;
    const std::string_view all = token;
    const std::string near = ShownText(all.substr(all.size() - std::min(all.size(), kShown)));
    return Keep(
        Malformed(error.id == kNumberOverflow
                      ? absl::StrFormat("'%s' at byte %d is too large a number", near, byte)
                      : absl::StrFormat("the JSON is wrong at byte %d, near '%s'", byte, near)));
  }

 private:
  Place place() const { return places_.back(); }
  bool At(Place where, std::string_view name) const { return place() == where && key_ == name; }

  bool Keep(absl::Status status) {
    status_ = std::move(status);
    return status_.ok();
  }

  bool Enter(Place next) {
    places_.push_back(next);
    seen_.emplace_back();
    return true;
  }

  void Leave() {
    places_.pop_back();
    seen_.pop_back();
  }

  // As messages have it: "inputs[0].shape".
  std::string Where() const {
    const auto one = [](const char* of, int size) { return absl::StrCat(of, "[", size - 1, "]"); };
    std::string where;
    for (const Place place : places_) {
      if (place == Place::kInput) where = absl::StrCat(one("inputs", message_.inputs_size()), ".");
      if (place == Place::kOutput)
        where = absl::StrCat(one("outputs", message_.outputs_size()), ".");
      if (place == Place::kParameters) absl::StrAppend(&where, "parameters.");
    }
    if (place() == Place::kDocument) return "the request";
    if (place() == Place::kInputs) return one("inputs", message_.inputs_size() + 1);
    if (place() == Place::kOutputs) return one("outputs", message_.outputs_size() + 1);
    return absl::StrCat(where, key_);
  }

  bool IsKnown() const {
    const auto one_of = [this](std::initializer_list<std::string_view> names) {
      return std::ranges::find(names, key_) != names.end();
    };
    switch (place()) {
      case Place::kInput:
        return one_of({"name", "datatype", "shape", "parameters", "data"});
      case Place::kOutput:
        return one_of({"name", "parameters"});
      default:
        return one_of({"id", "parameters", "inputs", "outputs"});
    }
  }

  const char* Wanted() const {
    switch (place()) {
      case Place::kDocument:
      case Place::kInputs:
      case Place::kOutputs:
        return "an object";
      case Place::kShape:
        return "whole numbers";
      case Place::kParameters:
        return "a string, a number, true or false";
      default:
        break;
    }
    if (key_ == "parameters") return "an object";
    return key_ == "id" || key_ == "name" || key_ == "datatype" ? "a string" : "an array";
  }

  // A value where no such value may be.
  bool Value(std::string_view what) {
    if (place() == Place::kData) return Keep(data_->Refuse(what));
    const char* const is = place() == Place::kShape ? "holds" : "is";
    return Keep(Malformed(
        absl::StrFormat("%s %s %s; it must be %s", ShownText(Where()), is, what, Wanted())));
  }

  bool Twice(std::string_view name) {
    return Keep(Malformed(absl::StrFormat("field '%s' comes twice", ShownText(name))));
  }

  bool Room(size_t entries) {
    if (entries < kMaxInferEntries) return true;
    const Place of = place();
    const char* const what = of == Place::kInputs    ? "inputs"
                             : of == Place::kOutputs ? "outputs"
                             : of == Place::kShape   ? "sides in a shape"
                                                     : "parameters in one place";
    return Keep(Malformed(absl::StrFormat("more than %d %s", kMaxInferEntries, what)));
  }

  bool Whole(int64_t value, double number) {
    if (place() == Place::kData) return Keep(data_->Add(number));
    if (place() != Place::kShape) return Value(absl::StrCat(value));
    Input& input = *message_.mutable_inputs()->rbegin();
    if (!Room(input.shape_size())) return false;
    input.add_shape(value);
    return true;
  }

  std::string* TextField() {
    if (At(Place::kRequest, "id")) return message_.mutable_id();
    if (At(Place::kInput, "name")) return message_.mutable_inputs()->rbegin()->mutable_name();
    if (At(Place::kInput, "datatype"))
      return message_.mutable_inputs()->rbegin()->mutable_datatype();
    if (At(Place::kOutput, "name")) return message_.mutable_outputs()->rbegin()->mutable_name();
    return nullptr;
  }

  // REQUIRES: inside of an object of parameters.
  Parameters& ParametersHere() {
    switch (places_[places_.size() - 2]) {
      case Place::kInput:
        return *message_.mutable_inputs()->rbegin()->mutable_parameters();
      case Place::kOutput:
        return *message_.mutable_outputs()->rbegin()->mutable_parameters();
      default:
        return *message_.mutable_parameters();
    }
  }

  template <typename Set>
  bool Take(Set set) {
    set(ParametersHere()[key_]);
    return true;
  }

  int64_t values_left_;  // a digit and a comma each
  ModelInferRequest message_;
  absl::Status status_;
  std::vector<Place> places_ = {Place::kDocument};
  std::vector<std::vector<std::string>> seen_ = {{}};  // fields of each object that is open
  std::string key_;                                    // the last one
  std::optional<DataReader> data_;                     // of the last input, until that ends
};

bool IsOfNumber(char c) {
  return (c >= '0' && c <= '9') || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-';
}

// Before anything is read. What is no JSON the parser tells.
absl::Status CheckTokens(std::string_view json) {
  bool is_string = false;
  size_t begin = 0;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (c == '\0') return Malformed(absl::StrFormat("byte %d is 0, which JSON has nowhere", i + 1));
    if (c == '"') {
      is_string = !is_string;
      begin = i + 1;
    } else if (!is_string && !IsOfNumber(c)) {
      begin = i + 1;
    } else if (i - begin >= kMaxTokenBytes) {
      return Malformed(
          absl::StrFormat("the %s at byte %d has more than %d bytes; files come as binary data",
                          is_string ? "string" : "number", begin + 1, kMaxTokenBytes));
    } else if (is_string && c == '\\') {
      ++i;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelInferRequest> ReadInferJson(std::string_view json) {
  DW_RETURN_IF_ERROR(CheckTokens(json));
  RequestReader reader(json.size());
  nlohmann::json::sax_parse(json.data(), json.data() + json.size(), &reader);
  DW_RETURN_IF_ERROR(reader.status());
  return std::move(reader.message());
}

}  // namespace deweather
