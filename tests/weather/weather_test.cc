#include "training/weather/weather.h"

#include <gtest/gtest.h>

#include <string>

#include "model/base/train_options.h"

namespace deweather {
namespace {

TEST(WeatherTest, AConfigurationMayNameEach) {
  TrainOptions options;
  options.output_dir = "out";
  options.data.clean = {{.dir = "clean"}};
  for (const Weather weather : kWeathers) {
    options.data.clean[0].weather = std::string(Name(weather));
    EXPECT_TRUE(Validate(options).ok()) << Validate(options);
  }
  options.data.clean[0].weather = "hail";
  EXPECT_FALSE(Validate(options).ok());
}

}  // namespace
}  // namespace deweather
