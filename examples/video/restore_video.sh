#!/usr/bin/env bash
# examples/video/restore_video.sh HOST:PORT INPUT OUTPUT
#
# A video, frame by frame through RestoreStream: ffmpeg decodes INPUT into a pipe of BMP files, restore_frames (of
# examples/cpp) has them restored in order, another ffmpeg encodes what comes back, with the sound of INPUT. Nothing lies
# on a disk between. FFMPEG and RESTORE_FRAMES name the programs, ENCODER what encodes (libx264).
set -euo pipefail

[ $# = 3 ] || { sed -n 's/^# \{0,1\}//; 2,6p' "$0" >&2; exit 2; }
server=$1 input=$2 output=$3
ffmpeg=${FFMPEG:-ffmpeg}
restore_frames=${RESTORE_FRAMES:-restore_frames}

rate=$("$ffmpeg" -hide_banner -i "$input" 2>&1 | sed -n 's/.* \([0-9.]*\) fps.*/\1/p' | head -n 1) || true
[ -n "$rate" ] || { echo "no video in '$input'" >&2; exit 1; }

"$ffmpeg" -nostdin -loglevel error -i "$input" -f image2pipe -c:v bmp -pix_fmt bgr24 - |
  "$restore_frames" "$server" |
  "$ffmpeg" -nostdin -loglevel error -y -f image2pipe -c:v bmp -framerate "$rate" -i - -i "$input" \
    -map 0:v -map '1:a?' -c:a copy -c:v "${ENCODER:-libx264}" -pix_fmt yuv420p "$output"
