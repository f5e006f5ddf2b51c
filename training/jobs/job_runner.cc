#include "training/jobs/job_runner.h"
