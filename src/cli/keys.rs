//! Reading private keys: from files, with a passphrase from a file descriptor, the environment or
//! a prompt, in this order. Never from an argument.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::failure::Failure;
use super::output::{self, Output};
use crate::artifact::Artifact;
use crate::disk;
use crate::key::{self, KeyError, Passphrase, PrivateKey, PublicKey};

/// The largest key file.
const MAX_KEY: u64 = 64 * 1024;

/// The environment variable that holds the passphrase.
pub(super) const VARIABLE: &str = "WEIGHBRIDGE_PASSPHRASE";

/// The environment variable that holds the PIN of a token.
#[cfg(feature = "pkcs11")]
const PIN: &str = "WEIGHBRIDGE_PIN";

/// Where the passphrase comes from.
#[derive(clap::Args, Clone, Default)]
pub(super) struct PassphraseArgs {
    /// Read the passphrase of the keys from this file descriptor
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
}

impl PassphraseArgs {
    /// The passphrase, without asking: from the descriptor, else from the environment.
    fn given(&self) -> Result<Option<Passphrase>, Failure> {
        if let Some(number) = self.passphrase_fd {
            return from_descriptor(number).map(Some);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the passphrase"
        )]
        match std::env::var(VARIABLE) {
            Ok(text) => not_empty(text, VARIABLE).map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(error) => Err(Failure::because(VARIABLE, &error)),
        }
    }

    /// The passphrase for a new key, which is asked for twice.
    pub(super) fn for_new_key(&self) -> Result<Passphrase, Failure> {
        match self.given()? {
            Some(passphrase) => Ok(passphrase),
            None => PassphraseArgs::asked_twice(),
        }
    }

    /// A new passphrase from the descriptor, or asked for twice.
    pub(super) fn new_from(descriptor: Option<u32>) -> Result<Passphrase, Failure> {
        match descriptor {
            Some(number) => from_descriptor(number),
            None => PassphraseArgs::asked_twice(),
        }
    }

    fn asked_twice() -> Result<Passphrase, Failure> {
        let Some(first) = output::prompt("Passphrase for the new keys: ") else {
            return Err(no_passphrase("the new keys need a passphrase"));
        };
        let first =
            first.map_err(|error| Failure::because("cannot read the passphrase", &error))?;
        let passphrase = not_empty(first, "the passphrase")?;
        let second = output::prompt("Once more: ").transpose();
        let second =
            second.map_err(|error| Failure::because("cannot read the passphrase", &error))?;
        if second
            .map(Zeroizing::new)
            .is_none_or(|second| *second != *passphrase.0)
        {
            return Err(Failure::error("the two passphrases differ"));
        }
        Ok(passphrase)
    }

    /// Reads private keys, asking for a passphrase at most once per key that needs another.
    pub(super) fn reader(&self) -> KeyReader<'_> {
        KeyReader {
            args: self,
            known: None,
            #[cfg(feature = "pkcs11")]
            known_pin: None,
        }
    }
}

pub(super) fn from_descriptor(number: u32) -> Result<Passphrase, Failure> {
    let path = format!("/dev/fd/{number}");
    let mut text = Zeroizing::new(String::new());
    let read =
        std::fs::File::open(&path).and_then(|file| file.take(MAX_KEY).read_to_string(&mut text));
    read.map_err(|error| Failure::because(format!("cannot read {path}"), &error))?;
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    not_empty(line.to_owned(), &path)
}

fn not_empty(text: String, place: &str) -> Result<Passphrase, Failure> {
    if text.is_empty() {
        return Err(Failure::error(format!("{place} is empty")));
    }
    Ok(Passphrase(Zeroizing::new(text)))
}

fn no_passphrase(what: &str) -> Failure {
    Failure::error(what).hint(format!(
        "set {VARIABLE}, pass --passphrase-fd N, or run on a terminal to be asked"
    ))
}

/// Reads keys with one passphrase for as long as it fits.
pub(super) struct KeyReader<'a> {
    args: &'a PassphraseArgs,
    known: Option<Passphrase>,
    #[cfg(feature = "pkcs11")]
    known_pin: Option<Passphrase>,
}

impl KeyReader<'_> {
    /// The private key in the file at `path`.
    pub(super) fn private(&mut self, path: &Path, output: &Output) -> Result<PrivateKey, Failure> {
        let pem = read_pem(path)?;
        warn_if_open(path, output);
        let fail = |error: KeyError| key_failure(path, &error);
        if !key::is_encrypted(&pem) {
            return key::private_key_from_pem(&pem, None).map_err(fail);
        }
        if let Some(known) = &self.known
            && let Ok(key) = key::private_key_from_pem(&pem, Some(known))
        {
            return Ok(key);
        }
        let passphrase = match self.args.given()? {
            Some(passphrase) => passphrase,
            None => match output::prompt(&format!("Passphrase for {}: ", path.display())) {
                Some(Ok(text)) => not_empty(text, "the passphrase")?,
                Some(Err(error)) => {
                    return Err(Failure::because("cannot read the passphrase", &error));
                }
                None => {
                    return Err(no_passphrase(&format!(
                        "{} needs a passphrase",
                        path.display()
                    )));
                }
            },
        };
        let key = key::private_key_from_pem(&pem, Some(&passphrase)).map_err(fail)?;
        self.known = Some(passphrase);
        Ok(key)
    }

    /// The PIN of a token, from the environment or asked for. Never a passphrase that was meant for a file:
    /// a token that is told a wrong PIN a few times locks itself.
    #[cfg(feature = "pkcs11")]
    pub(super) fn pin(&mut self) -> Result<Passphrase, Failure> {
        if let Some(known) = &self.known_pin {
            return Ok(known.clone());
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the PIN"
        )]
        let pin = match std::env::var(PIN) {
            Ok(text) => not_empty(text, PIN)?,
            Err(std::env::VarError::NotPresent) => match output::prompt("PIN of the token: ") {
                Some(Ok(text)) => not_empty(text, "the PIN")?,
                Some(Err(error)) => return Err(Failure::because("cannot read the PIN", &error)),
                None => {
                    return Err(Failure::error("the token needs a PIN").hint(format!(
                        "set {PIN}, add ?pin-source=file:… to the URI, or run on a terminal to be asked"
                    )));
                }
            },
            Err(error) => return Err(Failure::because(PIN, &error)),
        };
        self.known_pin = Some(pin.clone());
        Ok(pin)
    }

    /// The Ed25519 key in the file at `path`: what a log signs with.
    pub(super) fn log(
        &mut self,
        path: &Path,
        output: &Output,
    ) -> Result<Box<ed25519_dalek::SigningKey>, Failure> {
        match self.private(path, output)? {
            PrivateKey::Ed25519(key) => Ok(key),
            other => Err(Failure::error(format!(
                "{}: a log signs with Ed25519, this is a {} key",
                path.display(),
                other.public().algorithm().name()
            ))),
        }
    }

    /// Uses `passphrase` first.
    pub(super) fn with(mut self, passphrase: Option<Passphrase>) -> Self {
        self.known = passphrase;
        self
    }
}

/// The PIN in the file that a URI names (RFC 7512 §2.4, `pin-source`).
#[cfg(feature = "pkcs11")]
pub(super) fn pin_from(source: &str) -> Result<Passphrase, Failure> {
    if source.starts_with('|') {
        return Err(Failure::error(
            "pin-source names a program, and programs are not run for a PIN",
        ));
    }
    let path = Path::new(source.strip_prefix("file:").unwrap_or(source));
    let text = read_pem(path)?;
    let line = text.lines().next().unwrap_or_default();
    not_empty(line.to_owned(), &path.display().to_string())
}

/// The public key in the file at `path`.
pub(super) fn public(path: &Path) -> Result<PublicKey, Failure> {
    let pem = read_pem(path)?;
    PublicKey::from_pem(&pem).map_err(|error| key_failure(path, &error))
}

pub(super) fn read_pem(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let bytes = disk::read(path, MAX_KEY)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            _ = Zeroizing::new(error.into_bytes());
            Err(Failure::error(format!(
                "{} is not a PEM file",
                path.display()
            )))
        }
    }
}

fn key_failure(path: &Path, error: &KeyError) -> Failure {
    let failure = Failure::error(format!("{} {error}", path.display()));
    match error {
        KeyError::Passphrase => failure.hint(format!("check {VARIABLE}, or the descriptor")),
        KeyError::EncryptedSsh => failure.hint(
            "add it to an agent with `ssh-add`, and name it as ssh-agent: with its comment behind it",
        ),
        KeyError::Unsupported(_) => failure
            .hint("make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"),
        _ => failure,
    }
}

/// A private key that others can read is no longer private.
fn warn_if_open(path: &Path, output: &Output) {
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        output.warn(format!(
            "{} can be read by others (mode {:03o}); run `chmod 600 {}`",
            path.display(),
            mode & 0o777,
            path.display()
        ));
    }
}

/// A private key inside the artifact would be published with it.
pub(super) fn keep_out_of(artifact: &Artifact, key: &Path) -> Result<(), Failure> {
    if artifact.locate(key).is_none() {
        return Ok(());
    }
    let artifact = artifact.path().display();
    Err(Failure::error(format!(
        "the key {} lies inside the artifact {artifact}",
        key.display()
    ))
    .hint("keep keys in a directory beside the artifact"))
}

/// A path that must be given, by flag or by policy.
pub(super) fn required(path: Option<PathBuf>, what: &str, hint: &str) -> Result<PathBuf, Failure> {
    path.ok_or_else(|| Failure::error(format!("no {what} was given")).hint(hint))
}
