#include "client/bench_plan.h"

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

constexpr int kMaxSide = 30'000;
constexpr int64_t kMaxPixels = 200'000'000;
constexpr double kMaxWeight = 1e6;
constexpr int kMaxConcurrency = 10'000;
constexpr int kMaxConnections = 1'000;
constexpr double kMaxRate = 1e6;
constexpr int kMaxOutstanding = 1'000'000;

absl::Status CheckRange(std::string_view flag, double value, double least, double most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is %g; from %g to %g", flag, value, least, most));
}

absl::StatusOr<double> ParseWeight(std::string_view text) {
  double weight = 0;
  const bool good = absl::SimpleAtod({text.data(), text.size()}, &weight);
  if (good && weight > 0 && weight <= kMaxWeight) return weight;
  return absl::InvalidArgumentError(
      absl::StrFormat("'%s' is no weight: a number above 0, up to %g", text, kMaxWeight));
}

bool IsNumber(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// Leaves the size of a part that names a file at 0.
absl::Status ReadSize(MixPart* part) {
  const std::vector<std::string> sides = absl::StrSplit(part->name, 'x');
  if (sides.size() != 2 || !IsNumber(sides[0]) || !IsNumber(sides[1])) return absl::OkStatus();
  const bool good = absl::SimpleAtoi(sides[0], &part->width_px) &&
                    absl::SimpleAtoi(sides[1], &part->height_px) && part->width_px > 0 &&
                    part->height_px > 0 && part->width_px <= kMaxSide &&
                    part->height_px <= kMaxSide;
  if (!good) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the size %s has a side out of [1, %d]", part->name, kMaxSide));
  }
  const int64_t pixels = int64_t{part->width_px} * part->height_px;
  if (pixels <= kMaxPixels) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("the size %s has %d pixels; at most %d", part->name, pixels, kMaxPixels));
}

absl::StatusOr<MixPart> ParsePart(const std::string& text) {
  MixPart part{.name = text};
  const size_t equals = text.rfind('=');
  if (equals != std::string::npos) {
    part.name = text.substr(0, equals);
    DW_ASSIGN_OR_RETURN(part.weight, ParseWeight(text.substr(equals + 1)));
  }
  if (part.name.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("'%s' names no size and no file", text));
  }
  DW_RETURN_IF_ERROR(ReadSize(&part));
  return part;
}

}  // namespace

absl::Status Validate(const BenchFlags& flags) {
  DW_RETURN_IF_ERROR(CheckRange("--concurrency", flags.concurrency, 1, kMaxConcurrency));
  DW_RETURN_IF_ERROR(CheckRange("--connections", flags.connections, 0, kMaxConnections));
  DW_RETURN_IF_ERROR(CheckRange("--max-outstanding", flags.max_outstanding, 1, kMaxOutstanding));
  DW_RETURN_IF_ERROR(CheckRange("--rate", flags.rate, 0, kMaxRate));
  if (flags.duration <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--duration is 0; it must be longer");
  }
  if (!flags.inputs.empty() && !flags.mix.empty()) {
    return absl::InvalidArgumentError("--mix names files too: give it or IN, not both");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<MixPart>> ParseMix(std::string_view text) {
  std::vector<MixPart> parts;
  const std::vector<std::string> texts =
      absl::StrSplit(absl::string_view(text.data(), text.size()), ',');
  for (const std::string& one : texts) {
    DW_ASSIGN_OR_RETURN(MixPart part, ParsePart(one));
    parts.push_back(std::move(part));
  }
  return parts;
}

absl::StatusOr<std::vector<MixPart>> MixOf(const BenchFlags& flags) {
  if (flags.inputs.empty()) return ParseMix(flags.mix.empty() ? "256x256" : flags.mix);
  std::vector<MixPart> parts;
  for (const std::string& input : flags.inputs) parts.push_back({.name = input});
  return parts;
}

Arrivals::Arrivals(double rate_per_s, int64_t seed, absl::Time start)
    : random_(static_cast<uint64_t>(seed)), gap_s_(rate_per_s), last_(start) {}

absl::Time Arrivals::Next() {
  last_ += absl::Seconds(gap_s_(random_));
  return last_;
}

}  // namespace deweather
