# A file as an array of bytes: OUT.cc and OUT.h.
#
#   cmake -D in=FILE -D out=OUT -D name=kName -P embed.cmake

file(READ ${in} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR bytes "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," array "${hex}")
cmake_path(GET out FILENAME header)
file(WRITE ${out}.h "#include <cstddef>\n\nnamespace deweather {\nextern const unsigned char ${name}[];\n\
constexpr std::size_t ${name}Bytes = ${bytes};\n}  // namespace deweather\n")
file(WRITE ${out}.cc "#include \"${header}.h\"\n\nnamespace deweather {\nconst unsigned char ${name}[] = {${array}};\n\
}  // namespace deweather\n")
