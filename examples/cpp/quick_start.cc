#include <deweather/client.h>

#include <fstream>
#include <iostream>

int main(int argc, char** argv) {
  try {
    deweather::ClientOptions options;
    if (argc > 1) options.server = argv[1];  // else 127.0.0.1:50051
    const deweather::Client client(options);

    const deweather::Restored restored = client.RestoreFile("rainy.jpg");
    std::ofstream("restored.jpg", std::ios::binary) << restored.image;
    std::cout << restored.width_px << " px wide, by " << restored.model.name << "\n";
  } catch (const deweather::Error& error) {
    std::cerr << error.what() << "\n";  // INVALID_ARGUMENT: ..., of a file that is no picture
    return 1;
  }
}
