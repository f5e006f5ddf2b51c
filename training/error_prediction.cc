#include "training/error_prediction.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>

#include "model/base/random_key.h"

namespace deweather {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr uint64_t kSeed = 1;
constexpr size_t kDraws = 1000;

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

bool AllEqual(const std::vector<double>& values) {
  return std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end();
}

double Pearson(const std::vector<double>& x, const std::vector<double>& y) {
  if (AllEqual(x) || AllEqual(y)) return kNan;
  const double mean_x = Mean(x), mean_y = Mean(y);
  double xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    yy += (y[i] - mean_y) * (y[i] - mean_y);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  return xy / std::sqrt(xx * yy);
}

// Indices from the least value up.
std::vector<size_t> Order(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  return order;
}

// One past the last place of `order` that holds the same value as `begin`.
size_t EndOfTie(const std::vector<double>& values, const std::vector<size_t>& order, size_t begin) {
  size_t end = begin + 1;
  while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
  return end;
}

std::vector<double> RanksOf(const std::vector<double>& values) {
  const std::vector<size_t> order = Order(values);
  std::vector<double> ranks(values.size());
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    end = EndOfTie(values, order, begin);
    const double rank = static_cast<double>(begin + end - 1) / 2;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = rank;
  }
  return ranks;
}

double Given(double xy, double xz, double yz) {
  const double rest = (1 - xz * xz) * (1 - yz * yz);
  return rest > 0 ? (xy - xz * yz) / std::sqrt(rest) : kNan;
}

// Pearson's r of x and y, given z and w.
double PearsonGiven(const std::vector<double>& x, const std::vector<double>& y,
                    const std::vector<double>& z, const std::vector<double>& w) {
  const double xz = Pearson(x, z), yz = Pearson(y, z), wz = Pearson(w, z);
  return Given(Given(Pearson(x, y), xz, yz), Given(Pearson(x, w), xz, wz),
               Given(Pearson(y, w), yz, wz));
}

// The mean of as many of the values, drawn with replacement.
double MeanOfDraw(const std::vector<double>& values, uint64_t draw) {
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    sum += values[RandomKey({kSeed, draw, i}) % values.size()];
  }
  return sum / static_cast<double>(values.size());
}

// Sums of the errors of the first 0, 1, 2, ... patches by value; those of a tie count alike.
std::vector<double> SumsByValue(const std::vector<double>& values,
                                const std::vector<double>& errors) {
  const std::vector<size_t> order = Order(values);
  std::vector<double> sums = {0};
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    end = EndOfTie(values, order, begin);
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += errors[order[i]];
    const double before = sums.back(), each = sum / static_cast<double>(end - begin);
    for (size_t i = 1; i <= end - begin; ++i)
      sums.push_back(before + each * static_cast<double>(i));
  }
  return sums;
}

}  // namespace

Correlation Correlate(const std::vector<double>& x, const std::vector<double>& y) {
  return {Pearson(x, y), Pearson(RanksOf(x), RanksOf(y))};
}

Correlation CorrelateGiven(const std::vector<double>& x, const std::vector<double>& y,
                           const std::vector<double>& z, const std::vector<double>& w) {
  return {PearsonGiven(x, y, z, w), PearsonGiven(RanksOf(x), RanksOf(y), RanksOf(z), RanksOf(w))};
}

std::vector<double> Sparsify(const std::vector<double>& values, const std::vector<double>& errors) {
  const std::vector<double> sums = SumsByValue(values, errors);
  std::vector<double> curve;
  for (size_t i = 0; i < kRemovals; ++i) {
    const size_t rest = errors.size() - errors.size() * i / kRemovals;
    curve.push_back(std::sqrt(sums[rest] / static_cast<double>(rest)));
  }
  return curve;
}

double Ause(const std::vector<double>& curve, const std::vector<double>& oracle) {
  double above = 0, chance = 0;
  for (size_t i = 0; i < oracle.size(); ++i) {
    const double width = i == 0 || i + 1 == oracle.size() ? 0.5 : 1;  // trapezia
    above += width * (curve[i] - oracle[i]);
    chance += width * (oracle[0] - oracle[i]);
  }
  return chance > 1e-9 * oracle[0] ? above / chance : kNan;
}

Interval MeanInterval(const std::vector<double>& values) {
  if (values.size() < 2) return {kNan, kNan};
  std::vector<double> means;
  for (uint64_t draw = 0; draw < kDraws; ++draw) means.push_back(MeanOfDraw(values, draw));
  std::sort(means.begin(), means.end());
  return {means[kDraws / 40], means[kDraws - 1 - kDraws / 40]};
}

}  // namespace deweather
