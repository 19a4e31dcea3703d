#!/bin/sh
# Puts genkan_VERSION_ARCH.deb and .rpm into $OUT, dist unless set, from bin/genkan.
set -eu
cd "$(dirname "$0")/../../.."
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.0 # later ones want a module that is not to be had

git() { command git -c safe.directory='*' "$@" 2>/dev/null; }
epoch=$(git log -1 --format=%ct || echo 0)
hash=$(git rev-parse --short=12 HEAD || echo unknown)
tag=$(git describe --tags --exact-match --match 'v[0-9]*' || true)
VERSION=${tag#v}
[ -n "$VERSION" ] || VERSION=0.0.0~$(date -u -d "@$epoch" +%Y%m%d.%H%M%S).$hash
ARCH=$(${GO:-go} env GOARCH)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=$epoch
MTIME=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
export SOURCE_DATE_EPOCH

DESTDIR=$work/root PREFIX=/usr ./cmd/genkan/dist/install.sh
find "$work/root" -exec touch -h -d "@$epoch" {} +
sed -e "s|@STAGE@|$work/root|g" -e "s|@VERSION@|$VERSION|" -e "s|@ARCH@|$ARCH|" -e "s|@MTIME@|$MTIME|g" \
	cmd/genkan/dist/nfpm.yaml >"$work/nfpm.yaml"
out=${OUT:-dist}
mkdir -p "$out"
for kind in deb rpm; do
	GOFLAGS= ${GO:-go} run "$nfpm" package -f "$work/nfpm.yaml" -p "$kind" -t "$out/"
done
