#!/usr/bin/env bash
# The figures of docs/results.md: base, head only, TPA and full fine-tune on real departments.
#
#   TPACTL_SPEECH_DIR=/data/speech examples/departments.sh OUT [DEPARTMENT ...]
#
# Reads TPACTL_SPEECH_DIR/departments/DEPARTMENT/{train,dev}; writes OUT/DEPARTMENT/{data,head,tpa,full,
# report}. The folder's own dev is the held-out test; speakers taken from train choose the best step.
# What OUT holds already is kept, so an interrupted call goes on where it stopped. TRAIN_FLAGS is
# given to every training (such as "--device cuda"); JOBS trainings run side by side.
set -euo pipefail

out=${1:?usage: departments.sh OUT [DEPARTMENT ...]}
shift
[ $# -gt 0 ] || set -- accented-english call-desk-alphanumerics
tpactl=${TPACTL:-tpactl}
jobs=${JOBS:-1}

for department in "$@"; do
  folder=$out/$department
  mkdir -p "$folder"
  [ -d "$folder/data" ] || "$tpactl" prepare "$TPACTL_SPEECH_DIR/departments/$department" \
    --test-from dev --out "$folder/data"
  for method in head tpa full; do
    [ -d "$folder/$method" ] || "$tpactl" train --data "$folder/data" --base starter \
      --method "$method" --out "$folder/$method" ${TRAIN_FLAGS:-} &
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
  done
  wait
  # whisper-english would join digits read one by one into numbers.
  "$tpactl" eval --data "$folder/data" --split test --out "$folder/report" --force \
    --normaliser whisper-basic \
    --run "$folder/head" --run "$folder/tpa" --run "$folder/full"
done
