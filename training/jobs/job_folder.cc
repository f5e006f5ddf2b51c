#include "training/jobs/job_folder.h"
