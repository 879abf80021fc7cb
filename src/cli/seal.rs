//! `seal`: verifies an artifact, and puts its files under fs-verity.

use std::io;

use rustix::io::Errno;
use serde_json::json;

use super::failure::Failure;
use super::gate::Question;
use super::output::Output;
use super::progress::Bar;
use super::target::{self, Target, TargetArgs};
use super::trust::TrustArgs;
use super::verify::{NOT_CHECKED, Trustees};
use super::{Global, Outcome, context, seals};
use crate::artifact::{Known, Manifest, ManifestFile, Names, Progress, Seals, States};
use crate::digest::Algorithm;
use crate::disk::{self, Unmeasured};
use crate::finding::Verdict;
use crate::gate;
use crate::report::text::count;
use crate::verify::ArtifactEvidence;

/// Verify an artifact and put its files under fs-verity, so that they need not be read to verify them again
///
/// From then on the kernel lets nobody change the files, and keeps a digest of each: there is no way back, but to remove them. A
/// file that is sealed can still be renamed, copied and removed. What was verified is remembered on this host; `verify --fast`
/// and `gate --fast` ask the kernel for the digest instead of reading the file.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge seal ./model                        by the identities in weighbridge.toml
  weighbridge seal --key release.pub.pem ./model
  weighbridge seal --gate ./model                 only what `gate` allows, by the policy and the ledger
  weighbridge verify --fast --key release.pub.pem ./model

The file system must have fs-verity: ext4 after `tune2fs -O verity DEVICE`, F2FS after `mkfs.f2fs -O verity`, Btrfs always;
and the kernel CONFIG_FS_VERITY. Nobody may have the files open for writing.")]
pub(super) struct SealArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Judge as `gate` does, by the policy and the ledger, instead of by the signature alone
    #[arg(long)]
    gate: bool,
    /// With --gate: the profile of the policy, for an environment
    #[arg(long, value_name = "NAME", requires = "gate")]
    profile: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

pub(super) fn run(args: &SealArgs, global: &Global, output: &Output) -> Outcome {
    if args.gate {
        return by_gate(args, global, output);
    }
    let trustees = Trustees::of(&args.trust, global)?;
    let target = args.target.open()?;
    if let Some(config) = &trustees.config {
        config.keep_out_of(&target.artifact)?;
    }
    let signature = gate::read_signature(&target.signature);
    let known = gate::algorithms(&signature);
    let states = States::default();
    let evidence = read(&target, (&known, &states), Names::Any, output)?;
    let report = trustees.judge(&evidence, &signature);
    if report.verdict() != Verdict::Pass {
        output.say("nothing was sealed");
        let config = trustees.config.as_ref();
        return target.report("seal", report, config, NOT_CHECKED, output);
    }
    conclude(&target, (&known, &evidence, &states), global, output)
}

/// The same, where a gate decides. It is read twice: what the gate has allowed must be what is sealed.
fn by_gate(args: &SealArgs, global: &Global, output: &Output) -> Outcome {
    if !args.trust.is_empty() {
        return Err(Failure::error(
            "--gate judges by the policy: leave out whose signature counts",
        ));
    }
    let question = Question {
        target: &args.target,
        profile: args.profile.as_deref(),
        at: None,
        receipt: None,
        fast: None,
        input: false,
    };
    let decision = question.decide(global, output)?;
    if decision.document.exit_code != 0 {
        output.say("nothing was sealed");
        return target::print(&decision.document, output);
    }
    let target = args.target.open()?;
    let known = gate::algorithms(&gate::read_signature(&target.signature));
    let states = States::default();
    let evidence = read(&target, (&known, &states), Names::Printable, output)?;
    context::complete(&args.target.path, &evidence)?;
    if evidence.digest() != decision.digest {
        return Err(Failure::refused(vec![format!(
            "{} was changed since the gate read it: nothing was sealed",
            args.target.path.display()
        )]));
    }
    conclude(&target, (&known, &evidence, &states), global, output)
}

/// Reads all of it, for what is to be known of it and for what the kernel will say.
fn read(
    target: &Target<'_>,
    (known, states): (&[Algorithm], &States),
    names: Names,
    output: &Output,
) -> Result<ArtifactEvidence, Failure> {
    let mut algorithms = known.to_vec();
    algorithms.push(Algorithm::FsVerity);
    let known = Known {
        states: Some(states),
        ..Known::NOTHING
    };
    target.read_with(&algorithms, names, known, output)
}

/// Seals what was found to be good, and says so.
fn conclude(
    target: &Target<'_>,
    (known, evidence, states): (&[Algorithm], &ArtifactEvidence, &States),
    global: &Global,
    output: &Output,
) -> Outcome {
    let mut seals = Seals::of(known);
    let bar = Bar::of(output, "sealing");
    bar.start(evidence.manifest.files().len(), evidence.manifest.bytes());
    let sealed = seal(target, (&evidence.manifest, states), &mut seals, &bar);
    bar.finish();
    if sealed.is_err() && !seals.is_empty() {
        // What was known of the others before stays known.
        seals::recall(&mut seals, &target.artifact, known, global);
    }
    // What was sealed before another file could not be is sealed all the same.
    if !seals.is_empty()
        && let Err(why) = seals::keep(&target.artifact, known, global, &seals)
    {
        output.warn(format!(
            "this host does not remember what it sealed, and will read it again: {why}"
        ));
    }
    let before = sealed?;
    let files = evidence.manifest.files().len();
    if output.json {
        output.document(&json!({
            "schema": "https://weighbridge.dev/seal/v1",
            "path": target.artifact.path().display().to_string(),
            "artifact": evidence.digest().map(|digest| digest.to_string()),
            "files": files,
            "bytes": evidence.manifest.bytes(),
            "sealed_before": before,
        }))?;
    } else {
        let before = match before {
            0 => String::new(),
            before => format!(", {before} of them before"),
        };
        output.data(&format!("sealed {}{before}\n", count(files, "file")))?;
    }
    Ok(0)
}

/// Seals each file; how many were sealed before.
fn seal(
    target: &Target<'_>,
    (manifest, states): (&Manifest, &States),
    seals: &mut Seals,
    bar: &Bar,
) -> Result<usize, Failure> {
    let mut before = 0;
    for file in manifest.files() {
        let verity = manifest.digest(file, Algorithm::FsVerity);
        let path = if manifest.is_single_file() {
            target.artifact.path().to_owned()
        } else {
            target.artifact.path().join(file.path.as_str())
        };
        let path = path.display().to_string();
        let open = target.artifact.open_file(&file.path)?;
        // All on this very descriptor: whatever is at the path by now.
        let measured = match disk::measure(&open) {
            Err(Unmeasured::Off | Unmeasured::Unsupported) => {
                // What is sealed is so for ever: not what has come in place of what was read.
                if !states.hold(&open) {
                    return Err(Failure::refused(vec![format!(
                        "{path} was changed or replaced since it was verified: it was not sealed"
                    )]));
                }
                disk::enable(&open).map_err(|error| refused(&path, &error))?;
                disk::measure(&open)
            }
            measured => {
                before += 1;
                measured
            }
        };
        let measured = measured.map_err(|why| {
            Failure::error(format!(
                "{path} is under fs-verity, and its digest is of no use: {why}"
            ))
        })?;
        if Some(measured.as_slice()) != verity {
            return Err(Failure::refused(vec![format!(
                "{path} is under fs-verity, and not what was verified: it was changed at the last moment, or was sealed with a salt"
            )]));
        }
        seals.add(measured, &own(manifest, file));
        bar.advance(file.size);
    }
    Ok(before)
}

/// The digests that will be known of the file: all but that of fs-verity.
fn own(manifest: &Manifest, file: &ManifestFile) -> Vec<u8> {
    let digests = manifest.digests(file).into_iter();
    let own = digests.filter(|one| one.algorithm != Algorithm::FsVerity);
    own.flat_map(|one| one.bytes).collect()
}

/// Why a file cannot be sealed, and what to do.
fn refused(path: &str, error: &io::Error) -> Failure {
    let hint = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::OPNOTSUPP | Errno::NOTTY) => {
            "its file system has no fs-verity: on ext4 `tune2fs -O verity DEVICE` switches it on, and the kernel needs \
             CONFIG_FS_VERITY"
        }
        Some(Errno::TXTBSY) => "somebody has it open for writing: wait for that to end",
        Some(Errno::ACCESS | Errno::PERM) => "run as its owner, who may write to it",
        Some(Errno::ROFS) => "it is mounted read-only: seal it before",
        _ => "the system log may say more",
    };
    Failure::error(format!("{path} cannot be put under fs-verity: {error}")).hint(hint)
}
