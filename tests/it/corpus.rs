//! The seeds of the fuzzers, replayed: what once was found stays found. The fuzzers themselves are `tests/run --fuzz`.

use std::path::Path;

use ringfort::fuzz;

#[test]
fn every_seed_of_every_fuzzer_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut bytes_in_all = 0;
    for (name, target) in fuzz::TARGETS {
        let mut seeds: Vec<_> =
            std::fs::read_dir(corpus.join(name)).unwrap().map(|seed| seed.unwrap().path()).collect();
        seeds.sort();
        assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
        for seed in seeds {
            let bytes = std::fs::read(&seed).unwrap();
            bytes_in_all += bytes.len();
            let held = std::panic::catch_unwind(|| target(&bytes));
            assert!(held.is_ok(), "{} does not hold", seed.display());
        }
    }
    assert!(bytes_in_all < 1024 * 1024, "{bytes_in_all} bytes of seeds: minimize them");
}

#[test]
fn every_fuzzer_has_a_program() {
    let manifest = include_str!("../fuzz/Cargo.toml");
    for (name, _) in fuzz::TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in tests/fuzz/Cargo.toml");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), fuzz::TARGETS.len());
}
