//! `key`: making and showing keys, changing a passphrase, and what the ledger says of keys.

mod records;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::keys::{self, PassphraseArgs};
use crate::cli::output::Output;
use crate::cli::{Global, Outcome, signers, trust, values};
use crate::disk::{self, Access, Existing};
use crate::key::{self, KeyAlgorithm, Passphrase, PrivateKey, PublicKey};
use records::{ListArgs, RegisterArgs, RevokeArgs, RotateArgs};

/// Make and show keys, and record whose they are
#[derive(Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    verb: KeyVerb,
}

#[derive(Subcommand)]
enum KeyVerb {
    New(NewArgs),
    Show(ShowArgs),
    Encrypt(EncryptArgs),
    List(ListArgs),
    Register(RegisterArgs),
    Rotate(RotateArgs),
    Revoke(RevokeArgs),
}

/// Make a key: FILE holds the private half, encrypted, and FILE.pub the public one
///
/// p256, p384 and p521 are what OMS tools verify; ed25519, ml-dsa-65 and hybrid (both of these, each with a
/// signature of its own) are verified by this program alone. The private key is PKCS#8, encrypted with
/// PBES2 (scrypt, AES-256), as OpenSSL reads it.
#[derive(Args)]
#[command(after_help = "Examples:
  weighbridge key new release.key.pem
  weighbridge key new --algorithm hybrid release.key.pem")]
struct NewArgs {
    /// Where to write it; what exists is not overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The type of the key
    #[arg(long, value_parser = values::key_algorithm(), default_value = "p256", value_name = "NAME")]
    algorithm: KeyAlgorithm,
    /// Do not encrypt it
    #[arg(long, conflicts_with = "passphrase_fd")]
    no_passphrase: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Show what a key or a certificate is: type, ids, and the public half in PEM
#[derive(Args)]
#[command(after_help = "Examples:
  weighbridge key show release.key.pem.pub
  weighbridge key show --json certificate.pem
  weighbridge key show ssh-agent:me@example.com")]
struct ShowArgs {
    /// A private key, a public key or certificates, in PEM; or the URI of a key elsewhere
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Encrypt a private key with a new passphrase
///
/// The old passphrase is taken as everywhere; the new one is asked for, or read from --new-passphrase-fd.
#[derive(Args)]
#[command(after_help = "Example:
  weighbridge key encrypt release.key.pem")]
struct EncryptArgs {
    /// A private key in PEM, encrypted or not
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Read the new passphrase from this file descriptor
    #[arg(long, value_name = "N")]
    new_passphrase_fd: Option<u32>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) fn run(args: &KeyArgs, global: &Global, output: &Output) -> Outcome {
    match &args.verb {
        KeyVerb::New(args) => new(args, output),
        KeyVerb::Show(args) => show(args, output),
        KeyVerb::Encrypt(args) => encrypt(args, output),
        KeyVerb::List(args) => records::list(args, global, output),
        KeyVerb::Register(args) => records::register(args, global, output),
        KeyVerb::Rotate(args) => records::rotate(args, global, output),
        KeyVerb::Revoke(args) => records::revoke(args, global, output),
    }
}

fn new(args: &NewArgs, output: &Output) -> Outcome {
    let public = public_path(&args.file);
    for path in [&args.file, &public] {
        if path.symlink_metadata().is_ok() {
            return Err(
                Failure::error(format!("{} is there already", path.display()))
                    .hint("name another file; a key that is overwritten is lost"),
            );
        }
    }
    let passphrase = if args.no_passphrase {
        None
    } else {
        Some(args.passphrase.for_new_key()?)
    };
    let key = PrivateKey::generate(args.algorithm)
        .map_err(|error| Failure::because("cannot make a key", &error))?;
    write_private(&args.file, &key, passphrase.as_ref(), Existing::Refuse)?;
    let pem = key.public().to_pem();
    disk::write(&public, pem.as_bytes(), Existing::Refuse, Access::Shared)?;
    if passphrase.is_none() {
        output.warn(format!("{} is not encrypted", args.file.display()));
    }
    if output.json {
        output.document(&json!({
            "private": args.file.display().to_string(),
            "public": public.display().to_string(),
            "key": describe(&key.public()),
        }))?;
    } else {
        output.data(&format!("{}\n", key.public().key_id()))?;
        output.say(format!(
            "wrote {} and {}",
            args.file.display(),
            public.display()
        ));
    }
    Ok(0)
}

fn public_path(private: &Path) -> PathBuf {
    let mut name = private.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn write_private(
    path: &Path,
    key: &PrivateKey,
    passphrase: Option<&Passphrase>,
    existing: Existing,
) -> Result<(), Failure> {
    let pem = key::private_key_to_pem(key, passphrase)
        .map_err(|error| Failure::because(path.display(), &error))?;
    Ok(disk::write(
        path,
        pem.as_bytes(),
        existing,
        Access::Private,
    )?)
}

fn describe(key: &PublicKey) -> serde_json::Value {
    json!({
        "algorithm": key.algorithm().name(),
        "key_id": key.key_id().to_string(),
        "oms_hint": key.oms_hint().to_string(),
        "pem": key.to_pem(),
    })
}

fn show(args: &ShowArgs, output: &Output) -> Outcome {
    if signers::is_uri(&args.file) {
        let mut reader = args.passphrase.reader();
        let signer = signers::open(&args.file, None, &mut reader, output)?;
        return show_key(&signer.public(), output);
    }
    if let Ok(key) = keys::public(&args.file) {
        return show_key(&key, output);
    }
    if let Ok(certificates) = trust::certificates(&args.file) {
        let described: Vec<serde_json::Value> = certificates
            .iter()
            .map(|one| {
                let names: Vec<String> = one.names().iter().map(ToString::to_string).collect();
                let (from, until) = one.validity();
                let key = one.public_key().ok();
                json!({
                    "subject": one.subject(),
                    "issuer": one.issuer(),
                    "serial": one.serial(),
                    "fingerprint": one.fingerprint().to_string(),
                    "names": names,
                    "not_before": from.to_string(),
                    "not_after": until.to_string(),
                    "key_id": one.key_id().to_string(),
                    "algorithm": key.map(|key| key.algorithm().name()),
                })
            })
            .collect();
        if output.json {
            output.document(&described)?;
        } else {
            for one in &described {
                let fields = one.as_object().into_iter().flatten();
                for (name, value) in fields {
                    let text = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    output.data(&format!("{name}: {}\n", crate::path::display(&text)))?;
                }
                output.data("\n")?;
            }
        }
        return Ok(0);
    }
    let mut reader = args.passphrase.reader();
    let key = reader.private(&args.file, output)?;
    show_key(&key.public(), output)
}

fn show_key(key: &PublicKey, output: &Output) -> Outcome {
    if output.json {
        output.document(&describe(key))?;
    } else {
        output.data(&format!(
            "algorithm: {}\nkey_id: {}\noms_hint: {}\n{}",
            key.algorithm().name(),
            key.key_id(),
            key.oms_hint(),
            key.to_pem()
        ))?;
    }
    Ok(0)
}

fn encrypt(args: &EncryptArgs, output: &Output) -> Outcome {
    let place = args.file.display();
    let is_link = args.file.symlink_metadata();
    if is_link.is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(Failure::error(format!("{place} is a link"))
            .hint("name the file that it leads to, which is the one to encrypt"));
    }
    let pem = keys::read_pem(&args.file)?;
    if let Some(label) = key::beside_private_key(&pem) {
        return Err(Failure::error(format!(
            "{place} holds a {label} beside the private key, which would be lost"
        ))
        .hint("put the key into a file of its own"));
    }
    let mut reader = args.passphrase.reader();
    let key = reader.private(&args.file, output)?;
    let passphrase = PassphraseArgs::new_from(args.new_passphrase_fd)?;
    write_private(&args.file, &key, Some(&passphrase), Existing::Replace)?;
    output.say(format!("{place} is encrypted, as PKCS#8"));
    Ok(0)
}
