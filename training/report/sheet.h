// Pictures side by side with captions, for people to look at.

#ifndef DEWEATHER_TRAINING_REPORT_SHEET_H_
#define DEWEATHER_TRAINING_REPORT_SHEET_H_

#endif  // DEWEATHER_TRAINING_REPORT_SHEET_H_
