#!/usr/bin/env bash
# Reports unused `pub` items, which rustc cannot see while the floors are public modules of a library.
#
# Checks a copy of the tree in which the floors are `mod` lines of main.rs and there is no lib.rs,
# so that everything that the program does not reach is dead code. Code that only tests and benches
# use is reported too: look at each line. Generated code is left out. Exits 1 if anything is found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
copy=$target/dead/tree
report=$target/dead/report.txt

rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard -- Cargo.toml Cargo.lock src proto docs models \
  | while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done \
  | tar --null --files-from=- --create --file=- | tar --extract --touch --file=- --directory="$copy"

# The floors move from lib.rs to main.rs.
sed -n 's/^pub mod /mod /p' src/lib.rs >> "$copy/src/main.rs"
sed -i 's/\btidegate::/crate::/g' "$copy/src/main.rs"
rm "$copy/src/lib.rs"

# The package keeps its dependencies; its other targets go, and so do lints that would drown the
# ones we want.
awk '/^\[/ { skip = /^\[+(lib|bin|test|bench|lints|workspace)[].]/ } !skip' Cargo.toml > "$copy/Cargo.toml"
cat >> "$copy/Cargo.toml" << 'EOF'

[workspace]

[lints.rust]
unused = { level = "warn", priority = -1 }
unfulfilled_lint_expectations = "allow"
EOF

CARGO_TARGET_DIR=$target cargo check --locked --all-features --bin tidegate \
  --manifest-path "$copy/Cargo.toml" --message-format short --color never 2> "$report" || {
  cat "$report"
  echo "dead: the copy in $copy does not build, see above" >&2
  exit 1
}

if grep -E '^src/[^:]+:[0-9]+:[0-9]+: warning' "$report" | grep -v '^src/[^:]*/pb/' | sort -u; then
  echo "dead: the lines above name what the program never reaches" >&2
  exit 1
fi
echo "dead: nothing; the program reaches every item"
