// Owners of what C libraries allocate.

#ifndef DEWEATHER_MODEL_BASE_C_OWNED_H_
#define DEWEATHER_MODEL_BASE_C_OWNED_H_

#include <memory>

namespace deweather {

template <auto kFree>
struct FreeWith {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};

// Freed by the function that its library has for that, as in COwned<FILE, fclose>.
template <typename T, auto kFree>
using COwned = std::unique_ptr<T, FreeWith<kFree>>;

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_C_OWNED_H_
