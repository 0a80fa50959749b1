//! The console in a real browser: every page and every action, in both themes, on a phone and at a desk. Needs Chromium,
//! chromedriver and axe-core, which `tests/browser-tools` installs; without them these tests fail and say so.

mod actions;
mod cluster;
mod driver;
mod first;
mod house;
mod inspect;
mod pages;
mod people;
mod rescue;
mod sight;
