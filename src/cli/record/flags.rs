//! The flags of a kind of record, made from the schema of its predicate: a field that is added there is a flag here.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};

use crate::statement::Kind;

/// A field that a flag gives.
pub(super) struct Field {
    /// Where it stands in the predicate.
    path: Vec<String>,
    pub(super) flag: String,
    help: String,
    pub(super) is_required: bool,
    is_many: bool,
    pub(super) shape: Shape,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Text,
    Word(Vec<String>),
    Bool,
    Integer,
    Number,
    Time,
    /// SHA-256.
    Digest,
    /// An artifact by its digest.
    Artifact,
    /// The same, and what it is used as.
    Input,
    /// A file by its digest.
    Document,
    /// A file by its name and digest.
    Resource,
    /// Another record.
    Record,
    /// Several named values.
    Object(Vec<(String, Shape)>),
}

/// What the program adds to every record itself.
const OURS: [&str; 7] = [
    "time",
    "time_source",
    "actor",
    "log",
    "attachments",
    "manifest",
    "signature",
];

/// The schema of a predicate, with what it refers to.
struct Schema {
    root: Value,
}

impl Schema {
    /// What `value` stands for, and what the thing that it refers to is called.
    fn resolve<'a>(&'a self, value: &'a Value) -> (&'a Value, &'a str) {
        if let Some(all) = value.get("anyOf").and_then(Value::as_array) {
            let is_null = |one: &&Value| one.get("type").and_then(Value::as_str) == Some("null");
            if let Some(one) = all.iter().find(|one| !is_null(one)) {
                return self.resolve(one);
            }
        }
        let name = value.get("$ref").and_then(Value::as_str);
        let name = name.and_then(|name| name.strip_prefix("#/$defs/"));
        match name {
            Some(name) => {
                let found = self.root.get("$defs").and_then(|all| all.get(name));
                (found.unwrap_or(value), name)
            }
            None => (value, ""),
        }
    }

    /// The shape of `value`, and whether there can be several.
    fn shape(&self, value: &Value) -> (Shape, bool) {
        let (found, name) = self.resolve(value);
        let shape = match name {
            "Timestamp" => Shape::Time,
            "Sha256" => Shape::Digest,
            "SubjectDigest" => Shape::Artifact,
            "Input" => Shape::Input,
            "DocumentReference" => Shape::Document,
            "RecordReference" => Shape::Record,
            "ResourceDescriptor" => Shape::Resource,
            _ => {
                if let Some(items) = found.get("items") {
                    return (self.shape(items).0, true);
                }
                self.plain(found)
            }
        };
        (shape, false)
    }

    fn plain(&self, found: &Value) -> Shape {
        if let Some(words) = found.get("enum").and_then(Value::as_array) {
            let words = words.iter().filter_map(Value::as_str);
            return Shape::Word(words.map(str::to_owned).collect());
        }
        // Words that are described one by one.
        if let Some(all) = found.get("oneOf").and_then(Value::as_array) {
            let words = all.iter().filter_map(|one| one.get("const")?.as_str());
            return Shape::Word(words.map(str::to_owned).collect());
        }
        let kinds = match found.get("type") {
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(kind)) => vec![kind.as_str()],
            _ => Vec::new(),
        };
        if let Some(properties) = found.get("properties").and_then(Value::as_object) {
            let fields = properties
                .iter()
                .map(|(name, value)| (name.clone(), self.shape(value).0));
            return Shape::Object(fields.collect());
        }
        if kinds.contains(&"boolean") {
            Shape::Bool
        } else if kinds.contains(&"integer") {
            Shape::Integer
        } else if kinds.contains(&"number") {
            Shape::Number
        } else {
            Shape::Text
        }
    }

    fn fields(&self, object: &Value, path: &[String], all: &mut Vec<Field>) {
        let none = Map::new();
        let properties = object.get("properties").and_then(Value::as_object);
        let required = object.get("required").and_then(Value::as_array);
        for (name, value) in properties.unwrap_or(&none) {
            if OURS.contains(&name.as_str()) {
                continue;
            }
            let path = [path, std::slice::from_ref(name)].concat();
            // A field of ours in somebody else's predicate: what is in it has flags of its own.
            if name.contains("://") {
                self.fields(self.resolve(value).0, &path, all);
                continue;
            }
            let (shape, is_many) = self.shape(value);
            let described = |value: &Value| {
                let text = value.get("description").and_then(Value::as_str);
                text.map(|text| text.trim_end_matches('.').to_owned())
            };
            let help = described(value).or_else(|| described(self.resolve(value).0));
            let is_required =
                required.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(name)));
            all.push(Field {
                flag: flag(name, is_many),
                help: help.unwrap_or_default(),
                is_required,
                is_many,
                shape,
                path,
            });
        }
    }
}

/// The flag of the field `name`: `permittedUses` and `permitted_uses` are `--permitted-use`, given once for each.
fn flag(name: &str, is_many: bool) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            text.push('-');
        }
        text.push(if letter == '_' {
            '-'
        } else {
            letter.to_ascii_lowercase()
        });
    }
    if !is_many {
        return text;
    }
    match text.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => text.strip_suffix('s').unwrap_or(&text).to_owned(),
    }
}

/// The fields of `kind`, those first without which there is no record.
pub(super) fn fields(kind: Kind) -> Vec<Field> {
    let schema = Schema {
        root: kind.schema().into(),
    };
    let mut all = Vec::new();
    schema.fields(&schema.root, &[], &mut all);
    all.sort_by_key(|field| !field.is_required);
    all
}

/// Adds the flags of `kind`.
pub(super) fn augment(mut command: Command, kind: Kind) -> Command {
    for field in fields(kind) {
        let needed = if field.is_required { " (needed)" } else { "" };
        let several = if field.is_many { "; once for each" } else { "" };
        let mut arg = Arg::new(format!("field-{}", field.flag))
            .long(field.flag.clone())
            .value_name(field.shape.value_name())
            .help(format!("{}{needed}{several}", field.help))
            .help_heading("What it says")
            .action(if field.is_many {
                ArgAction::Append
            } else {
                ArgAction::Set
            });
        if let Shape::Word(words) = &field.shape {
            arg = arg.value_parser(PossibleValuesParser::new(words.clone()));
        }
        command = command.arg(arg);
    }
    command
}

impl Field {
    /// What was given for it.
    pub(super) fn given<'a>(&self, matches: &'a ArgMatches) -> Vec<&'a str> {
        let all = matches.get_many::<String>(&format!("field-{}", self.flag));
        all.into_iter().flatten().map(String::as_str).collect()
    }

    /// Puts `values` where it stands in `body`.
    pub(super) fn put(&self, body: &mut Value, values: Vec<Value>) {
        let value = if self.is_many {
            Value::Array(values)
        } else {
            values.into_iter().next().unwrap_or_default()
        };
        if let Some(place) = place(body, &self.path) {
            *place = value;
        }
    }

    /// Is it said in `body`?
    pub(super) fn is_in(&self, body: &Value) -> bool {
        let mut at = Some(body);
        for part in &self.path {
            at = at.and_then(|at| at.get(part));
        }
        at.is_some()
    }
}

/// The place of `path` in `body`; objects on the way are made.
fn place<'a>(body: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    let mut at = body;
    for part in path {
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        at = at
            .as_object_mut()?
            .entry(part.clone())
            .or_insert(Value::Null);
    }
    Some(at)
}

impl Shape {
    fn value_name(&self) -> String {
        match self {
            Shape::Text => "TEXT".into(),
            Shape::Word(_) => "WORD".into(),
            Shape::Bool => "true|false".into(),
            Shape::Integer | Shape::Number => "NUMBER".into(),
            Shape::Time => "TIME|DAYSd[-ago]".into(),
            Shape::Digest | Shape::Document => "HEX|FILE".into(),
            Shape::Resource => "FILE".into(),
            Shape::Artifact => "DIGEST|PATH".into(),
            Shape::Input => "[ROLE=]DIGEST|PATH".into(),
            Shape::Record => "INDEX".into(),
            Shape::Object(fields) => {
                let parts: Vec<String> =
                    fields.iter().map(|(name, _)| format!("{name}=…")).collect();
                parts.join(",")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(kind: Kind) -> Vec<String> {
        fields(kind).into_iter().map(|field| field.flag).collect()
    }

    #[test]
    fn names_of_flags() {
        assert_eq!(flag("permitted_uses", true), "permitted-use");
        assert_eq!(flag("passedTests", true), "passed-test");
        assert_eq!(flag("dependencies", true), "dependency");
        assert_eq!(flag("adheres", false), "adheres");
    }

    /// Of every kind, each field has a flag, no two the same, and the example can be given by them.
    #[test]
    fn every_field_has_a_flag() {
        for &kind in Kind::ALL {
            let all = flags(kind);
            let mut once = all.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), all.len(), "{kind:?}");
            let body: Value = serde_json::from_str(kind.example()).unwrap();
            let missing = fields(kind)
                .into_iter()
                .filter(|field| field.is_required && !field.is_in(&body));
            assert_eq!(missing.count(), 0, "{kind:?}");
        }
        let test = flags(Kind::TestResult);
        for flag in ["result", "passed-test", "suite", "metric", "independent"] {
            assert!(test.iter().any(|one| one == flag), "{flag}: {test:?}");
        }
    }

    #[test]
    fn shapes() {
        let shape = |kind, flag: &str| {
            let mut all = fields(kind).into_iter();
            all.find(|field| field.flag == flag).unwrap().shape
        };
        assert_eq!(shape(Kind::Justify, "expires"), Shape::Time);
        assert!(matches!(shape(Kind::Justify, "gap"), Shape::Word(words) if words.len() == 6));
        assert!(
            matches!(shape(Kind::RiskAssess, "threat"), Shape::Object(fields) if fields.len() == 3)
        );
        assert_eq!(shape(Kind::KnownGood, "set"), Shape::Input);
        assert_eq!(shape(Kind::DatasetCheck, "input"), Shape::Artifact);
        assert_eq!(shape(Kind::TestResult, "independent"), Shape::Bool);
        assert_eq!(shape(Kind::DeployApprove, "policy-sha256"), Shape::Digest);
    }
}
