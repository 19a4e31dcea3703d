#!/bin/sh
# Installs bin/genkan with its unit, manual pages, completions, schema and list
# of parts into $DESTDIR$PREFIX; PREFIX is /usr/local unless set. What earlier
# releases have left there is written over; the configuration is not touched.
set -eu
dist=$(cd "$(dirname "$0")" && pwd)
cd "$dist/../../.."
prefix=${PREFIX:-/usr/local}
to=${DESTDIR:-}$prefix
genkan=$to/sbin/genkan
day=$(git -c safe.directory='*' log -1 --format=%cs 2>/dev/null || echo 1970-01-01)

install -D -m 755 bin/genkan "$genkan"
install -D -m 644 "$dist/genkan.service" "$to/lib/systemd/system/genkan.service"
sed -i "s|/usr/local|$prefix|" "$to/lib/systemd/system/genkan.service"

pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
"$genkan" man --date "$day" "$pages"
for page in "$pages"/*; do
	gzip -9n "$page"
	install -D -m 644 "$page.gz" "$to/share/man/man${page##*.}/${page##*/}.gz"
done

# put FILE: standard input becomes a file below the prefix
put() {
	install -D -m 644 /dev/stdin "$to/$1"
}
"$genkan" completion bash | put share/bash-completion/completions/genkan
"$genkan" completion zsh | put share/zsh/site-functions/_genkan
"$genkan" completion fish | put share/fish/vendor_completions.d/genkan.fish
"$genkan" schema | put share/genkan/genkan.schema.json
install -D -m 644 "$dist/genkan.toml" "$to/share/doc/genkan/examples/genkan.toml"
install -D -m 644 LICENSE "$to/share/doc/genkan/copyright"
GOFLAGS=-buildvcs=false ${GO:-go} run ./cmd/genkan/dist/sbom "$genkan" | put share/doc/genkan/sbom.cdx.json
