//! What SHA-256 is computed with: chosen once for the process, by the environment or `hash --engine`; and what that comes to on
//! this processor.

use std::fmt::Write;
use std::sync::OnceLock;

use serde_json::json;

use super::Outcome;
use super::context::variable;
use super::failure::Failure;
use super::output::Output;
use crate::sha256::{Choice, Engine, Kernel, LANES};

static CHOSEN: OnceLock<Choice> = OnceLock::new();

const VARIABLE: &str = "WEIGHBRIDGE_ENGINE";

/// What was chosen.
pub(super) fn chosen() -> Choice {
    CHOSEN.get().copied().unwrap_or_default()
}

/// The choice of this name.
pub(super) fn parse(text: &str) -> Result<Choice, String> {
    let found = Choice::ALL.iter().find(|(name, _)| *name == text);
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let names = Choice::ALL.map(|(name, _)| name).join(", ");
        format!("{:?} is none of: {names}", crate::path::display(text))
    })
}

/// Takes what `asked` says, or else the environment.
pub(super) fn choose(asked: Option<Choice>) -> Result<(), Failure> {
    let choice = match (asked, variable(VARIABLE)) {
        (Some(choice), _) => choice,
        (None, Some(text)) => {
            parse(&text).map_err(|why| Failure::error(format!("{VARIABLE}: {why}")))?
        }
        (None, None) => return Ok(()),
    };
    Engine::new(choice).map_err(|error| {
        Failure::error(error.to_string())
            .hint("leave out --engine and WEIGHBRIDGE_ENGINE, and the fastest that is here is used")
    })?;
    // Whoever chose first is asked no more: the process has one engine.
    _ = CHOSEN.set(choice);
    Ok(())
}

/// What there is, how fast it is, and what is used for how many files at once.
pub(super) fn describe(output: &Output) -> Outcome {
    let choice = chosen();
    let engine = Engine::tuned(choice).map_err(|error| Failure::error(error.to_string()))?;
    let speed = |kernel: Kernel| {
        let mut all = engine.kernels().iter();
        all.find(|(one, _)| *one == kernel).map(|(_, speed)| *speed)
    };
    let plan: Vec<(usize, Kernel)> = (1..=LANES)
        .map(|streams| (streams, engine.kernel(streams)))
        .collect();
    if output.json {
        let kernels: Vec<_> = Kernel::ALL
            .iter()
            .map(|kernel| {
                json!({ "name": kernel.name(), "streams": kernel.width(), "here": kernel.is_here(),
                        "measured": speed(*kernel).map(|speed| speed.to_string()) })
            })
            .collect();
        let plan: Vec<_> = plan
            .iter()
            .map(|(streams, kernel)| {
                json!({ "streams": streams, "kernel": kernel.name(), "speed": engine.speed(*streams).to_string() })
            })
            .collect();
        output.document(&json!({ "kernels": kernels, "plan": plan }))?;
        return Ok(0);
    }
    let mut text = String::from("SHA-256, on one core, measured now:\n");
    for kernel in Kernel::ALL {
        let what = match speed(kernel) {
            Some(speed) => speed.to_string(),
            None if kernel.is_here() => "not used: another is made for it, or was chosen".into(),
            None => "this processor does not have it".into(),
        };
        _ = writeln!(text, "  {:<24} {what}", kernel.name());
    }
    text.push_str("for so many files at once, the fastest is:\n");
    for (streams, kernel) in plan {
        let speed = engine.speed(streams).to_string();
        _ = writeln!(text, "  {streams:>2}  {:<24} {speed}", kernel.name());
    }
    output.data(&text)?;
    Ok(0)
}
