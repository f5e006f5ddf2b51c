#include "training/jobs/child_process.h"
