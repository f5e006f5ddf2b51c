#include "training/jobs/job_store.h"
