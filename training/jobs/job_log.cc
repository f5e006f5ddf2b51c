#include "training/jobs/job_log.h"
