"""What libdeweather_client.so shows: interface_test.py LIBRARY COMPILER."""

import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADERS = sorted((ROOT / "client/cpp/include/deweather").glob("*.h"))
LIBRARY, COMPILER = (sys.argv.pop(1) for _ in range(2)) if len(sys.argv) > 2 else sys.exit(__doc__)
CLASSES = "Client|FrameStream|Cancellation|Error"
EXPORTED = re.compile(rf"(deweather::({CLASSES})::|deweather::(CodeName|StateName)\(|"
                      r"(typeinfo|typeinfo name|vtable) for deweather::Error$)")


def output(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout


class InterfaceTest(unittest.TestCase):
    def test_only_the_classes_of_the_headers_are_exported(self):
        symbols = [line.split(maxsplit=2)[2] for line in output("nm", "-DC", "--defined-only", LIBRARY).splitlines()]
        self.assertGreater(len(symbols), 40)
        for symbol in symbols:
            self.assertRegex(symbol, EXPORTED)
            self.assertNotRegex(symbol, r"grpc|google|protobuf|absl|spdlog|FrameStream::Call")

    def test_nothing_of_the_server_is_loaded(self):
        needed = re.findall(r"NEEDED.*\[(\S+)\]", output("readelf", "-d", LIBRARY))
        self.assertIn("libgrpc++.so", " ".join(needed))
        for name in needed:
            self.assertNotRegex(name, r"torch|opencv|jpeg|png|tiff|webp|sqlite|boost|prometheus|spdlog|fmt")

    def test_headers_include_the_standard_library_alone(self):
        for header in HEADERS:
            for include in re.findall(r"^\s*#\s*include\s*(\S+)", header.read_text(), re.MULTILINE):
                self.assertRegex(include, r"^<(deweather/\w+\.h|[a-z_]+)>$", header.name)

    def compiles(self, header, standard):
        command = [COMPILER, f"-std=c++{standard}", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow",
                   "-Wconversion", "-Werror", f"-I{ROOT}/client/cpp/include", "-include", header, "-x", "c++", "/dev/null"]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), header)

    def test_each_header_stands_alone_in_cxx17(self):
        for header in HEADERS:
            self.compiles(header, 17)

    def test_all_of_them_in_later_standards(self):
        for standard in (20, "2b"):
            self.compiles(ROOT / "client/cpp/include/deweather/client.h", standard)


if __name__ == "__main__":
    unittest.main(verbosity=2)
