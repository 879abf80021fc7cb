//! `init`: keys, a ledger and a policy: a working set-up in one command.
//!
//! Whatever is there already is used and never overwritten, so that a second run, or one after an
//! interruption, only adds what is missing. The policy file is written last: once it is there, the
//! set-up is complete.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::keys::PassphraseArgs;
use super::output::Output;
use super::{Global, Outcome, values};
use crate::cli::context;
use crate::cosignature::LogSigner;
use crate::digest::Sha256;
use crate::disk::{self, Access, Existing};
use crate::key::{self, KeyAlgorithm, Passphrase, PrivateKey};
use crate::ledger::{self, Created, DirectoryStore};
use crate::policy::{NewPolicy, Policy, render};

/// Make keys, a ledger and a policy in a directory
///
/// Writes weighbridge.toml (trust and policy), keys/ (a signing key and a log key, encrypted) and
/// ledger/ (an empty transparency log). Nothing that exists is overwritten.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge init                             asks for a passphrase
  WEIGHBRIDGE_PASSPHRASE=… weighbridge init    in a script
  weighbridge init --passphrase-fd 3 3< FILE   from a file descriptor
  weighbridge init --no-passphrase             keys in the clear, for tests")]
pub(super) struct InitArgs {
    /// Where to set up; unless given, here
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The type of the signing key; OMS tools verify the EC types
    #[arg(long, value_parser = values::key_algorithm(), default_value = "p256", value_name = "NAME")]
    algorithm: KeyAlgorithm,
    /// The name of the signer in the policy
    #[arg(long, default_value = "release", value_name = "NAME")]
    identity: String,
    /// The name of the log; unless given, it is derived from the log's key
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// Do not encrypt the keys
    #[arg(long, conflicts_with = "passphrase_fd")]
    no_passphrase: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

const SIGNING_KEY: &str = "keys/signing.key.pem";
const SIGNING_PUBLIC: &str = "keys/signing.pub.pem";
const LOG_KEY: &str = "keys/log.key.pem";

pub(super) fn run(args: &InitArgs, global: &Global, output: &Output) -> Outcome {
    let (directory, policy_path) = place(args, global)?;
    let directory = &directory;
    if policy_path.exists() {
        existing(directory, &policy_path, output);
        return Ok(0);
    }
    let identity = crate::statement::Text::new(args.identity.clone())
        .map_err(|error| Failure::because("--identity", &error))?;
    if identity.as_str().contains(['"', '\\']) {
        return Err(Failure::error(
            "--identity holds a quotation mark or a backslash",
        ));
    }
    disk::create_directory(&directory.join("keys"))?;
    // Private keys do not belong into a repository; everything else here does.
    write_once(
        &directory.join("keys/.gitignore"),
        b"*.key.pem\n.weighbridge-tmp-*\n",
    )?;
    let mut keys = Keys::new(args, directory)?;
    let signing = keys.take(SIGNING_KEY, args.algorithm, output)?;
    let PrivateKey::Ed25519(log) = keys.take(LOG_KEY, KeyAlgorithm::Ed25519, output)? else {
        return Err(Failure::error(format!(
            "{LOG_KEY}: a log signs with Ed25519"
        )));
    };
    write_once(
        &directory.join(SIGNING_PUBLIC),
        signing.public().to_pem().as_bytes(),
    )?;
    let origin = args.origin.clone().unwrap_or_else(|| {
        let digest = Sha256::of(log.verifying_key().as_bytes()).to_string();
        format!("weighbridge.local/{}", digest.get(..16).unwrap_or_default())
    });
    let log_signer = LogSigner::new(&origin, *log)
        .map_err(|error| Failure::because(format!("--origin {origin}"), &error))?;
    let text = render(&NewPolicy {
        trust: &log_signer.trust_in_both_keys(),
        identity: identity.as_str(),
        public_key: &signing.public(),
        key_path: SIGNING_KEY,
        log_key_path: LOG_KEY,
    });
    // What is written must be what can be read.
    Policy::parse(&text).map_err(|error| Failure::because("the new policy", &error))?;
    let store = DirectoryStore::new(&directory.join("ledger"));
    if ledger::create(&store, &log_signer, context::now())? == Created::Exists {
        ledger::Log::open(&store, &log_signer.trust()).map_err(|error| {
            Failure::because("the ledger that is there belongs to another key", &error)
                .hint("move it away, or restore its keys and weighbridge.toml")
        })?;
    }
    disk::write(
        &policy_path,
        text.as_bytes(),
        Existing::Refuse,
        Access::Shared,
    )?;

    if output.json {
        output.document(&serde_json::json!({
            "policy": policy_path.display().to_string(),
            "origin": origin,
            "key_id": signing.public().key_id().to_string(),
        }))?;
    }
    output.say(format!("made {}", policy_path.display()));
    output.say(format!(
        "     {} ({}{})",
        directory.join("keys").display(),
        args.algorithm.name(),
        if args.no_passphrase {
            ", NOT encrypted"
        } else {
            ", encrypted"
        }
    ));
    output.say(format!(
        "     {} ({origin})",
        directory.join("ledger").display()
    ));
    output.say("next: weighbridge sign --record PATH, then weighbridge gate PATH");
    Ok(0)
}

/// Where to set up, and how the policy file is called. `--config` and DIR must not contradict.
fn place(args: &InitArgs, global: &Global) -> Result<(PathBuf, PathBuf), Failure> {
    let config = &global.config;
    let parent = config
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = match (&args.directory, parent) {
        (Some(directory), Some(parent)) if directory != parent => {
            return Err(Failure::error(format!(
                "the policy {} would not lie in {}",
                config.display(),
                directory.display()
            ))
            .hint("leave out DIR or --config"));
        }
        (Some(directory), _) => directory.clone(),
        (None, Some(parent)) => parent.to_path_buf(),
        (None, None) => PathBuf::from("."),
    };
    let name = config
        .file_name()
        .map_or(Path::new("weighbridge.toml"), Path::new);
    let policy_path = directory.join(name);
    Ok((directory, policy_path))
}

/// A set-up that is there: says so, and what of it is missing on this machine.
fn existing(directory: &Path, policy_path: &Path, output: &Output) {
    output.say(format!(
        "{} exists already; nothing was changed",
        policy_path.display()
    ));
    for part in [SIGNING_KEY, LOG_KEY, "ledger/checkpoint"] {
        if !directory.join(part).exists() {
            output.warn(format!("{} is not here", directory.join(part).display()));
        }
    }
}

fn write_once(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    match disk::write(path, bytes, Existing::Refuse, Access::Shared) {
        Ok(()) | Err(disk::DiskError::Exists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes keys that are there, or makes them. The passphrase is asked for once, and only if needed.
struct Keys<'a> {
    args: &'a InitArgs,
    directory: &'a Path,
    passphrase: Option<Passphrase>,
}

impl<'a> Keys<'a> {
    fn new(args: &'a InitArgs, directory: &'a Path) -> Result<Keys<'a>, Failure> {
        let complete = [SIGNING_KEY, LOG_KEY]
            .iter()
            .all(|key| directory.join(key).exists());
        let asked = !args.no_passphrase && !complete;
        let passphrase = asked.then(|| args.passphrase.for_new_key()).transpose()?;
        Ok(Keys {
            args,
            directory,
            passphrase,
        })
    }

    fn take(
        &mut self,
        name: &str,
        algorithm: KeyAlgorithm,
        output: &Output,
    ) -> Result<PrivateKey, Failure> {
        let path = self.directory.join(name);
        if path.exists() {
            output.say(format!("using {}, which is there already", path.display()));
            let reader = self.args.passphrase.reader();
            return reader.with(self.passphrase.clone()).private(&path, output);
        }
        let fail = |error| Failure::because(path.display(), &error);
        let key = PrivateKey::generate(algorithm).map_err(fail)?;
        let pem = key::private_key_to_pem(&key, self.passphrase.as_ref()).map_err(fail)?;
        disk::write(&path, pem.as_bytes(), Existing::Refuse, Access::Private)?;
        Ok(key)
    }
}
