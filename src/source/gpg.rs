//! OpenPGP signatures, by the user's own `gpg`: what it says on its status channel (GnuPG's doc/DETAILS), never what
//! it says to people.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use crate::disk::{self, Access, DiskError, Existing};
use crate::source::SourceError;
use crate::statement::Text;
use crate::statement::acquire::{AuthenticationResult, CommitSignature, SignatureFormat};

/// The fingerprint of a key: 40 or 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

/// A key that must have signed, and where gpg finds it.
#[derive(Clone, Debug)]
pub struct Key {
    pub fingerprint: Fingerprint,
    /// Unless given, among the user's own.
    pub keyring: Option<PathBuf>,
    /// Where files may lie for a moment.
    pub scratch: PathBuf,
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Fingerprint, String> {
        let plain: String = text.chars().filter(|c| *c != ' ').collect();
        let plain = plain
            .strip_prefix("0x")
            .unwrap_or(&plain)
            .to_ascii_uppercase();
        let is_hex = plain.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex && matches!(plain.len(), 40 | 64) {
            return Ok(Fingerprint(plain));
        }
        Err(
            "a fingerprint has 40 or 64 hexadecimal digits; a short id names no key for certain"
                .into(),
        )
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpgError {
    #[error("{0}")]
    NotRun(String),
    #[error("the signature is not of this content")]
    Bad,
    #[error("gpg has no public key by which it could verify the signature")]
    NoKey,
    #[error("it is by key {0}, which is not the one that was named")]
    OtherKey(String),
    #[error("the key or the signature {0}")]
    Void(&'static str),
    #[error("gpg finds no signature in it")]
    None,
}

/// The largest signature.
pub const MAX_SIGNATURE: u64 = 64 * 1024;

/// Is `signature` over `content` by the key that was named, or by a subkey of it? gpg reads files: they are put into
/// the key's `scratch` for as long as it runs.
pub fn verify(content: &[u8], signature: &[u8], key: &Key) -> Result<(), GpgError> {
    let mut random = [0; 8];
    _ = getrandom::fill(&mut random);
    let name = format!("weighbridge-{}", data_encoding::HEXLOWER.encode(&random));
    let place = key.scratch.join(name);
    let failed = |error: DiskError| GpgError::NotRun(crate::gate::cause(&error));
    disk::create_private_directory(&place).map_err(failed)?;
    let (data, detached) = (place.join("list"), place.join("list.sig"));
    let status = disk::write(&data, content, Existing::Refuse, Access::Private)
        .and_then(|()| disk::write(&detached, signature, Existing::Refuse, Access::Private))
        .map_err(failed)
        .and_then(|()| run(&data, &detached, key.keyring.as_deref()));
    let removed = disk::remove_tree(&place).map_err(failed);
    let status = status?;
    removed?;
    judge(&status, &key.fingerprint)
}

/// The signature of a commit: of which kind, and by the key that is named or not. One that must be by a key, and is not, is
/// refused.
pub fn of_commit(commit: &[u8], key: Option<&Key>) -> Result<Option<CommitSignature>, SourceError> {
    let refused = |why: String| {
        SourceError::Contradiction(vec![format!("the signature of the commit: {why}")])
    };
    let Some((signed, signature)) = crate::git::signature(commit) else {
        return match key {
            None => Ok(None),
            Some(_) => Err(refused("it has none, and a key was named".into())),
        };
    };
    let is = |mark: &[u8]| signature.starts_with(mark);
    let format = if is(b"-----BEGIN PGP ") {
        SignatureFormat::Openpgp
    } else if is(b"-----BEGIN SSH ") {
        SignatureFormat::Ssh
    } else if is(b"-----BEGIN SIGNED ") {
        SignatureFormat::X509
    } else {
        SignatureFormat::Unknown
    };
    let Some(key) = key else {
        return Ok(Some(CommitSignature {
            format,
            result: AuthenticationResult::NotChecked,
            by: None,
        }));
    };
    match verify(&signed, &signature, key) {
        Ok(()) => Ok(Some(CommitSignature {
            format,
            result: AuthenticationResult::Verified,
            by: Text::new(format!("OpenPGP key {}", key.fingerprint)).ok(),
        })),
        Err(GpgError::NotRun(why)) => Err(SourceError::Unusable(why)),
        Err(error) => Err(refused(error.to_string())),
    }
}

fn run(data: &Path, signature: &Path, keyring: Option<&Path>) -> Result<String, GpgError> {
    let mut command = Command::new("gpg");
    command.args([
        "--batch",
        "--no-tty",
        "--no-auto-key-retrieve",
        "--status-fd",
        "1",
    ]);
    if let Some(keyring) = keyring {
        let keyring = std::path::absolute(keyring).unwrap_or_else(|_| keyring.into());
        command
            .args(["--no-default-keyring", "--keyring"])
            .arg(keyring);
    }
    let output = command
        .arg("--verify")
        .args([signature, data])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| GpgError::NotRun(format!("cannot run gpg: {error}")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What the status lines come to. One bad signature is one too many.
fn judge(status: &str, by: &Fingerprint) -> Result<(), GpgError> {
    let words = |line: &str| -> Vec<String> {
        let rest = line.strip_prefix("[GNUPG:] ").unwrap_or_default();
        rest.split(' ').map(str::to_owned).collect()
    };
    let mut other = None;
    let mut good = false;
    for line in status.lines() {
        let words = words(line);
        let Some(first) = words.first() else { continue };
        match first.as_str() {
            "BADSIG" => return Err(GpgError::Bad),
            "EXPSIG" | "EXPKEYSIG" => return Err(GpgError::Void("has expired")),
            "REVKEYSIG" => return Err(GpgError::Void("was revoked")),
            "NO_PUBKEY" => return Err(GpgError::NoKey),
            "ERRSIG" => other = Some("an unknown one".to_owned()),
            // fingerprint … primary key's fingerprint
            "VALIDSIG" => {
                let is = |word: Option<&String>| word.is_some_and(|word| *word == by.0);
                if is(words.get(1)) || is(words.get(10)) {
                    good = true;
                } else {
                    other = words.get(1).cloned();
                }
            }
            _ => {}
        }
    }
    match (good, other) {
        (true, _) => Ok(()),
        (false, Some(other)) => Err(GpgError::OtherKey(crate::path::display(&other))),
        (false, None) => Err(GpgError::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        let key = "A".repeat(40);
        let by: Fingerprint = key.parse().unwrap();
        let valid = |of: &str| format!("[GNUPG:] VALIDSIG {of} 2026-01-01 1 0 4 0 22 8 00 {of}\n");
        assert_eq!(judge(&valid(&key), &by), Ok(()));
        let other = "B".repeat(40);
        assert_eq!(judge(&valid(&other), &by), Err(GpgError::OtherKey(other)));
        let bad = format!("{}[GNUPG:] BADSIG x y\n", valid(&key));
        assert_eq!(judge(&bad, &by), Err(GpgError::Bad));
        let expired = format!("[GNUPG:] EXPKEYSIG x y\n{}", valid(&key));
        assert_eq!(judge(&expired, &by), Err(GpgError::Void("has expired")));
        assert_eq!(judge("", &by), Err(GpgError::None));
        // What others write to the channel of people is none of it.
        let forged = valid(&key).replace("[GNUPG:] ", "gpg: ");
        assert_eq!(judge(&forged, &by), Err(GpgError::None));
        assert!("ABCD1234".parse::<Fingerprint>().is_err());
    }
}
