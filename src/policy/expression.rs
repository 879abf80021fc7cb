//! Rules of one's own: expressions in CEL (Common Expression Language, cel.dev) over what was found out about an artifact.
//! CEL is what Kubernetes has in its admission policies; it has no loops but those over lists, so that what an expression
//! can cost is bounded by its length and by the lists.

use std::collections::HashMap;

use serde_json::Value;

/// A rule of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    pub id: String,
    /// What must be true.
    pub cel: String,
    /// What it means that it is not.
    pub message: String,
}

/// What expressions know.
const VARIABLES: [&str; 8] = [
    "artifact", "files", "signers", "records", "sources", "lineage", "now", "policy",
];

/// The longest expression; deeper nested than this none is read; so many lists may be gone through, one in another.
const MAX_LENGTH: usize = 2_048;
const MAX_DEPTH: usize = 24;
const MAX_LOOPS: usize = 2;

/// As many items has a list that expressions know: of more, the list is not there.
pub const MAX_ITEMS: usize = 2_000;

impl Expression {
    /// Reads a rule.
    pub(super) fn new(id: String, cel: String, message: String) -> Result<Expression, String> {
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) {
            return Err(format!(
                "has the id {id:?}, which is not of a-z, 0-9, \".\", \"-\" and \"_\""
            ));
        }
        if message.is_empty() {
            return Err("has no message: nobody would know what to do".into());
        }
        bounded(&cel)?;
        let (text, unknown) = (cel.clone(), id.clone());
        in_room(move || {
            let program = cel::Program::compile(&text)
                .map_err(|error| format!("{unknown}: is no CEL: {error}"))?;
            let references = program.references();
            let known = VARIABLES.iter().any(|name| references.has_variable(name));
            if known {
                return Ok(());
            }
            Err(format!(
                "{unknown}: asks nothing about the artifact: it would always decide the same; there are: {}",
                VARIABLES.join(", ")
            ))
        })??;
        Ok(Expression { id, cel, message })
    }

    /// Is it true of `input`? Else why that cannot be said.
    pub fn holds(&self, input: &Value) -> Result<bool, String> {
        let (text, input) = (self.cel.clone(), input.clone());
        in_room(move || {
            let program = cel::Program::compile(&text).map_err(|error| error.to_string())?;
            let mut context = cel::Context::default();
            for (name, value) in input.as_object().into_iter().flatten() {
                context.add_variable_from_value(name.clone(), value_of(value));
            }
            match program.execute(&context) {
                Ok(cel::Value::Bool(holds)) => Ok(holds),
                Ok(_) => Err("it is neither true nor false".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })?
    }
}

/// A value of the input as CEL has it: whole numbers are `int`, as literals are, so that one can be added to the other.
fn value_of(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => cel::Value::Int(whole),
            (None, Some(float)) => cel::Value::Float(float),
            (None, None) => cel::Value::Null,
        },
        Value::String(text) => text.clone().into(),
        Value::Array(all) => all.iter().map(value_of).collect::<Vec<_>>().into(),
        Value::Object(all) => {
            let all = all.iter().map(|(name, one)| (name.clone(), value_of(one)));
            all.collect::<HashMap<String, cel::Value>>().into()
        }
    }
}

/// Refuses what could cost too much, before anything reads it.
fn bounded(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > MAX_LENGTH {
        return Err(format!(
            "has {} bytes, and 1 to {MAX_LENGTH} are read",
            text.len()
        ));
    }
    let (mut depth, mut deepest, mut signs) = (0_usize, 0, 0_usize);
    for letter in text.chars() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        // What stands before something nests as well: `!!!!x`, `a ? b : a ? b : c`.
        signs = match letter {
            '!' | '-' | '?' => signs + 1,
            ',' | ')' | '&' | '|' => 0,
            _ => signs,
        };
        deepest = deepest.max(depth + signs);
    }
    if deepest > MAX_DEPTH {
        return Err(format!("is nested deeper than {MAX_DEPTH}"));
    }
    let loops: usize = ["all", "exists", "exists_one", "map", "filter"]
        .iter()
        .map(|name| calls(text, name))
        .sum();
    if loops > MAX_LOOPS {
        return Err(format!(
            "goes through {loops} lists, and at most {MAX_LOOPS} are gone through: make two rules of it"
        ));
    }
    Ok(())
}

/// How often the macro `name` is called.
fn calls(text: &str, name: &str) -> usize {
    let found = text.match_indices(name).filter(|(at, _)| {
        let before = text.get(..*at).unwrap_or_default().trim_end();
        let after = text.get(at + name.len()..).unwrap_or_default().trim_start();
        before.ends_with('.') && after.starts_with('(')
    });
    found.count()
}

/// With room on the stack for what is nested as deep as may be; a parser that gives up takes nothing else with it.
fn in_room<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let room = std::thread::Builder::new().stack_size(32 * 1024 * 1024);
    let thread = room
        .spawn(work)
        .map_err(|error| format!("there is no room to read it: {error}"))?;
    thread
        .join()
        .map_err(|_| "what reads expressions gave up on it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(cel: &str) -> Result<Expression, String> {
        Expression::new("acme.x".into(), cel.into(), "m".into())
    }

    #[test]
    fn what_holds() {
        let input = json!({
            "artifact": { "bytes": 10, "files": 2 },
            "files": [{ "path": "a.py", "format": "python" }, { "path": "w", "format": "safetensors" }],
            "records": [{ "kind": "test-result", "predicate": { "metrics": [{ "name": "score", "value": 0.9 }] } }],
        });
        for (cel, expected) in [
            ("artifact.bytes < 100", true),
            ("files.all(f, f.format == 'safetensors')", false),
            ("files.exists(f, f.path.endsWith('.py'))", true),
            ("files.all(f, f.path.matches('^[a-z.]+$'))", true),
            (
                "size(records) == 1 && records[0].kind == 'test-result'",
                true,
            ),
            (
                "records.exists(r, r.predicate.metrics.exists(m, m.name == 'score' && m.value >= 0.9))",
                true,
            ),
        ] {
            assert_eq!(rule(cel).unwrap().holds(&input), Ok(expected), "{cel}");
        }
        for cel in [
            "artifact.colour == 'red'",
            "artifact.bytes",
            "size(lineage) == 0",
        ] {
            assert!(rule(cel).unwrap().holds(&input).is_err(), "{cel}");
        }
    }

    #[test]
    fn what_is_refused() {
        let deep = format!("{}artifact{}", "(".repeat(60), ")".repeat(60));
        let nots = format!("{}artifact.x", "!".repeat(200));
        let chain = format!("{}artifact.y", "artifact.x ? true : ".repeat(80));
        let long = format!("artifact.x == '{}'", "a".repeat(3000));
        for cel in [
            "",
            "1 + 1 == 2",
            "artifact.x ==",
            deep.as_str(),
            nots.as_str(),
            chain.as_str(),
            long.as_str(),
            "files.all(a, files.all(b, files.all(c, true)))",
            "files.map(a, files.map(b, files . filter (c, true))).size() > 0",
        ] {
            assert!(rule(cel).is_err(), "{cel}");
        }
        assert!(Expression::new("Acme".into(), "now > 0".into(), "m".into()).is_err());
        assert!(Expression::new("acme".into(), "now > 0".into(), String::new()).is_err());
    }
}
