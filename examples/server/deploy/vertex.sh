#!/usr/bin/env bash
# Uploads an exported bundle with this server to Vertex AI, as a model with a container of its own, and deploys it:
#   examples/server/deploy/vertex.sh PROJECT REGION IMAGE BUNDLE
# IMAGE is the Dockerfile's, pushed to a registry of the project. Vertex only brings models to containers that fetch them
# from its bucket, and this server talks to none: so BUNDLE, a directory, becomes part of an image made on top of IMAGE.
set -euo pipefail
if [ $# -ne 4 ]; then
  sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
project=$1 region=$2 image=$3 bundle=$4
test -e "$bundle/manifest.json" || { echo "$bundle is no bundle: it has no manifest.json" >&2; exit 1; }

with_bundle=$image-$(sha256sum "$bundle/manifest.json" | cut -c1-12)
docker build -t "$with_bundle" -f - "$bundle" <<END
FROM $image
COPY --chown=65532 . /bundle
ENV STAMP_SERVER_BUNDLE=/bundle STAMP_SERVER_VISITS_STORE=none
CMD []
END
docker push "$with_bundle"
model=$(gcloud ai models upload --project="$project" --region="$region" --display-name=stamp-server \
  --container-image-uri="$with_bundle" --container-ports=8080 \
  --container-predict-route=/predict --container-health-route=/health --format='value(model)')
endpoint=$(gcloud ai endpoints create --project="$project" --region="$region" --display-name=stamp-server --format='value(name)')
gcloud ai endpoints deploy-model "$endpoint" --project="$project" --region="$region" --model="$model" \
  --display-name=stamp-server --machine-type=n2-standard-2 --min-replica-count=1 --max-replica-count=10
