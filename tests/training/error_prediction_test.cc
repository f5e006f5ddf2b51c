#include "training/error_prediction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

namespace deweather {
namespace {

using Values = std::vector<double>;
using testing::DoubleNear;
using testing::Each;

Values Uniform(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  Values values;
  for (size_t i = 0; i < count; ++i) values.push_back(std::ldexp(random() >> 11, -53));
  return values;
}

Values Map(Values values, double (*f)(double)) {
  for (double& value : values) value = f(value);
  return values;
}

double AuseOf(const Values& values, const Values& errors) {
  return Ause(Sparsify(values, errors), Sparsify(errors, errors));
}

TEST(ErrorPredictionTest, ItselfIsPerfect) {
  const Values errors = Uniform(1000, 1);
  const Correlation same = Correlate(errors, errors);
  EXPECT_NEAR(same.pearson, 1, 1e-12);
  EXPECT_NEAR(same.spearman, 1, 1e-12);
  EXPECT_EQ(AuseOf(errors, errors), 0);
}

TEST(ErrorPredictionTest, ChanceTellsNothing) {
  const Values errors = Uniform(20000, 1), chance = Uniform(20000, 2);
  EXPECT_NEAR(Correlate(chance, errors).pearson, 0, 0.03);
  EXPECT_NEAR(Correlate(chance, errors).spearman, 0, 0.03);
  EXPECT_NEAR(AuseOf(chance, errors), 1, 0.03);
}

TEST(ErrorPredictionTest, OrderIsAllThatRanksAndCurvesSee) {
  const Values errors = Uniform(500, 3);
  const Values bent = Map(errors, [](double value) { return std::exp(9 * value); });
  EXPECT_LT(Correlate(bent, errors).pearson, 0.8);
  EXPECT_NEAR(Correlate(bent, errors).spearman, 1, 1e-12);
  EXPECT_NEAR(AuseOf(bent, errors), 0, 1e-12);
  const Values turned = Map(errors, [](double value) { return -value; });
  EXPECT_NEAR(Correlate(turned, errors).spearman, -1, 1e-12);
  EXPECT_GT(AuseOf(turned, errors), 1.3);
}

// By hand: ranks 0, 1.5, 1.5, 3 and 0, 1, 2, 3.
TEST(ErrorPredictionTest, EqualValuesShareARank) {
  EXPECT_NEAR(Correlate({1, 5, 5, 9}, {1, 2, 3, 4}).spearman, 4.5 / std::sqrt(4.5 * 5), 1e-12);
}

// Half of the patches have value 1, and errors 0 and 4; the others 0, and 1.
TEST(ErrorPredictionTest, AmongEqualValuesChanceDecides) {
  Values values, errors;
  for (int i = 0; i < 40; ++i) {
    values.push_back(i < 20 ? 1 : 0);
    errors.push_back(i >= 20 ? 1 : i < 10 ? 0 : 4);
  }
  const Values curve = Sparsify(values, errors);
  ASSERT_EQ(curve.size(), kRemovals);
  EXPECT_DOUBLE_EQ(curve[0], std::sqrt(1.5));
  EXPECT_DOUBLE_EQ(curve[5], std::sqrt((20 * 1 + 10 * 2) / 30.0));
  EXPECT_DOUBLE_EQ(curve[10], 1);
  EXPECT_DOUBLE_EQ(curve[19], 1);
}

TEST(ErrorPredictionTest, NoAnswerIsNan) {
  const Values errors = Uniform(50, 4), flat(50, 0.25);
  EXPECT_TRUE(std::isnan(Correlate(flat, errors).pearson));
  EXPECT_TRUE(std::isnan(Correlate(flat, errors).spearman));
  EXPECT_NEAR(AuseOf(flat, errors), 1, 1e-12);
  EXPECT_TRUE(std::isnan(AuseOf(errors, flat)));
  EXPECT_THAT(Sparsify(errors, flat), Each(DoubleNear(0.5, 1e-12)));
  EXPECT_TRUE(std::isnan(Correlate({1}, {2}).pearson));
  EXPECT_TRUE(std::isnan(AuseOf({1}, {2})));
  EXPECT_TRUE(std::isnan(CorrelateGiven(errors, errors, errors, Uniform(50, 5)).pearson));
}

// x and y share z and w and nothing else; v is in x and y beside these.
TEST(ErrorPredictionTest, WhatBothOweToOthersIsTakenAway) {
  const Values z = Uniform(20000, 5), w = Uniform(20000, 6), v = Uniform(20000, 9);
  Values x = Uniform(20000, 7), y = Uniform(20000, 8), shared_x = x, shared_y = y;
  for (size_t i = 0; i < z.size(); ++i) {
    x[i] += 2 * z[i] + w[i];
    y[i] += 2 * z[i] + 2 * w[i];
    shared_x[i] = x[i] + v[i];
    shared_y[i] = y[i] + v[i];
  }
  EXPECT_GT(Correlate(x, y).pearson, 0.7);
  EXPECT_NEAR(CorrelateGiven(x, y, z, w).pearson, 0, 0.03);
  EXPECT_NEAR(CorrelateGiven(x, y, z, w).spearman, 0, 0.1);
  EXPECT_NEAR(CorrelateGiven(shared_x, shared_y, z, w).pearson, 0.5, 0.03);
  EXPECT_NEAR(CorrelateGiven(shared_x, shared_y, w, z).pearson, 0.5, 0.03);
  EXPECT_GT(CorrelateGiven(x, y, z, v).pearson, 0.3);  // w is left
}

// Of 400 values of a uniform distribution the mean is within 1.96 of σ / √400.
TEST(ErrorPredictionTest, IntervalIsThatOfTheMean) {
  const Values values = Uniform(400, 10);
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / 400;
  const Interval interval = MeanInterval(values);
  EXPECT_NEAR(mean - interval.low, 1.96 * std::sqrt(1 / 12.0 / 400), 0.003);
  EXPECT_NEAR(interval.high - mean, 1.96 * std::sqrt(1 / 12.0 / 400), 0.003);
  EXPECT_EQ(MeanInterval(values).low, interval.low);
  EXPECT_EQ(MeanInterval({0.5, 0.5}).high, 0.5);
  EXPECT_TRUE(std::isnan(MeanInterval({0.5}).low));
  EXPECT_TRUE(std::isnan(MeanInterval({}).high));
}

}  // namespace
}  // namespace deweather
