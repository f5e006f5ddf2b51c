"""restore.py SERVER INPUT OUTPUT: one picture with the Python client (scripts/wheel), and what was done to it."""

import sys

from deweather_client import Client, DeweatherError


def main() -> int:
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    server, source, output = sys.argv[1:]
    with Client(server) as client:
        try:
            restored = client.restore(source)
        except DeweatherError as error:
            print(f"{error.code} {error.reason}: {error.message} (request {error.request_id})", file=sys.stderr)
            return 1
    restored.save(output)
    print(restored)
    return 0


if __name__ == "__main__":
    sys.exit(main())
