# Step of action.yml: asks the gate; its exit code is that of the step.
# In: ARTIFACT, CONFIG, and PROFILE, SIGNATURE, RECEIPT, SARIF where not empty.
set -euo pipefail

arguments=(--config "$CONFIG" --report github)
[ -z "$PROFILE" ] || arguments+=(--profile "$PROFILE")
[ -z "$SIGNATURE" ] || arguments+=(--signature "$SIGNATURE")
[ -z "$RECEIPT" ] || arguments+=(--receipt "$RECEIPT")
[ -z "$SARIF" ] || arguments+=(--report "sarif=$SARIF")
exec "$RUNNER_TEMP/weighbridge/bin/weighbridge" gate "${arguments[@]}" -- "$ARTIFACT"
