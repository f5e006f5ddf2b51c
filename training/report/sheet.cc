#include "training/report/sheet.h"
