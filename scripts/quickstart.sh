#!/usr/bin/env bash
# From a fresh clone to masks on images: installs, generates a data set, trains on it, evaluates, predicts.
#
#   bash scripts/quickstart.sh            what is there already is used again
#   bash scripts/quickstart.sh --again    train anew
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

data=data/shapes
run=runs/shapes/quickstart

case "${1:-}" in
"") ;;
--again) rm -rf "$run" ;;
*) fail "expected nothing or --again, got '$1'" ;;
esac

# Run a part of the quickstart under a heading and say how long it took.
part() {
    local heading="$1" start=$SECONDS
    shift
    echo
    echo "== $heading"
    "$@"
    echo "-- $((SECONDS - start)) seconds"
}

train() {
    if [ -e "$run/last.pth" ]; then
        echo "$run is used again: an interrupted training goes on, a finished one is kept (--again trains anew)."
        "$python" -m yolact.cli train --resume "$run"
    else
        rm -rf "$run" # of a run that stopped before its first checkpoint
        "$python" -m yolact.cli train --config shapes --name quickstart
    fi
    [ -e "$run/best.pth" ] || fail "the training stopped before its end: run this again to go on"
}

predict() {
    local images=("$data"/val/*)
    "$python" -m yolact.cli predict "${images[@]:0:8}" --weights "$run/best.pth" --output "$run/predictions" \
        --overwrite
}

part "Installing" prepare_environment
part "Generating images" "$python" scripts/make_shapes.py --output "$data"
part "Training" train
part "Evaluating on images it was not trained on" \
    "$python" -m yolact.cli eval --weights "$run/best.pth" --output "$run/eval"
part "Predicting" predict

cat <<EOT

Done in $SECONDS seconds. Look at
  $run/predictions/    images with what was found on them
  $run/eval/           report.html, metrics.json, the detections in COCO's format
  $run/eval/gallery/   best and worst images, ground truth beside result
  $run/                curves of the training, best.pth, last.pth

What to try next
  source .venv/bin/activate
  yolact predict YOUR_IMAGE --weights $run/best.pth --output found
  yolact train --config shapes --set train.batch_size=4
  your own data: copy configs/custom.yaml, and read README.md
  your own parts of the network and the training: docs/extending.md
EOT
