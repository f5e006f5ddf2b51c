// Real checkpoints as versions in a folder, made of the fixtures of tests/model.

#ifndef DEWEATHER_TESTS_RESTORE_STORED_MODELS_H_
#define DEWEATHER_TESTS_RESTORE_STORED_MODELS_H_

#include <string>
#include <vector>

namespace deweather {

// Stores a fixture, e.g. "fme" or "moe", as a version of `name` with tiles of 32 px; the version.
std::string StoreFixture(const std::string& models, const std::string& name,
                         const std::string& fixture);

// The fixture "fme" with a gate for each task, its own for all of them.
std::string StoreGatedModel(const std::string& models, const std::string& name,
                            const std::vector<std::string>& tasks);

// The fixture "fme" with finite weights so large that every pixel comes out NaN.
std::string StoreNanModel(const std::string& models, const std::string& name);

// The same with an infinite weight in tail.conv1.weight.
std::string StoreInfiniteModel(const std::string& models, const std::string& name);

// A plain checkpoint of a fixture, that calls itself `name`; its version.
std::string WriteFixture(const std::string& path, const std::string& name,
                         const std::string& fixture);

}  // namespace deweather

#endif  // DEWEATHER_TESTS_RESTORE_STORED_MODELS_H_
