#!/usr/bin/env bash
# examples/grpcurl.sh HOST:PORT INPUT OUTPUT
#
# What any gRPC tool can do without our files, by reflection: lists the services, shows a message, asks for health,
# restores a picture. grpcurl writes bytes as base64. GRPCURL names the program.
set -euo pipefail

[ $# = 3 ] || { sed -n 's/^# \{0,1\}//; 2,5p' "$0" >&2; exit 2; }
server=$1 input=$2 output=$3
grpcurl=${GRPCURL:-grpcurl}

"$grpcurl" -plaintext "$server" list
"$grpcurl" -plaintext "$server" describe deweather.v1.RestoreOptions
"$grpcurl" -plaintext "$server" grpc.health.v1.Health/Check

reply=$(mktemp)
trap 'rm -f "$reply"' EXIT
{ printf '{"image": "'; base64 -w 0 "$input"; printf '", "options": {"format": "FORMAT_PNG"}}'; } |
  "$grpcurl" -plaintext -max-msg-sz 67108864 -d @ "$server" deweather.v1.RestorationService/Restore >"$reply"
sed -n 's/^  "image": "\(.*\)",\{0,1\}$/\1/p' "$reply" | base64 -d >"$output"
grep -vE '^  "image": ' "$reply"
