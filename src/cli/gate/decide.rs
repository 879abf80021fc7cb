//! A decision of the gate, for whoever needs one: the verb itself, a test of a policy, what starts a program.

use std::path::Path;

use super::index;
use crate::artifact::{ArtifactDigest, Names};
use crate::cli::Global;
use crate::cli::context::{self, Config};
use crate::cli::failure::Failure;
use crate::cli::history::History;
use crate::cli::output::Output;
use crate::cli::receipts::{FastArgs, Reuse};
use crate::cli::target::{self, TargetArgs};
use crate::gate;
use crate::ledger::Log;
use crate::report::{ClockSource, ReportDocument};
use crate::time::Timestamp;
use crate::verify::{verify, verify_with_input};

/// What is asked.
pub(in crate::cli) struct Question<'a> {
    pub(in crate::cli) target: &'a TargetArgs,
    pub(in crate::cli) profile: Option<&'a str>,
    pub(in crate::cli) at: Option<Timestamp>,
    pub(in crate::cli) receipt: Option<&'a Path>,
    /// May files stay unread?
    pub(in crate::cli) fast: Option<&'a FastArgs>,
    /// Is asked what expressions are given, too?
    pub(in crate::cli) input: bool,
}

/// What the answer is.
pub(in crate::cli) struct Decision {
    pub(in crate::cli) document: ReportDocument,
    pub(in crate::cli) digest: Option<ArtifactDigest>,
    /// What expressions of the policy were given.
    pub(in crate::cli) input: serde_json::Value,
}

impl Question<'_> {
    /// Decides by the policy that `global` names.
    pub(in crate::cli) fn decide(
        &self,
        global: &Global,
        output: &Output,
    ) -> Result<Decision, Failure> {
        let mut config = Config::load(global)?;
        if let Some(name) = self.profile {
            config = config.in_profile(name)?;
        }
        let now = self.at.unwrap_or_else(context::now);
        if now > context::now() {
            return Err(Failure::error(format!("--at {now} is still to come"))
                .hint("a verdict is about what is, or was"));
        }
        let target = self.target.open()?;
        config.keep_out_of(&target.artifact)?;
        let signature = gate::read_signature(&target.signature);
        let algorithms = gate::algorithms(&signature);
        let reuse = match self.fast {
            Some(fast) => fast.reuse(Some(&config), global, output),
            None => Reuse::NONE,
        };
        let evidence = target.read(&algorithms, Names::Printable, reuse, output)?;
        let trust = &config.policy.log.trust;
        let history = History::new(global, Some(&config), trust.log(), output);
        let not_checked = self.not_checked(&config, history.is_known());
        let mut ledger = if let Some(receipt) = self.receipt {
            gate::read_receipt(receipt, &config.policy)
        } else {
            let store = context::store(&config)?;
            let check = |log: &Log<'_>| history.check(log);
            let policy = (&config.policy, now, self.at);
            let how: (&gate::History<'_>, &gate::OpenIndex<'_>) = (&check, &index::open);
            gate::read_ledger(&*store, policy, &evidence, &signature, how)
        };
        let mut clock = ClockSource::Local;
        if self.at.is_some() {
            clock = ClockSource::Given;
            gate::as_of(&mut ledger, now);
        }
        let verify = if self.input {
            verify_with_input
        } else {
            verify
        };
        let mut report = verify(&evidence, &signature, &ledger, &config.policy, now);
        let input = std::mem::take(&mut report.input);
        let path = self.target.path.display().to_string();
        let document = target::document(
            ("gate", path),
            report,
            Some(&config),
            &not_checked,
            (now, clock),
        );
        let digest = evidence.digest();
        Ok(Decision {
            document,
            digest,
            input,
        })
    }

    fn not_checked(&self, config: &Config, is_remembered: bool) -> Vec<&'static str> {
        let mut all = vec!["what the files contain, beyond what kind of file each is"];
        let trust = &config.policy.log.trust;
        let origin = trust.log().name();
        let mut witnesses = trust.witnesses().iter();
        if witnesses.all(|witness| witness.key.name() == origin) {
            all.push("witnesses: the policy names none");
        }
        if self.receipt.is_some() {
            all.push(
                "whether the artifact was recalled, and whether the ledger registered or revoked a key, before or after \
                 the receipt",
            );
        }
        if self.receipt.is_some() || !is_remembered {
            all.push("whether the ledger was rolled back: nothing is remembered of it");
        }
        if self.at.is_some() {
            all.push("that the dates of records are true: they are what their signers say");
        }
        all
    }
}
