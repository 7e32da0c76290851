//! The command line: what is typed becomes a call, and what is answered becomes text.

use domain::Timestamp;
use serde_json::{Value, json};
use surfaces::cli::{self, Call};

use crate::toys::operations;

fn typed(words: &[&str]) -> Result<Call, String> {
    let operations = operations();
    let matches = cli::command(&operations)
        .try_get_matches_from(std::iter::once(&"reeve").chain(words))
        .map_err(|error| error.to_string())?;
    cli::parse(&matches, &operations)
        .map_err(|error| error.to_string())?
        .ok_or_else(|| "not an operation".to_owned())
}

fn call(operation: &str, input: Value, json: bool) -> Call {
    Call { operation: operation.to_owned(), input, json }
}

#[test]
fn what_must_be_said_has_its_place_and_the_rest_are_flags() {
    let weather = typed(&["weather", "paris", "--days", "3", "--unit=celsius", "--json"]);
    assert_eq!(
        weather,
        Ok(call("get_weather", json!({"place": "paris", "days": 3, "unit": "celsius"}), true))
    );
    let things = typed(&["--json", "things", "--tags", "a,b", "--tags", "c", "--sort", "-size_bytes"]);
    assert_eq!(
        things,
        Ok(call("list_things", json!({"tags": ["a", "b", "c"], "sort": "-size_bytes"}), true))
    );
    let add = typed(&["add-thing", "nut", "--labels", "a=1", "--labels", "b=2", "--replace"]);
    let input = json!({"name": "nut", "labels": {"a": "1", "b": "2"}, "replace": true});
    assert_eq!(add, Ok(call("add_thing", input, false)));
    let not = typed(&["add_thing", "nut", "--replace=false"]);
    assert_eq!(not, Ok(call("add_thing", json!({"name": "nut", "replace": false}), false)));
}

#[test]
fn what_is_typed_wrongly_is_told() {
    for (words, told) in [
        (vec!["weather"], "<PLACE>"),
        (vec!["weather", "paris", "--days", "soon"], "not a whole number"),
        (vec!["weather", "paris", "--unit", "kelvin"], "fahrenheit"),
        (vec!["wether", "paris"], "weather"),
        (vec!["add-thing"], "<NAME>"),
    ] {
        let error = typed(&words).expect_err("it is wrong");
        assert!(error.contains(told), "{words:?}: {error}");
    }
}

#[test]
fn a_short_name_that_is_taken_gives_way_to_the_whole_one() {
    let mut operations = operations();
    let mut other = operations[0].clone();
    other.name = "get_things".into();
    operations.push(other);
    let command = cli::command(&operations);
    let matches = command.try_get_matches_from(["reeve", "get-things"]).expect("it is known");
    let call = cli::parse(&matches, &operations).expect("parsed").expect("an operation");
    assert_eq!(call.operation, "get_things");
    assert_eq!(typed(&["list_things"]), Ok(call_of("list_things")));
}

fn call_of(operation: &str) -> Call {
    call(operation, json!({}), false)
}

#[test]
fn help_is_the_manual_of_the_operation() {
    let mut command = cli::command(&operations());
    let weather = command.find_subcommand_mut("weather").expect("the subcommand");
    let help = weather.render_long_help().to_string();
    assert!(help.contains("Tells the weather at a place. As it was last seen."), "{help}");
    assert!(help.contains("Of Mr Fahrenheit"), "{help}");
}

#[test]
fn completions_know_the_operations() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let script = String::from_utf8(cli::completions(shell, cli::command(&operations()))).expect("UTF-8");
        assert!(script.contains("add-thing"), "{shell}");
    }
}

const NOW: Timestamp = Timestamp::from_millis(1_795_150_000_000);

fn seen(seconds: u64) -> String {
    NOW.minus(std::time::Duration::from_secs(seconds)).to_string()
}

#[test]
fn a_listing_is_a_summary_and_a_table() {
    let things = operations().into_iter().find(|def| def.name == "list_things").expect("the operation");
    let answer = json!({
        "summary": "3 things",
        "items": [
            {"name": "anvil", "size_bytes": 3_221_225_472_u64, "used_ratio": 0.5, "tags": ["all", "anvil"], "as_of": seen(5)},
            {"name": "b\u{1b}[31molt", "size_bytes": 2048, "used_ratio": null, "tags": [], "as_of": seen(70)},
        ],
        "problems": [{"code": "not_weighed", "message": "bolt was never weighed", "about": "bolt", "help": "weigh it"}],
        "next_cursor": "ab12",
        "total": 3,
    });
    let wide = cli::render(&answer, &things.output_inline(), 80, NOW);
    let expected = "3 things\n\
        \n\
        NAME   SIZE     USED %  TAGS        AS OF\n\
        anvil  3.0 GiB  50.0%   all, anvil  5s ago\n\
        bolt   2.0 KiB  -       -           1m 10s ago\n";
    assert_eq!(wide.out, expected);
    assert_eq!(
        wide.notes,
        "2 of 3 shown; go on with --cursor ab12\n! bolt: bolt was never weighed; weigh it\n"
    );
    let narrow = cli::render(&answer, &things.output_inline(), 24, NOW);
    assert!(narrow.out.lines().all(|line| line.chars().count() <= 24), "{}", narrow.out);
    assert!(narrow.notes.contains("not enough room for: tags"), "{}", narrow.notes);
}

#[test]
fn an_object_is_names_and_values_with_tables_below() {
    let answer = json!({
        "name": "nas", "uptime_seconds": 93_784, "why": null, "tags": ["a", "b"], "stale": false,
        "facts": {"os": "Debian", "memory_bytes": 1_610_612_736_u64, "disks": [{"name": "sda", "size_bytes": 1024}]},
        "series": [
            {"metric": "cpu_busy_ratio", "labels": {"core": "0"}, "kind": "gauge", "max": 0.5, "values": [0.0, null, 0.5, 0.5, 0, 0, 0, 0]},
            {"metric": "net_bytes_total", "labels": {}, "kind": "counter", "max": 2048.0, "values": [1, 2, 3, 1, 1, 1, 1, 1]},
        ],
        "problems": [],
    });
    let told = cli::render(&answer, &serde_json::Map::new(), 80, NOW);
    let expected = "\
name:    nas
uptime:  1d 2h
tags:    a, b
stale:   no

facts:
  os:      Debian
  memory:  1.5 GiB

  disks (1):
    NAME  SIZE
    sda   1.0 KiB

series (2):
  METRIC           LABELS  KIND     MAX        VALUES
  cpu_busy_ratio   core=0  gauge    50.0%      ▁ ██▁▁▁▁
  net_bytes_total  -       counter  2.0 KiB/s  ▁▅█▁▁▁▁▁
";
    assert_eq!(told.out, expected);
    assert_eq!(told.notes, "");
}

#[test]
fn a_reading_is_told_without_its_wrapping() {
    let answer = json!({
        "value": {
            "load1": 0.5, "used_bytes": 1024, "used_ratio": 0.25, "core_busy_ratios": [0.5, null],
            "cpu_ratios": {"user": 0.5, "idle": 0.5},
        },
        "as_of": seen(61), "stale": true, "origin": "cached", "source": 1,
        "problems": [{"code": "slow", "message": "it is slow"}],
    });
    let told = cli::render(&answer, &serde_json::Map::new(), 80, NOW);
    let expected = "\
load1:        0.5
used:         1.0 KiB
used %:       25.0%
core busy %:  50.0%, -

cpu %:
  user %:  50.0%
  idle %:  50.0%
";
    assert_eq!(told.out, expected);
    assert_eq!(told.notes, "seen 1m 1s ago; stale: the machine did not answer\n! it is slow\n");
}

#[test]
fn rows_of_long_texts_are_told_one_after_the_other() {
    let long = "x".repeat(60);
    let answer = json!({"findings": [
        {"what": "containers", "works": false, "why": "refused", "mend": &long},
        {"what": "memory", "works": true, "why": "read", "mend": null},
    ]});
    let told = cli::render(&answer, &serde_json::Map::new(), 60, NOW);
    let expected = format!(
        "\
findings (2):
  containers
    works:  no
    why:    refused
    mend:   {long}
  memory
    works:  yes
    why:    read
"
    );
    assert_eq!(told.out, expected);
    let wide = cli::render(&answer, &serde_json::Map::new(), 120, NOW);
    assert!(wide.out.contains(&long) && wide.out.contains("WHAT        WHY      MEND"), "{}", wide.out);
}

#[test]
fn exit_codes_follow_the_kind() {
    use domain::ErrorKind;
    assert_eq!(cli::exit_code(ErrorKind::Invalid), 2);
    assert_eq!(cli::exit_code(ErrorKind::NotFound), 3);
    assert_eq!(cli::exit_code(ErrorKind::Unreachable), 6);
    assert_eq!(cli::error_text("c", "it broke", "mend it"), "error: it broke (c)\n help: mend it\n");
}
