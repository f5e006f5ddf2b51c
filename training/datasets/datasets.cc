#include "training/datasets/datasets.h"
