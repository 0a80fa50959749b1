//! Good and bad passwords.

use crate::proto::password::COMMON;
use crate::proto::password::check;

#[test]
fn what_is_tried_first_is_refused_however_it_is_dressed() {
    for bad in [
        "password",
        "Password1",
        "P@ssw0rd",
        "passw0rd2026!",
        "QWERTY123",
        "12345678",
        "iloveyou!",
        "Welcome2026",
        "admin123",
        "!administrator!",
        "letmein99",
        "1q2w3e4r",
        "Summer2026!",
        "changeme",
        "trustno1",
        "kennwort",
    ] {
        let refused = check("ann", bad).expect_err(bad);
        assert!(!refused.contains(bad) && refused.contains("tried first"), "{bad}: {refused}");
    }
}

#[test]
fn patterns_are_refused() {
    for bad in [
        "aaaaaaaaaaaa",
        "abababababab",
        "xyzxyzxyz",
        "hjklhjklhjkl",
        "lkjhgfdsa",
        "987654321abcd",
        "mnbvcxz1234",
        "77777777",
    ] {
        assert!(check("ann", bad).is_err(), "{bad}");
    }
}

#[test]
fn names_that_everyone_knows_are_no_password() {
    for bad in ["ringfort", "Ringfort1", "ringfortringfort", "Annabel7", "annabel-ringfort", "ringfort2026"] {
        assert!(check("annabel", bad).is_err(), "{bad}");
    }
    assert_eq!(check("annabel", "annabel plays the tuba"), Ok(()));
    assert_eq!(check("a", "a door of old oak"), Ok(()), "a short name is in every sentence");
}

#[test]
fn lengths_are_counted_in_characters_and_bounded_in_bytes() {
    assert!(check("ann", "k7#Qz1m").is_err());
    assert_eq!(check("ann", "k7#Qz1mv"), Ok(()));
    assert_eq!(check("ann", "żółć gęślą"), Ok(()));
    let long: String = (0..128).map(|i| format!("{:02x}", i * 37 % 251)).collect();
    assert_eq!((long.len(), check("ann", &long)), (256, Ok(())));
    assert!(check("ann", &(long + "x")).is_err());
    for good in ["correct horse", "long enough", "tall ships at dawn", "vK9-pQ2-xR7", "Tr0ub4dor&3"] {
        assert_eq!(check("ann", good), Ok(()), "{good}");
    }
}

#[test]
fn the_list_is_as_it_is_searched() {
    let lines: Vec<&str> = COMMON.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(lines.len() > 500 && lines.is_sorted());
    assert!(lines.iter().all(|line| !line.is_empty() && *line == line.to_lowercase()));
}
