#include "training/jobs/job.h"
