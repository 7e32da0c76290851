//! Every recorded conversation, played and compared with the snapshot beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use collectors::ALL;
use domain::collector::CollectorDef;
use domain::facts::Facts;
use domain::testing::{Played, Transcript, play};

/// One recorded conversation: `recordings/<collector>/<case>.txt`.
pub struct Recording {
    pub def: &'static CollectorDef,
    pub case: String,
    pub transcript: Transcript,
}

impl Recording {
    /// All of them, in order.
    pub fn all() -> Vec<Self> {
        let mut found = Vec::new();
        for def in ALL {
            for path in files_of(&folder().join(def.name), "txt") {
                found.push(Self::read(def, &path));
            }
        }
        found
    }

    fn read(def: &'static CollectorDef, path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a recording is text");
        let transcript =
            Transcript::parse(&text).unwrap_or_else(|reason| panic!("{}: {reason}", path.display()));
        let case = path.file_stem().expect("a file").to_string_lossy().into_owned();
        Self { def, case, transcript }
    }

    /// The machine's facts: those recorded under the same name, or under the name in the remark `# facts: NAME`.
    pub fn facts(&self) -> Facts {
        let name = self.transcript.remarks().find_map(|remark| remark.strip_prefix("facts: "));
        let name = name.unwrap_or(&self.case);
        if self.def.name == Facts::COLLECTOR {
            return Facts::default();
        }
        let facts = ALL.iter().find(|def| def.name == Facts::COLLECTOR).expect("the facts are a collector");
        let path = folder().join(facts.name).join(format!("{name}.txt"));
        let recorded = Self::read(facts, &path).transcript;
        let played = play(facts, &recorded, &Facts::default()).expect("a machine tells its facts");
        (*played.observed.value).as_any().downcast_ref::<Facts>().expect("facts").clone()
    }

    /// What came of it; nothing where the machine told nothing.
    pub fn played(&self) -> Option<Played> {
        play(self.def, &self.transcript, &self.facts()).ok()
    }
}

#[test]
fn recorded_machines_are_understood() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for recording in Recording::all() {
        let place = format!("{}/{}", recording.def.name, recording.case);
        let text = match play(recording.def, &recording.transcript, &recording.facts()) {
            Ok(played) => {
                assert_eq!(played.unrecorded, [""; 0], "{place} does not answer these");
                assert_eq!(played.unasked, [""; 0], "{place} answers what nobody asks");
                shown(&played)
            }
            Err(error) => format!("error: {error}\n"),
        };
        settings.set_snapshot_path(folder().join(recording.def.name));
        settings.bind(|| insta::assert_snapshot!(recording.case.as_str(), text));
    }
}

#[test]
fn every_snapshot_has_its_recording() {
    for def in ALL {
        for path in files_of(&folder().join(def.name), "snap") {
            assert!(path.with_extension("txt").exists(), "{} is left over: remove it", path.display());
        }
    }
}

#[test]
fn every_collector_has_a_recording() {
    for def in ALL {
        assert!(!files_of(&folder().join(def.name), "txt").is_empty(), "record {}", def.name);
    }
}

fn shown(played: &Played) -> String {
    let problems = serde_json::to_string_pretty(&played.problems).expect("problems are data");
    let reading = serde_json::to_string_pretty(&played.reading()).expect("a reading is data");
    let mut text = format!("problems: {problems}\n\nreading: {reading}\n\nsamples:\n");
    for sample in &played.samples {
        writeln!(text, "{}{{{}}} {}", sample.metric, sample.labels.canonical(), sample.value).expect("text");
    }
    text
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings")
}

fn files_of(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}
