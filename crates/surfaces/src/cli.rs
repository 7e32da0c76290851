//! The command line: a subcommand for each operation, and its answers as people read them.

mod cells;
mod render;
mod table;

pub use render::{Rendered, render};

use std::collections::BTreeSet;

use clap::builder::{PossibleValue, PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command};
use clap_complete::Shell;
use domain::operation::{Effect, OperationDef};
use domain::{ErrorKind, Result};
use serde_json::{Map, Value};

use crate::schemas::{Field, Kind, first_clause, folded};

/// What was typed: which operation, with which input, told how.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The operation's name.
    pub operation: String,
    /// Its input.
    pub input: Value,
    /// Whether the answer is told as JSON.
    pub json: bool,
}

const JSON: &str = "json";

/// The `reeve` command with a subcommand for each operation. The program adds its own to it.
pub fn command(operations: &[OperationDef]) -> Command {
    let mut command = Command::new("reeve")
        .about("Watches a self-hosted fleet and answers for it")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(EXIT_CODES)
        .arg(
            Arg::new(JSON)
                .long("json")
                .global(true)
                .action(ArgAction::SetTrue)
                .help("Tells the answer as JSON, the same as over REST"),
        );
    for (order, named) in named(operations).into_iter().enumerate() {
        command = command.subcommand(subcommand(&named).display_order(order));
    }
    command
}

/// The call that was typed; nothing where the subcommand is the program's own.
pub fn parse(matches: &ArgMatches, operations: &[OperationDef]) -> Result<Option<Call>> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(None) };
    let Some(Named { def, .. }) = named(operations).into_iter().find(|named| named.name == name) else {
        return Ok(None);
    };
    let mut input = Map::new();
    for field in Field::all(def) {
        let Some(texts) = matches.get_many::<String>(field.name) else { continue };
        let texts: Vec<String> = texts.cloned().collect();
        input.insert(field.name.to_owned(), field.kind.from_texts(field.name, &texts)?);
    }
    Ok(Some(Call {
        operation: def.name.to_string(),
        input: Value::Object(input),
        json: matches.get_flag(JSON),
    }))
}

/// An answer as JSON text with a final line break: indented for people, compact for programs.
pub fn json_text(value: &Value, is_for_people: bool) -> String {
    if is_for_people { format!("{value:#}\n") } else { format!("{value}\n") }
}

/// A script that completes `reeve` in a shell, from the whole command.
pub fn completions(shell: Shell, mut command: Command) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "reeve", &mut script);
    script
}

/// What an error looks like on a terminal.
pub fn error_text(code: &str, message: &str, help: &str) -> String {
    format!("error: {message} ({code})\n help: {help}\n")
}

const EXIT_CODES: &str = "Exit codes:
  0 done                     4 not allowed, or a person must approve
  1 a defect in Reeve        5 it contradicts what is there
  2 wrong input              6 the machine or the server does not answer
  3 no such thing            7 busy: try again    8 too much, or not possible here";

/// The exit code that says what can be done about an error.
pub fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Internal => 1,
        ErrorKind::Invalid => 2,
        ErrorKind::NotFound => 3,
        ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::NeedsApproval => 4,
        ErrorKind::Conflict => 5,
        ErrorKind::Unreachable | ErrorKind::DeadlineExceeded => 6,
        ErrorKind::Busy | ErrorKind::RateLimited => 7,
        ErrorKind::TooLarge | ErrorKind::Unsupported => 8,
    }
}

/// An operation under the names that it goes by here.
struct Named<'a> {
    def: &'a OperationDef,
    name: String,
    aliases: Vec<String>,
}

/// The operations grouped by toolset in the order of the list, those that are shown by default first. Each goes by its
/// short name, or by its whole one where an operation before it took that; underscores may be typed too.
fn named(operations: &[OperationDef]) -> Vec<Named<'_>> {
    let mut order: Vec<_> = Vec::new();
    for def in operations {
        if !order.contains(&def.toolset) {
            order.push(def.toolset);
        }
    }
    order.sort_by_key(|toolset| !toolset.is_default());
    let mut sorted: Vec<&OperationDef> = operations.iter().collect();
    sorted.sort_by_key(|def| order.iter().position(|toolset| *toolset == def.toolset));
    let mut taken = BTreeSet::from(["help".to_owned()]);
    // All names first, so that no alias takes one.
    let mut named: Vec<Named<'_>> = Vec::new();
    for def in sorted {
        let wished = [dashed(&def.short), dashed(&def.name)].into_iter().find(|name| !taken.contains(name));
        let name = wished.unwrap_or_else(|| def.name.to_string());
        taken.insert(name.clone());
        named.push(Named { def, name, aliases: Vec::new() });
    }
    for Named { def, aliases, .. } in &mut named {
        let wished = [def.short.to_string(), dashed(&def.name), def.name.to_string()];
        aliases.extend(wished.into_iter().filter(|alias| taken.insert(alias.clone())));
    }
    named
}

fn subcommand(Named { def, name, aliases }: &Named<'_>) -> Command {
    let mut command = Command::new(name.clone())
        .about(first_clause(&def.description))
        .long_about(folded(&def.description))
        .aliases(aliases.clone());
    if def.effect != Effect::Read {
        command = command.after_help(match def.effect {
            Effect::Destroy => "Destroys something that does not come back.",
            Effect::Change => "Changes the fleet.",
            _ => "Changes Reeve's own records.",
        });
    }
    let fields = Field::all(def);
    // what must be said is said by its place: the route's segments first, then the other single values
    let is_single = |field: &&Field<'_>| matches!(field.kind, Kind::Text | Kind::Integer | Kind::Number);
    let needed = fields.iter().filter(|field| field.is_required).filter(is_single).map(|field| field.name);
    let mut places: Vec<&str> = def.route.segments().collect();
    places.extend(needed.filter(|name| def.route.segments().all(|segment| segment != *name)));
    for (index, field) in fields.iter().enumerate() {
        let place = places.iter().position(|name| *name == field.name);
        command = command.arg(argument(field, place).display_order(index));
    }
    command
}

fn argument(field: &Field<'_>, place: Option<usize>) -> Arg {
    let long = folded(&field.description());
    let arg = Arg::new(field.name.to_owned()).help(long.lines().next().unwrap_or_default().to_owned());
    let arg = if let Some(place) = place {
        arg.index(place + 1).required(true).value_name(field.name.to_uppercase())
    } else {
        let name = dashed(field.name);
        arg.long(name).value_name(value_name(field)).required(field.is_required).allow_hyphen_values(true)
    };
    let arg = match &field.kind {
        Kind::Boolean => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(PossibleValuesParser::new(["true", "false"]))
            .hide_possible_values(true),
        Kind::List(_) | Kind::Object => arg.action(ArgAction::Append),
        _ => arg,
    };
    let choices = field.choices();
    if choices.is_empty() {
        return if field.kind == Kind::Boolean { arg } else { arg.value_parser(number_check(&field.kind)) };
    }
    let choices = choices.into_iter().map(|(value, manual)| {
        let manual = domain::operation::first_sentence(manual);
        let value = PossibleValue::new(value.to_owned());
        if manual.is_empty() { value } else { value.help(manual) }
    });
    arg.value_parser(PossibleValuesParser::new(choices))
}

/// Numbers are checked while typing; they stay text until the schema makes them numbers.
fn number_check(kind: &Kind) -> ValueParser {
    match kind {
        Kind::Integer => ValueParser::new(|text: &str| match text.parse::<i64>() {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err("not a whole number"),
        }),
        Kind::Number => ValueParser::new(|text: &str| match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(text.to_owned()),
            _ => Err("not a number"),
        }),
        _ => ValueParser::string(),
    }
}

fn value_name(field: &Field<'_>) -> &'static str {
    match field.kind {
        Kind::Integer | Kind::Number => "N",
        Kind::Object => "NAME=VALUE",
        Kind::List(_) => "A,B",
        Kind::Boolean => "true|false",
        Kind::Text | Kind::Any => "TEXT",
    }
}

fn dashed(name: &str) -> String {
    name.replace('_', "-")
}
