// deweather-server: restores pictures over gRPC.

#include "server/program.h"

int main(int argc, char** argv) { return deweather::RunServerProgram(argc, argv); }
