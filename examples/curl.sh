#!/usr/bin/env bash
# examples/curl.sh URL INPUT OUTPUT
#
# Restores a picture with curl alone, from a server with --http-listen: URL is http://127.0.0.1:8080. Says which model
# did it and where the time went. A token goes in DEWEATHER_TOKEN.
set -euo pipefail

[ $# = 3 ] || { sed -n 's/^# \{0,1\}//; 2,5p' "$0" >&2; exit 2; }
url=$1 input=$2 output=$3
[ -r "$input" ] || { echo "cannot read '$input'" >&2; exit 1; }
headers=$(mktemp) reply=$(mktemp) secret=$(mktemp)
trap 'rm -f "$headers" "$reply" "$secret"' EXIT

authorization=()
if [ -n "${DEWEATHER_TOKEN:-}" ]; then
  # By a file: every user of the machine sees a command's arguments.
  printf 'Authorization: Bearer %s\n' "$DEWEATHER_TOKEN" >"$secret"
  authorization=(--header "@$secret")
fi

code=$(curl --silent --show-error --max-time 60 "${authorization[@]}" --dump-header "$headers" \
  --output "$reply" --write-out '%{http_code}' --data-binary "@$input" "$url/v1/restore?quality=90")
if [ "$code" != 200 ]; then
  echo "HTTP $code" >&2
  cat "$reply" >&2
  exit 1
fi
install -m 644 "$reply" "$output"
grep -iE '^(deweather-model|server-timing|x-request-id):' "$headers"
