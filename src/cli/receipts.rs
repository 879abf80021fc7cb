//! Where receipts of earlier hashing are kept: in the user's cache directory, with a key of this host in the
//! state directory.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Global;
use super::context::{self, Config, cache_directory};
use super::failure::Failure;
use super::history::state_directory;
use super::output::Output;
use super::seals;
use crate::artifact::parts::Part;
use crate::artifact::stat_cache::{HostKey, MAX_RECEIPTS};
use crate::artifact::{Artifact, Known, StatCache};
use crate::digest::{Algorithm, Sha256, labels};
use crate::disk::{self, Access, Existing};
use crate::gate::cause;
use crate::oms::OmsModel;
use crate::policy::{Rehash, Span};
use crate::verify::SignatureEvidence;

/// The receipts of one artifact, and the file that they are in.
pub(super) struct Receipts {
    path: PathBuf,
    key: HostKey,
    pub(super) cache: StatCache,
}

/// As many artifacts have receipts; of more, those that were not read for longest have none.
const MOST: usize = 1_024;

/// And so many bytes are all of them together.
const MOST_BYTES: u64 = 1 << 30;

/// When a file is read again that this host has read before.
#[derive(clap::Args)]
pub(super) struct RehashArgs {
    /// Which files to read: always all of them; if-changed: those that have changed since this host last read them, as far as
    /// its kernel knows; max-age=24h: the same, and those that it read longer ago
    #[arg(long, value_name = "WHEN", default_value = "always", value_parser = asked)]
    rehash: Rehash,
}

/// What may be asked beside `--fast`.
fn asked(text: &str) -> Result<Rehash, String> {
    match text.parse()? {
        Rehash::Unsealed => Err("--fast is what says so".into()),
        rehash => Ok(rehash),
    }
}

/// The same, where files may be under fs-verity.
#[derive(clap::Args)]
pub(super) struct FastArgs {
    #[command(flatten)]
    rehash: RehashArgs,
    /// Do not read a file that is under fs-verity: ask its kernel for the digest of it, if this host has sealed that content
    /// (`weighbridge seal`), or for `verify`, if the signature says what it is (`weighbridge sign --fs-verity`)
    #[arg(long)]
    fast: bool,
}

impl FastArgs {
    /// Where nothing is under fs-verity.
    #[cfg(feature = "http")]
    pub(super) fn rehash(&self) -> &RehashArgs {
        &self.rehash
    }

    /// Is `--fast` given?
    #[cfg(feature = "http")]
    pub(super) fn is_fast(&self) -> bool {
        self.fast
    }

    /// What is read, if the policy in `config` allows no less.
    pub(super) fn reuse<'a>(
        &self,
        config: Option<&Config>,
        global: &'a Global,
        output: &Output,
    ) -> Reuse<'a> {
        let mut reuse = self.rehash.reuse(config, global, output);
        let allowed = allowed(config);
        if self.fast && allowed < Rehash::Unsealed {
            output.warn(format!(
                "the policy says rehash = \"{allowed}\": --fast is not done"
            ));
        } else if self.fast {
            reuse.sealed = Some(global);
        }
        reuse
    }
}

/// What a policy allows.
fn allowed(config: Option<&Config>) -> Rehash {
    config.map_or(Rehash::IfChanged, |config| config.policy.gate.rehash)
}

impl RehashArgs {
    /// What is read, if the policy in `config` allows no less.
    pub(super) fn reuse<'a>(
        &self,
        config: Option<&Config>,
        global: &'a Global,
        output: &Output,
    ) -> Reuse<'a> {
        let allowed = allowed(config);
        if allowed < self.rehash {
            output.warn(format!(
                "the policy says rehash = \"{allowed}\": --rehash {} is not done",
                self.rehash
            ));
        }
        let receipts = match self.rehash.min(allowed) {
            Rehash::Always | Rehash::Unsealed => None,
            Rehash::MaxAge(age) => Some((global, Some(age))),
            Rehash::IfChanged => Some((global, None)),
        };
        Reuse {
            receipts,
            ..Reuse::NONE
        }
    }
}

/// What may be taken from earlier hashing, and where that is remembered.
#[derive(Clone, Copy)]
pub(super) struct Reuse<'a> {
    /// Receipts, if they are no older.
    receipts: Option<(&'a Global, Option<Span>)>,
    /// What this host has sealed.
    sealed: Option<&'a Global>,
    /// What the signature says of files under fs-verity.
    stated: Option<&'a OmsModel>,
}

impl<'a> Reuse<'a> {
    /// Nothing: every file is read.
    pub(super) const NONE: Reuse<'static> = Reuse {
        receipts: None,
        sealed: None,
        stated: None,
    };

    /// The same, and what `signature` says of files under fs-verity. For who will judge that signature, and passes nothing that
    /// it does not vouch for.
    pub(super) fn stated_by<'b>(self, signature: &'b SignatureEvidence) -> Reuse<'b>
    where
        'a: 'b,
    {
        let stated = match signature {
            SignatureEvidence::Bundle { bundle, .. } => (**bundle).as_ref().ok(),
            _ => None,
        };
        Reuse {
            stated: stated.and_then(|bundle| bundle.model.as_ref().ok()),
            ..self
        }
    }

    /// Has `work` read the artifact by `algorithms` with the receipts that there are, and keeps those of this run.
    pub(super) fn with<T>(
        self,
        artifact: &Artifact,
        algorithms: &[Algorithm],
        output: &Output,
        work: impl FnOnce(Known<'_>) -> T,
    ) -> T {
        let of_host = |global| seals::known(artifact, algorithms, (global, self.stated), output);
        let seals = self.sealed.map(of_host);
        let mut known = Known {
            seals: seals.as_ref(),
            ..Known::NOTHING
        };
        let Some((global, age)) = self.receipts else {
            return work(known);
        };
        let mut receipts = match Receipts::of(artifact, algorithms, global) {
            Ok(receipts) => receipts,
            Err(why) => {
                output.warn(format!("there are no receipts: {why}"));
                return work(known);
            }
        };
        receipts.read();
        if let Some(age) = age {
            receipts.cache.forget_after(age.millis());
        }
        known.receipts = Some(&receipts.cache);
        let result = work(known);
        if let Err(why) = receipts.write() {
            output.warn(format!("no receipts of this hashing are kept: {why}"));
        }
        result
    }
}

/// Has `work` read the artifact with what an interrupted run left, and keeps what is read, now and then and when a signal ends
/// this one. If it comes to its end, nothing is left.
pub(super) fn resume<T>(
    (artifact, part): (&Artifact, Option<Part>),
    algorithms: &[Algorithm],
    global: &Global,
    output: &Output,
    work: impl FnOnce(Option<&StatCache>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let used_for = part.map_or("resume".into(), |part| format!("resume {part}"));
    let mut receipts = match Receipts::named(artifact, algorithms, global, &used_for) {
        Ok(receipts) => receipts,
        Err(why) => {
            output.warn(format!(
                "every file is read, and nothing is left to resume: {why}"
            ));
            return work(None);
        }
    };
    receipts.read();
    let signals = Signals::new(
        [SIGINT, SIGTERM, SIGHUP]
            .into_iter()
            .filter(|one| !is_ignored(*one)),
    )
    .map_err(|error| Failure::because("signals", &error))?;
    let receipts = Arc::new(receipts);
    let is_done = Arc::new(Mutex::new(false));
    let (kept, done) = (Arc::clone(&receipts), Arc::clone(&is_done));
    std::thread::spawn(move || keep(&kept, &done, signals));
    let result = work(Some(&receipts.cache));
    // What is being kept is waited for, so that nothing is left behind.
    *is_done.lock().unwrap_or_else(PoisonError::into_inner) = true;
    match &result {
        Ok(_) => _ = disk::remove_file(&receipts.path),
        Err(_) => _ = receipts.write(),
    }
    result
}

/// Was this process started so that the signal does nothing, as `nohup` does?
fn is_ignored(signal: i32) -> bool {
    let status = disk::read(Path::new("/proc/self/status"), 1 << 16).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// How often a signal is looked for.
const PULSE: Duration = Duration::from_millis(100);
/// How often receipts are kept, at most; more rarely if that takes long.
const OFTEN: Duration = Duration::from_secs(10);

/// Keeps receipts until the work is done; the handlers stay after that, since they replaced those that the system had.
fn keep(receipts: &Receipts, is_done: &Mutex<bool>, mut signals: Signals) {
    let (mut last, mut wait) = (Instant::now(), OFTEN);
    loop {
        std::thread::sleep(PULSE);
        let signal = signals.pending().next();
        let is_done = is_done.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_done && (signal.is_some() || last.elapsed() >= wait) {
            let began = Instant::now();
            // What is not kept is read again.
            _ = receipts.write();
            (last, wait) = (Instant::now(), OFTEN.max(began.elapsed() * 20));
        }
        if let Some(signal) = signal {
            _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    }
}

impl Receipts {
    /// The place for the receipts of `artifact`, none of them read; why, where nothing is kept.
    pub(super) fn of(
        artifact: &Artifact,
        algorithms: &[Algorithm],
        global: &Global,
    ) -> Result<Receipts, String> {
        Receipts::named(artifact, algorithms, global, "")
    }

    /// The same, for a use of its own.
    fn named(
        artifact: &Artifact,
        algorithms: &[Algorithm],
        global: &Global,
        used_for: &str,
    ) -> Result<Receipts, String> {
        let (device, file_system) = artifact.directory().own_file_system().ok_or(
            "the artifact is on a file system whose times do not tell of every change, or that is mounted read-only",
        )?;
        let mut cache = StatCache::new(algorithms, context::now());
        cache.stay_on(device);
        let (path, key) = place(artifact, algorithms, global, (file_system, used_for))?;
        Ok(Receipts { path, key, cache })
    }

    /// Reads what was kept; how many receipts there are.
    pub(super) fn read(&mut self) -> usize {
        let bytes = disk::read_no_link(&self.path, MAX_RECEIPTS).unwrap_or_default();
        self.cache.read(bytes, &self.key).unwrap_or_default()
    }

    /// Keeps those of this run. What cannot be kept is read again the next time.
    pub(super) fn write(&self) -> Result<(), String> {
        if self.cache.is_as_read() && disk::touch(&self.path).is_ok() {
            return Ok(());
        }
        let bytes = self.cache.write(&self.key);
        let bytes = bytes.ok_or_else(|| format!("they are more than {MAX_RECEIPTS} bytes"))?;
        keep_at(&self.path, &bytes)
    }
}

/// Where something that this host knows of `artifact` is kept, and by what it is known to be this host's. It is about these
/// digests, that file system, and for a use of its own.
pub(super) fn place(
    artifact: &Artifact,
    algorithms: &[Algorithm],
    global: &Global,
    (file_system, used_for): (u64, &str),
) -> Result<(PathBuf, HostKey), String> {
    if global.no_memory {
        return Err("--no-memory was given".into());
    }
    let state = global.state_dir.clone().or_else(state_directory);
    let (Some(state), Some(place)) = (state, cache_directory()) else {
        return Err("neither HOME nor XDG_CACHE_HOME and XDG_STATE_HOME is set".into());
    };
    let real = std::fs::canonicalize(artifact.path())
        .map_err(|error| format!("{}: {error}", artifact.path().display()))?;
    let names = labels(algorithms);
    let parts: [&[u8]; 6] = [
        &file_system.to_le_bytes(),
        real.as_os_str().as_encoded_bytes(),
        b"\0",
        names.as_bytes(),
        b"\0",
        used_for.as_bytes(),
    ];
    let name = Sha256::of(&parts.concat()).to_string();
    let path = place.join("receipts").join(name);
    Ok((path, host_key(&state.join("host.key"))?))
}

/// Keeps that.
pub(super) fn keep_at(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    if !is_mine(directory) {
        return Err(format!("{} is not yours", directory.display()));
    }
    let written = disk::create_directory(directory)
        .and_then(|()| disk::write(path, bytes, Existing::Replace, Access::Private));
    written.map_err(|error| cause(&error))?;
    make_room(directory);
    Ok(())
}

/// Removes what was not used for longest: of receipts, in a directory of theirs.
fn make_room(directory: &Path) {
    let own = directory.symlink_metadata().is_ok_and(|it| it.is_dir());
    let Some(entries) = std::fs::read_dir(directory).ok().filter(|_| own) else {
        return;
    };
    let receipt = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let is_named = entry.file_name().to_str()?.parse::<Sha256>().is_ok();
        let is_file = entry.file_type().ok()?.is_file();
        let metadata = entry.metadata().ok()?;
        let used = metadata.modified().ok()?;
        (is_named && is_file).then(|| (used, entry.path(), metadata.len()))
    };
    let mut files: Vec<(SystemTime, PathBuf, u64)> = entries.filter_map(receipt).collect();
    files.sort_unstable();
    let (mut count, mut bytes) = (0, 0);
    for (_, path, size) in files.iter().rev() {
        (count, bytes) = (count + 1, size.saturating_add(bytes));
        if count > MOST || bytes > MOST_BYTES {
            _ = disk::remove_file(path);
        }
    }
}

/// Nothing is made in directories of somebody else: he could not use them any more.
fn is_mine(path: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    let there = path.ancestors().find_map(|one| std::fs::metadata(one).ok());
    there.is_some_and(|there| there.uid() == me)
}

/// The key in the file at `path`, made if there is none, and bound to this machine and this user: a copy of
/// both files is worth nothing elsewhere.
fn host_key(path: &Path) -> Result<HostKey, String> {
    let fail = |error: &dyn std::error::Error| format!("{}: {}", path.display(), cause(error));
    if !is_mine(path) {
        return Err(format!("{} is not yours", path.display()));
    }
    if let Err(error) = disk::read_no_link(path, 32)
        && error.is_not_found()
    {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| fail(&error))?;
        if let Some(parent) = path.parent() {
            disk::create_directory(parent).map_err(|error| fail(&error))?;
        }
        // Another process may have been faster: its key is the key.
        _ = disk::write(path, &secret, Existing::Refuse, Access::Private);
    }
    let secret = disk::read_no_link(path, 32).map_err(|error| fail(&error))?;
    let metadata = std::fs::metadata(path).map_err(|error| fail(&error))?;
    if secret.len() != 32 || metadata.permissions().mode() & 0o077 != 0 {
        return Err(format!(
            "{} is not a key that only you can read; remove it, and a new one is made",
            path.display()
        ));
    }
    let machine = disk::read(Path::new("/etc/machine-id"), 256).unwrap_or_default();
    let user = metadata.uid().to_le_bytes();
    let all = [secret.as_slice(), &user, &machine].concat();
    Ok(HostKey(blake3::derive_key(
        "weighbridge 2026 receipts of earlier hashing",
        &all,
    )))
}
