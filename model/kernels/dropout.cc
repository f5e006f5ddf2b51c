#include "model/kernels/dropout.h"
