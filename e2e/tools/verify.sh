#!/usr/bin/env bash
# Fails when a generated file or go.mod is not what the sources make it. Generators run in a copy, so
# that a user with work in progress keeps the checkout as it is.
set -euo pipefail
cd "$(dirname "$0")/../.."

go mod tidy -diff || {
	echo "go.mod or go.sum is stale: run 'go mod tidy'." >&2
	exit 1
}

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar --exclude=./.git --exclude=./bin --exclude=./dist -cf - . | tar -xf - -C "$copy"
cp -a "$copy" "$copy.before"
trap 'rm -rf "$copy" "$copy.before"' EXIT
make -C "$copy" --no-print-directory generate
diff -ruN "$copy.before" "$copy" || {
	echo "The files above are stale: run 'make generate'." >&2
	exit 1
}
