#include "model/fuse.h"
