#include "training/rank_place.h"

#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

using Variable = std::function<const char*(const char*)>;

constexpr int kMostRanks = 65536;

std::string ValueOf(const Variable& variable, const char* name) {
  const char* const value = variable(name);
  return value == nullptr ? "" : value;
}

// Empty: `otherwise`, or an error where that is nothing.
absl::StatusOr<int> ReadNumber(const Variable& variable, const char* name,
                               std::optional<int> otherwise, int least, int most) {
  const std::string text = ValueOf(variable, name);
  if (text.empty() && otherwise) return *otherwise;
  if (text.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("WORLD_SIZE is '%s' but %s is not set",
                                                      ValueOf(variable, "WORLD_SIZE"), name));
  }
  int number = 0;
  if (absl::SimpleAtoi(text, &number) && number >= least && number <= most) return number;
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s is '%s'; it must be a whole number from %d to %d", name, text, least, most));
}

}  // namespace

absl::StatusOr<RankPlace> ReadRankPlace(const Variable& variable) {
  RankPlace place;
  DW_ASSIGN_OR_RETURN(place.count, ReadNumber(variable, "WORLD_SIZE", 1, 1, kMostRanks));
  DW_ASSIGN_OR_RETURN(place.local_rank, ReadNumber(variable, "LOCAL_RANK", 0, 0, kMostRanks - 1));
  DW_ASSIGN_OR_RETURN(place.local_count,
                      ReadNumber(variable, "LOCAL_WORLD_SIZE", 1, 1, kMostRanks));
  const std::string rank = ValueOf(variable, "RANK");
  if (!rank.empty() && ValueOf(variable, "WORLD_SIZE").empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("RANK is '", rank, "' but WORLD_SIZE is not set"));
  }
  place.store_is_there =
      absl::AsciiStrToLower(ValueOf(variable, "TORCHELASTIC_USE_AGENT_STORE")) == "true";
  if (place.count == 1 && !place.store_is_there) return place;
  DW_ASSIGN_OR_RETURN(place.rank, ReadNumber(variable, "RANK", std::nullopt, 0, place.count - 1));
  place.address = ValueOf(variable, "MASTER_ADDR");
  if (place.address.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("WORLD_SIZE is '", place.count, "' but MASTER_ADDR is not set"));
  }
  DW_ASSIGN_OR_RETURN(place.port, ReadNumber(variable, "MASTER_PORT", std::nullopt, 1, 65535));
  return place;
}

}  // namespace deweather
