//! The policy file that `init` writes. Text out; writes no file.

use std::fmt::Write;

use crate::key::PublicKey;
use crate::tlog_policy::TlogPolicy;

/// What [`render`] writes.
pub struct NewPolicy<'a> {
    pub trust: &'a TlogPolicy,
    pub identity: &'a str,
    pub public_key: &'a PublicKey,
    pub key_path: &'a str,
    pub log_key_path: &'a str,
}

/// The policy file that `init` writes: one identity that signs and records releases.
pub fn render(new: &NewPolicy<'_>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    _ = write!(
        text,
        r#"# Weighbridge: whom this project trusts, and what `weighbridge gate` asks for.
# This file holds no secret. Commit it, and review its changes like code.
version = 1

# The transparency log that records must be in. The name before the first "+" of a key is its origin.
[log]
path = "ledger"
# Its keys and its witnesses, as a C2SP tlog-policy; `weighbridge ledger policy` prints it for others.
trust = """
{trust}"""

# Who may speak, and in which role: developer, operator, custodian, tester, auditor; an admin says in the
# ledger whose further keys are, and which no longer count.

[[identity]]
name = "{identity}"
roles = ["developer"]
public_key = """
{public_key}"""
# expires = "2030-01-01T00:00:00Z"

[gate]
# A signature over every file, by an identity with one of these roles.
signature = {{ roles = ["developer"] }}
# Records about exactly these bytes in the ledger.
records = [
  {{ kind = "release", roles = ["developer"] }},
]
# Files that were added, removed or changed are refused. There is no other choice.
closed_world = true

# What `sign` and `record` use; the gate does not read it.
[signing]
key = "{key_path}"
role = "developer"
log_key = "{log_key_path}"
"#,
        trust = new.trust,
        identity = new.identity,
        public_key = new.public_key.to_pem(),
        key_path = new.key_path,
        log_key_path = new.log_key_path,
    );
    text
}
