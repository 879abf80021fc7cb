# Step of action.yml: puts the program at $RUNNER_TEMP/weighbridge/bin.
# In: BINARY_URL and BINARY_SHA256, both or neither; SOURCE, this repository's checkout.
set -euo pipefail

bin="$RUNNER_TEMP/weighbridge/bin"
if [ -n "$BINARY_URL" ]; then
  # What is not pinned could be anything tomorrow.
  [[ "$BINARY_SHA256" =~ ^[0-9a-f]{64}$ ]] || {
    echo "::error title=weighbridge::binary-url needs binary-sha256, 64 lower-case hexadecimal digits"
    exit 2
  }
  mkdir -p "$bin"
  curl --proto =https --fail --silent --show-error --location --max-time 600 \
    --output "$bin/weighbridge.new" "$BINARY_URL" || exit 2
  echo "$BINARY_SHA256  $bin/weighbridge.new" | sha256sum --check --quiet || {
    rm -f "$bin/weighbridge.new"
    echo "::error title=weighbridge::what $BINARY_URL answers has not the SHA-256 $BINARY_SHA256"
    exit 1
  }
  chmod +x "$bin/weighbridge.new"
  mv "$bin/weighbridge.new" "$bin/weighbridge"
else
  [ -z "$BINARY_SHA256" ] || {
    echo "::error title=weighbridge::binary-sha256 needs binary-url"
    exit 2
  }
  # In there: what lies in the repository that is judged must not choose the compiler.
  (cd "$SOURCE" && cargo install --locked --quiet --path . --root "$RUNNER_TEMP/weighbridge") || exit 2
fi
"$bin/weighbridge" --version
