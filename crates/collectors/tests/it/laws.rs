//! The laws of the list: what every collector promises.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use collectors::ALL;
use domain::ask::Question;
use domain::facts::Facts;
use schemars::SchemaGenerator;
use serde_json::Value;

use crate::recordings::Recording;

#[test]
fn every_file_is_in_the_list_under_its_own_name() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: BTreeSet<String> = fs::read_dir(source)
        .expect("the crate has sources")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().expect("a file").to_string_lossy().into_owned())
        .filter(|name| name != "lib")
        .collect();
    let listed: BTreeSet<String> = ALL.iter().map(|def| def.name.to_owned()).collect();
    assert_eq!(files, listed, "one file in src/ for each entry of ALL, named as its collector");
    assert_eq!(listed.len(), ALL.len(), "no name twice");
}

#[test]
fn the_facts_come_first_and_need_nothing() {
    let first = ALL.first().expect("there are collectors");
    assert_eq!(first.name, Facts::COLLECTOR);
    assert!(first.needs.is_empty());
}

#[test]
fn every_field_of_every_reading_is_explained() {
    for def in ALL {
        let mut generator = SchemaGenerator::default();
        let schema = (def.schema)(&mut generator);
        let mut missing = Vec::new();
        let definitions = Value::Object(generator.take_definitions(true));
        unexplained(def.name, schema.as_value(), &mut missing);
        unexplained(def.name, &definitions, &mut missing);
        assert_eq!(missing, [""; 0], "these fields have no doc comment");
    }
}

fn unexplained(place: &str, schema: &Value, missing: &mut Vec<String>) {
    if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
        for (name, field) in fields {
            if field.get("description").is_none() {
                missing.push(format!("{place}.{name}"));
            }
        }
    }
    match schema {
        Value::Object(parts) => {
            for (name, part) in parts {
                unexplained(&format!("{place}.{name}"), part, missing);
            }
        }
        Value::Array(parts) => parts.iter().for_each(|part| unexplained(place, part, missing)),
        _ => {}
    }
}

#[test]
fn a_question_that_runs_a_daemon_or_a_disk_is_said_to_hang() {
    for recording in Recording::all() {
        for ask in (recording.def.asks)(&recording.facts()) {
            assert!(
                !matches!(ask.question, Question::Api { .. }) || ask.may_hang,
                "{} asks {ask} among the quick ones",
                recording.def.name
            );
        }
    }
}

#[test]
fn a_stored_reading_reads_back() {
    for recording in Recording::all() {
        let Some(played) = recording.played() else { continue };
        let written = played.reading();
        let read = (recording.def.decode)(written.to_string().as_bytes())
            .unwrap_or_else(|error| panic!("{}: {error:?}", recording.def.name));
        let read = serde_json::to_value(&read).expect("a reading is data");
        assert!(is_same(&written, &read), "{}/{}: {read}", recording.def.name, recording.case);
    }
}

/// Numbers may differ in their last digit: text is shorter than they are.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-12,
            _ => a == b,
        },
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| is_same(a, b)))
        }
        _ => a == b,
    }
}

#[test]
fn labels_survive_a_restart() {
    let is_id = |value: &str| value.len() >= 12 && value.chars().all(|c| c.is_ascii_hexdigit());
    for recording in Recording::all() {
        for sample in recording.played().into_iter().flat_map(|played| played.samples) {
            for (name, value) in sample.labels.iter() {
                assert!(
                    !is_id(value),
                    "{}: {} has the label {name}={value}",
                    recording.def.name,
                    sample.metric
                );
            }
        }
    }
}
