//! The house rules that a test can read from the sources: floors import only downward, siblings never meet, every file
//! says what it owns, no file outgrows a sitting.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Floors from the ground up; names on one floor are siblings.
const FLOORS: [&[&str]; 8] = [
    &["base"],
    &["proto"],
    &["store", "net", "config"],
    &["control"],
    &["node"],
    &["front"],
    &["http", "console", "cli"],
    &["app", "main", "lib", "fuzz"],
];

/// What crosses a border on purpose: (file begins with, imports, why).
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    ("src/cli/", "config", "the command line shows and checks the configuration"),
    ("src/cli/client.rs", "net", "a client resolves its node's name by itself"),
    ("src/cli/dev.rs", "store", "dev.json is written whole, as data files are"),
];

const LINES_MAX: usize = 620;

fn sources() -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join("src"), &mut found);
    found.sort();
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn room(file: &str) -> &str {
    let rest = file.strip_prefix("src/").unwrap();
    rest.split(['/', '.']).next().unwrap()
}

fn floor(room: &str) -> usize {
    FLOORS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| panic!("{room} has no floor"))
}

/// Every `crate::room` outside comments, in code and imports alike.
fn imports(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut rooms = Vec::new();
    for line in code {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            assert!(!rest.starts_with('{'), "one import a line, so that this test sees it: {line}");
            rooms.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms
}

fn breaches(sources: &[(String, String)]) -> Vec<String> {
    let mut breaches = Vec::new();
    for (file, text) in sources {
        let here = room(file);
        for there in imports(text) {
            let excepted = EXCEPTIONS.iter().any(|(begins, imports, _)| file.starts_with(begins) && there == *imports);
            let downward = floor(&there) < floor(here) || there == here;
            let face_too_deep =
                [5, 6].contains(&floor(here)) && ["store", "net", "config", "control"].contains(&there.as_str());
            if !excepted && (!downward || face_too_deep) {
                breaches.push(format!("{file} imports {there}"));
            }
        }
    }
    breaches
}

#[test]
fn floors_import_only_downward_and_siblings_never_meet() {
    assert_eq!(breaches(&sources()), Vec::<String>::new());
}

#[test]
fn a_breach_would_be_noticed() {
    let planted = |file: &str, text: &str| breaches(&[(file.to_owned(), text.to_owned())]).len();
    assert_eq!(planted("src/proto/a.rs", "use crate::store::disk;"), 1);
    assert_eq!(planted("src/store/a.rs", "let a = crate::net::resolve::resolve();"), 1);
    assert_eq!(planted("src/http/a.rs", "use crate::store::disk;"), 1);
    assert_eq!(planted("src/node/a.rs", "use crate::store::disk;\n// crate::http is above"), 0);
}

#[test]
fn only_their_owners_use_the_crates_that_touch_disk_and_consensus() {
    for (file, text) in sources() {
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let index = file.starts_with("src/store/index/");
        assert!(index || (!code.contains("use fjall::") && !code.contains("use lsm_tree::")), "{file} uses fjall");
        assert!(file.starts_with("src/control/") || !code.contains("openraft::"), "{file} uses openraft");
        let member = file.starts_with("src/proto/member");
        assert!(member || (!code.contains("use foca::") && !code.contains("use rand_core::")), "{file} uses foca");
    }
}

#[test]
fn the_ground_floors_do_no_io_and_read_no_clock() {
    for (file, text) in sources().iter().filter(|(file, _)| file.starts_with("src/proto")) {
        for banned in
            ["std::fs", "std::net", "tokio::", "std::thread", "Instant", "SystemTime", "async fn", "Mutex", "rng::"]
        {
            assert!(!text.contains(banned), "{file} contains {banned}");
        }
    }
}

#[test]
fn every_file_says_what_it_owns_and_fits_a_sitting() {
    for (file, text) in sources() {
        assert!(text.starts_with("//!"), "{file} does not begin with what it owns");
        assert!(text.lines().count() <= LINES_MAX, "{file} has {} lines", text.lines().count());
        assert!(!file.ends_with("/mod.rs"), "{file}: modules are named, not mod.rs");
    }
}
