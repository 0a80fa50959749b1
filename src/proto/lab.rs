//! Things to try with a ring, without touching one: the odds of losing a quorum, what a change of nodes would move, and the
//! ring of MD5 hashes that talks about consistent hashing draw. Nothing that serves depends on it.

pub mod chord;
pub mod md5;
pub mod moves;
pub mod odds;

#[cfg(test)]
mod tests;
