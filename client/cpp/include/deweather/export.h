// What libdeweather_client.so shows of itself.

#ifndef DEWEATHER_EXPORT_H_
#define DEWEATHER_EXPORT_H_

#if defined(__GNUC__)
#define DEWEATHER_EXPORT __attribute__((visibility("default")))
#define DEWEATHER_HIDDEN __attribute__((visibility("hidden")))
#else
#define DEWEATHER_EXPORT
#define DEWEATHER_HIDDEN
#endif

#endif  // DEWEATHER_EXPORT_H_
