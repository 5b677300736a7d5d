#!/usr/bin/env bash
# What k annotated films are worth: class tokens, a network trained on the same k masks (the rival), and
# the chain (tokens and that network label films without masks; a student learns from all of them).
#
#   benchmarks/arms.sh NAME CONVENTION K RUNS "ANNOTATED SOURCE" "UNLABELLED SOURCE …" "TEST ARGUMENTS" …
#
# K = 0 is label-free: tokens come from examples/priors/lungs.json and there is no rival.
# CONVENTION v7 has one mask value for both lungs, nlm has 1 = left and 2 = right.
set -euo pipefail
name=$1 convention=$2 k=$3 runs=$4 annotated=$5 unlabelled=$6
shift 6
python=${PYTHON:-python}
split=(); [ "$convention" = nlm ] && split=(--split '')
base=$runs/arms/$name
mkdir -p "$base"
[ -d "$base/checkpoint" ] || {
  cp -r lungsynth/checkpoints/mini "$base/checkpoint"
  rm -rf "$base"/checkpoint/{student,affinity*,tokens,classes*.json}
}
data=(); for source in $unlabelled; do data+=(--data "$source"); done
id=0
for side in left right; do
  id=$((id + 1))
  flags=(--side "$side"); [ "$convention" = nlm ] && flags=(--foreground "$id")
  [ -e "$base/checkpoint/tokens/$side-lung-$convention.safetensors" ] && continue
  if [ "$k" = 0 ]; then
    $python -m lungsynth learn-token "${data[@]}" --k 96 --prior examples/priors/lungs.json \
      --class "$side lung" --id $id --convention "$convention" --checkpoint "$base/checkpoint" --quiet
  else
    $python -m lungsynth learn-token --data "$annotated" "${split[@]}" --k "$k" --class "$side lung" \
      "${flags[@]}" --id $id --convention "$convention" --checkpoint "$base/checkpoint" --quiet
  fi
done
teacher=() masks=()
if [ "$k" != 0 ]; then
  masks=(--annotated "$convention=$annotated@$k")
  $python -m lungsynth train student --checkpoint "$base/checkpoint" --out "$base/rival" \
    "${masks[@]}" --steps "${STEPS:-300}" --quiet
  teacher=(--teacher "$base/rival/student" --teacher-weight 0.5)
fi
$python -m lungsynth train student --checkpoint "$base/checkpoint" --out "$base/chain" "${masks[@]}" \
  "${data[@]}" "${teacher[@]}" --limit "${LIMIT:-120}" --steps "${STEPS2:-450}" --quiet
for network in rival chain; do
  [ -d "$base/$network/student" ] || continue
  rm -rf "$base/checkpoint/student"; cp -r "$base/$network/student" "$base/checkpoint/student"
  for test in "$@"; do
    echo "== $name, $network: $test"
    # shellcheck disable=SC2086
    $python -m lungsynth evaluate masks --model "$base/checkpoint" --classes "$convention" $test \
      --student-weight "$([ $network = rival ] && echo 1 || echo 0.9)" --methods none,crf \
      --out "$base/$network-$(echo "$test" | md5sum | cut -c1-6)" --quiet
  done
done
