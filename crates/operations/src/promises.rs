//! What every operation promises, asked of all of them.

use std::collections::BTreeSet;

use domain::operation::{Effect, Method, OperationDef};
use serde_json::{Map, Value};

fn each(promise: impl Fn(&OperationDef) -> Result<(), String>) {
    let broken: Vec<String> = crate::all()
        .iter()
        .filter_map(|operation| promise(operation).err().map(|why| format!("{}: {why}", operation.name)))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn each_file_is_an_operation_of_its_name() {
    let not_operations = ["lib", "promises", "destination", "device_row"];
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    let files: BTreeSet<String> = files
        .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| !not_operations.contains(&name.as_str()))
        .collect();
    let listed: BTreeSet<String> = crate::all().iter().map(|operation| operation.name.to_string()).collect();
    assert_eq!(files, listed);
}

#[test]
fn names_and_routes_are_told_apart() {
    let all = crate::all();
    let names: BTreeSet<&str> = all.iter().map(|operation| &*operation.name).collect();
    let shorts: BTreeSet<&str> = all.iter().map(|operation| &*operation.short).collect();
    let routes: BTreeSet<String> =
        all.iter().map(|o| format!("{} {}", o.route.method.name(), o.route.path)).collect();
    assert_eq!((names.len(), shorts.len(), routes.len()), (all.len(), all.len(), all.len()));
}

#[test]
fn what_is_got_is_only_read() {
    each(|operation| {
        let is_get = operation.route.method == Method::Get;
        if is_get == (operation.effect == Effect::Read) {
            Ok(())
        } else {
            Err("GET is Read, and only Read".into())
        }
    });
}

#[test]
fn segments_of_routes_are_inputs_that_are_needed() {
    each(|operation| {
        let required = operation.input.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        match operation.route.segments().find(|segment| !required.contains(&Value::from(*segment))) {
            Some(segment) => Err(format!("{segment} is not a needed input")),
            None => Ok(()),
        }
    });
}

#[test]
fn everything_is_described() {
    each(|operation| {
        if operation.summary.is_empty() {
            return Err("it has no doc comment".into());
        }
        described("input", &operation.input)?;
        described("output", &operation.output_inline())
    });
}

fn described(path: &str, schema: &Map<String, Value>) -> Result<(), String> {
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let Value::Object(property) = property else { continue };
        if !property.contains_key("description") {
            return Err(format!("{path}.{name} has no doc comment"));
        }
        described(&format!("{path}.{name}"), property)?;
    }
    if let Some(Value::Object(items)) = schema.get("items") {
        described(&format!("{path}[]"), items)?;
    }
    for alternative in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        if let Value::Object(alternative) = alternative {
            described(path, alternative)?;
        }
    }
    Ok(())
}

#[test]
fn every_output_is_an_object() {
    each(|operation| match operation.output_inline().get("type") {
        Some(Value::String(kind)) if kind == "object" => Ok(()),
        other => Err(format!("its output is {other:?}")),
    });
}
