//! Many equal things in a row, written as one and a count: of hundreds of places most fare alike.

/// The runs of these, in order.
pub fn of<T: PartialEq>(all: impl IntoIterator<Item = T>) -> Vec<(T, u32)> {
    let mut runs: Vec<(T, u32)> = Vec::new();
    for one in all {
        match runs.last_mut() {
            Some((last, count)) if *last == one && *count < u32::MAX => *count += 1,
            Some(_) | None => runs.push((one, 1)),
        }
    }
    runs
}

/// Each of them; `most` at most, since a tape may come from anywhere.
pub fn each<T: Copy>(runs: &[(T, u32)], most: usize) -> impl Iterator<Item = T> {
    runs.iter()
        .flat_map(|(one, count)| std::iter::repeat_n(*one, usize::try_from(*count).unwrap_or(usize::MAX)))
        .take(most)
}
